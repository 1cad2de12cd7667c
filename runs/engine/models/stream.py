"""From a stream of Responses events to one answer.

Servers differ: some number nothing, some send no event for the end of arguments, some
end with an empty response. So items are taken whole, from the event that ends an item
or from the last event, and nothing else is relied on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias, cast

from openai.types.responses import (
    Response,
    ResponseErrorEvent,
    ResponseFunctionToolCall,
    ResponseOutputItem,
    ResponseOutputItemDoneEvent,
    ResponseStreamEvent,
    ResponseUsage,
)
from openai.types.responses.response_usage import (
    InputTokensDetails as SentInputDetails,
)
from openai.types.responses.response_usage import (
    OutputTokensDetails as SentOutputDetails,
)
from pydantic import BaseModel, PrivateAttr

from ..errors import ModelCallError
from ..usage import InputTokensDetails, OutputTokensDetails, Usage
from .interface import ModelResponse

LEFTOVER_S = 0.2
"""How long a server may take to end a stream whose last event is there."""

_TERMINAL = {"response.completed", "response.incomplete", "response.failed"}
_USELESS = {"failed", "cancelled"}

OnEvent: TypeAlias = Callable[[ResponseStreamEvent], Awaitable[None]]


async def collect(
    events: AsyncIterator[ResponseStreamEvent],
    *,
    on_event: OnEvent,
    raw_usage: bool | None = False,
) -> ModelResponse:
    """Return the answer that `events` make up; each is awaited with `on_event` first.

    `raw_usage` keeps the usage as it was sent, too. The iterator is closed whatever
    happens. Raises ModelCallError when the server says that it failed, or the stream
    ends before its last event; what the iterator or `on_event` raises comes out as it
    is.
    """
    try:
        done = _DoneItems()
        async for event in events:
            await on_event(event)
            if _text_or_none(getattr(event, "type", None)) in _TERMINAL:
                answer = response_from_openai(
                    _response_of(event), done.items, raw_usage=raw_usage
                )
                await _read_out(events)
                return answer
            done.note(event)
    finally:
        await _close(events)
    raise ModelCallError(
        "The model's stream ended before its answer was complete."
    ) from EOFError()  # to retry policies, it is a broken connection


def response_from_openai(
    response: object,
    done_items: list[ResponseOutputItem] | None = None,
    *,
    raw_usage: bool | None = False,
) -> ModelResponse:
    """Return `response` as the engine keeps it.

    `done_items` are the output where the response itself has none; `raw_usage` keeps
    the usage as it was sent, too. Raises
    ModelCallError when its status is failed or cancelled, or it is no response at all,
    as the page that a proxy sent.
    """
    if not isinstance(response, Response):
        raise ModelCallError("The model's server sent something that is no response.")
    if _text_or_none(getattr(response, "status", None)) in _USELESS:
        raise ModelCallError(_failure(response))
    output = getattr(response, "output", None) or done_items or []
    if not _are_items(output):
        raise ModelCallError("The model's server sent output that is none.")
    usage = getattr(response, "usage", None)
    return ModelResponse(
        output=[_whole(item) for item in output],
        usage=usage_from_openai(usage),
        response_id=_text_or_none(getattr(response, "id", None)),
        request_id=getattr(response, "_request_id", None),
        raw_usage=_as_sent(usage) if raw_usage else None,
    )


def _are_items(output: object) -> bool:
    return isinstance(output, list) and all(
        isinstance(item, BaseModel) for item in output
    )


class ConvertedUsage(ResponseUsage):
    """A usage that a server sent in another form."""

    _sent: dict[str, Any] | None = PrivateAttr(default=None)

    def of(self, sent: Any) -> ConvertedUsage:
        """Return this usage, knowing what it was made of."""
        self._sent = _dumped(sent)
        return self


def _as_sent(usage: object) -> dict[str, Any] | None:
    return usage._sent if isinstance(usage, ConvertedUsage) else _dumped(usage)


def _dumped(usage: object) -> dict[str, Any] | None:
    if not isinstance(usage, BaseModel):
        return None
    return usage.model_dump(
        mode="json", by_alias=True, exclude_unset=True, warnings=False
    )


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def usage_from_openai(sent: ResponseUsage | None) -> Usage:
    """Return what one request used; a number that the server left out counts as 0."""
    if sent is None:
        return Usage(requests=1)
    read = _count(sent, "input_tokens")
    written = _count(sent, "output_tokens")
    read_details = getattr(sent, "input_tokens_details", None)
    return Usage(
        requests=1,
        input_tokens=read,
        input_tokens_details=InputTokensDetails(
            _count(read_details, "cached_tokens"),
            _count(read_details, "cache_write_tokens"),
        ),
        output_tokens=written,
        output_tokens_details=OutputTokensDetails(
            _count(getattr(sent, "output_tokens_details", None), "reasoning_tokens")
        ),
        total_tokens=_count(sent, "total_tokens") or read + written,
    )


def usage_to_openai(usage: Usage) -> ResponseUsage:
    """Return `usage` as a server would have sent it."""
    return ResponseUsage(
        input_tokens=usage.input_tokens,
        input_tokens_details=SentInputDetails(
            cached_tokens=usage.input_tokens_details.cached_tokens,
            cache_write_tokens=usage.input_tokens_details.cache_write_tokens,
        ),
        output_tokens=usage.output_tokens,
        output_tokens_details=SentOutputDetails(
            reasoning_tokens=usage.output_tokens_details.reasoning_tokens
        ),
        total_tokens=usage.total_tokens,
    )


class _DoneItems:
    """Items a stream has finished; one sent twice counts once, as it was last."""

    def __init__(self) -> None:
        self._items: dict[object, ResponseOutputItem] = {}

    @property
    def items(self) -> list[ResponseOutputItem]:
        return list(self._items.values())

    def note(self, event: ResponseStreamEvent) -> None:
        """Keep the item that `event` ends. Raises ModelCallError on an error event."""
        if isinstance(event, ResponseErrorEvent):
            told = [getattr(event, "message", None), getattr(event, "code", None)]
            detail = ", code ".join(str(part) for part in told if part)
            raise ModelCallError(
                f"The model's server reported an error: {detail or 'no detail'}"
            )
        if isinstance(event, ResponseOutputItemDoneEvent):
            item = getattr(event, "item", None)
            if isinstance(item, BaseModel):
                self._items[self._key(item)] = cast(ResponseOutputItem, item)

    def _key(self, item: BaseModel) -> object:
        names = (getattr(item, name, None) for name in ("id", "type", "call_id"))
        item_id, *others = map(_text_or_none, names)
        return (item_id, *others) if item_id else len(self._items)


def _response_of(event: Any) -> object:
    response = getattr(event, "response", None)
    if event.type == "response.failed" and isinstance(response, Response):
        raise ModelCallError(_failure(response))
    return response


def _failure(response: Response) -> str:
    error = getattr(response, "error", None)
    if error is None:
        status = getattr(response, "status", None) or "failed"
        return f"The model's server ended its answer as {status}."
    told = getattr(error, "message", None) or getattr(error, "code", None)
    return f"The model's server failed: {told}"


def _whole(item: ResponseOutputItem) -> ResponseOutputItem:
    """Return `item` with every field the engine reads, where a server left one out.

    The client builds items from what it gets, unchecked: reading an absent field
    raises AttributeError. An item it has no type for is a message to it: it stays as
    it came.
    """
    absent: dict[str, Any] = {}
    if isinstance(item, ResponseFunctionToolCall):
        for name in ("arguments", "call_id", "name"):
            if not isinstance(getattr(item, name, None), str):
                absent[name] = ""
    elif getattr(item, "type", "message") == "message":
        if not isinstance(getattr(item, "content", None), list):
            absent["content"] = []
        if not isinstance(getattr(item, "id", None), str):
            absent["id"] = ""
    return item.model_copy(update=absent) if absent else item


def _count(holder: object, name: str) -> int:
    value = getattr(holder, name, None)
    return value if isinstance(value, int) else 0


async def _read_out(events: AsyncIterator[ResponseStreamEvent]) -> None:
    # A stream read to its end gives its connection back for the next turn; one that
    # is closed before costs a new connection. What fails here changes nothing.
    with contextlib.suppress(Exception):
        async with asyncio.timeout(LEFTOVER_S):
            async for _ in events:
                pass


async def _close(events: AsyncIterator[ResponseStreamEvent]) -> None:
    close = getattr(events, "aclose", None)
    if close is not None:
        await close()
