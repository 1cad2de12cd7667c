"""One client a loop and credential.

A client costs 17 ms and 0.8 MB, and its connections belong to the loop that opened
them; so each running loop keeps one for each (key, address), and models share it. The
client's own retries are off: `retry.py` decides, as only the run sees a broken stream.
"""

from __future__ import annotations

import asyncio
import os
from typing import TypeAlias
from weakref import WeakKeyDictionary

from openai import AsyncOpenAI

from ..errors import UserError

_ByCredential: TypeAlias = dict[tuple[str, str | None], AsyncOpenAI]

_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, _ByCredential] = (
    WeakKeyDictionary()
)


def shared_client(
    api_key: str | None = None, base_url: str | None = None
) -> AsyncOpenAI:
    """Return the running loop's client for this key and address.

    None means what the environment says: OPENAI_API_KEY, OPENAI_BASE_URL. Raises
    UserError without a key, RuntimeError outside a running loop.
    """
    key, address = find_key(api_key), find_base_url(base_url)
    clients = _clients_of(asyncio.get_running_loop())
    client = clients.get((key, address))
    if client is None:
        client = AsyncOpenAI(api_key=key, base_url=address, max_retries=0)
        clients[key, address] = client
    return client


async def close_clients() -> None:
    """Close the running loop's clients; the next call of a model opens a new one."""
    for client in _clients.pop(asyncio.get_running_loop(), {}).values():
        await client.close()


def find_key(api_key: str | None) -> str:
    """Return `api_key` or OPENAI_API_KEY. Raises UserError when there is neither."""
    key = api_key or os.environ.get("OPENAI_API_KEY")
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
