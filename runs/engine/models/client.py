"""One client a loop and credential.

A client costs 17 ms and 0.8 MB, and its connections belong to the loop that opened
them; so each running loop keeps one for each credential and address, and models share
it. Its own retries are off: `retry.py` decides, as only the run sees a broken stream.
"""

from __future__ import annotations

import asyncio
import os
from typing import TypeAlias
from weakref import WeakKeyDictionary

from openai import AsyncOpenAI

from ..errors import UserError
from .defaults import default_key

_ByCredential: TypeAlias = dict[tuple[str | None, ...], AsyncOpenAI]

_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, _ByCredential] = (
    WeakKeyDictionary()
)


def shared_client(
    api_key: str | None = None,
    base_url: str | None = None,
    *,
    organization: str | None = None,
    project: str | None = None,
) -> AsyncOpenAI:
    """Return the running loop's client for this credential and address.

    None means the default: `set_default_openai_key`, then OPENAI_API_KEY, and
    OPENAI_BASE_URL. Raises UserError without a key, RuntimeError where no loop runs.
    """
    key, address = find_key(api_key), find_base_url(base_url)
    clients = _clients_of(asyncio.get_running_loop())
    credential = (key, address, organization, project)
    if credential not in clients:
        clients[credential] = AsyncOpenAI(
            api_key=key,
            base_url=address,
            organization=organization,
            project=project,
            max_retries=0,
        )
    return clients[credential]


async def close_clients() -> None:
    """Close the running loop's clients; the next call of a model opens a new one."""
    for client in _clients.pop(asyncio.get_running_loop(), {}).values():
        await client.close()


def find_key(api_key: str | None) -> str:
    """Return `api_key`, the default key or OPENAI_API_KEY. Raises UserError."""
    key = api_key or default_key() or os.environ.get("OPENAI_API_KEY")
    if not key:
        raise UserError(
            "There is no key for the model's server: set OPENAI_API_KEY (any text will "
            "do for a local server that asks for none)."
        )
    return key


def find_base_url(base_url: str | None) -> str | None:
    """Return `base_url` or OPENAI_BASE_URL; None means OpenAI's own server."""
    return base_url or os.environ.get("OPENAI_BASE_URL") or None


def _clients_of(loop: asyncio.AbstractEventLoop) -> _ByCredential:
    # Open connections refer to their loop, so the weak key alone would keep a closed
    # loop for ever.
    for other in [known for known in _clients if known.is_closed()]:
        del _clients[other]
    return _clients.setdefault(loop, {})
