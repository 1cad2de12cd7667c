"""What models take that were told nothing else, for the whole process."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Way: TypeAlias = Literal["responses", "chat"]


_logger = logging.getLogger(__name__)


@dataclass
class _Defaults:
    key: str | None = None
    client: AsyncOpenAI | None = None
    way: Way | None = None
    on_tracing_key: Callable[[str], None] | None = None


_defaults = _Defaults()


def set_default_openai_key(key: str, use_for_tracing: bool = True) -> None:
    """Take `key` where no other is given, before OPENAI_API_KEY."""
    _defaults.key = key
    if use_for_tracing:
        _tell_tracing(key)


def set_default_openai_client(
    client: AsyncOpenAI, use_for_tracing: bool = True
) -> None:
    """Ask through `client` where neither client nor credential is given."""
    _defaults.client = client
    if use_for_tracing:
        _tell_tracing(client.api_key)


def set_default_openai_api(api: Literal["chat_completions", "responses"]) -> None:
    """Ask every server in this way where a provider is not told another."""
    _defaults.way = "chat" if api == "chat_completions" else "responses"


def set_default_openai_responses_transport(
    transport: Literal["http", "websocket"],
) -> None:
    """Take note of a wish for websockets: models are asked over HTTP.

    Raises ValueError for any other transport.
    """
    if transport not in {"http", "websocket"}:
        raise ValueError(f"{transport!r} is no transport; use 'http'.")
    if transport == "websocket":
        _logger.warning("Models are asked over HTTP; there are no websockets.")


def share_keys_with_tracing(told: Callable[[str], None]) -> None:
    """Tell `told` of each key that is set for tracing too."""
    _defaults.on_tracing_key = told


def default_key() -> str | None:
    """Return the key of `set_default_openai_key`."""
    return _defaults.key


def default_client() -> AsyncOpenAI | None:
    """Return the client of `set_default_openai_client`."""
    return _defaults.client


def default_way() -> Way | None:
    """Return the way of `set_default_openai_api`."""
    return _defaults.way


def _tell_tracing(key: str) -> None:
    if _defaults.on_tracing_key is not None:
        _defaults.on_tracing_key(key)
