"""From streams, good and odd, to answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from openai._models import construct_type
from openai.types.responses import Response, ResponseStreamEvent

from runs.engine.errors import ModelCallError
from runs.engine.models import stream
from runs.engine.models.events import make_response, response_events
from runs.engine.models.interface import ModelResponse
from runs.engine.testing import assistant_message, function_call

MESSAGE = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "Hi.", "annotations": []}],
}
CALL = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "c1",
    "name": "refund",
    "arguments": "{}",
}


class Source:
    """An iterator of events and errors that notes whether it was closed."""

    def __init__(self, events: Iterable[Any], *, hangs: bool = False) -> None:
        self._events = iter(events)
        self._hangs = hangs
        self.closed = False

    def __aiter__(self) -> Source:
        return self

    async def __anext__(self) -> Any:
        for event in self._events:
            if isinstance(event, BaseException):
                raise event
            return as_client_builds(event) if isinstance(event, dict) else event
        if self._hangs:
            await asyncio.Event().wait()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed = True


def as_client_builds(event: dict[str, Any]) -> Any:
    """Return the event as the client makes it of JSON: unchecked."""
    return construct_type(value=event, type_=ResponseStreamEvent)


def response(status: str = "completed", **changes: Any) -> dict[str, Any]:
    given = {"id": "resp_1", "object": "response", "status": status, "output": []}
    return {**given, **changes}


def last(status: str = "completed", **changes: Any) -> dict[str, Any]:
    kind = status if status in {"completed", "incomplete", "failed"} else "completed"
    return {"type": f"response.{kind}", "response": response(status, **changes)}


def done(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.output_item.done", "item": item}


async def collected(
    source: Source | AsyncIterator[Any], seen: list[Any] | None = None
) -> ModelResponse:
    async def note(event: Any) -> None:
        if seen is not None:
            seen.append(event)

    return await stream.collect(source, on_event=note)


async def test_each_event_is_told_in_order_and_the_source_closed() -> None:
    answer = make_response(
        response_id="r1",
        model="m",
        output=[assistant_message("Hello big world"), function_call("f", {"a": 1})],
    )
    source, seen = Source(response_events(answer)), list[Any]()

    collected_answer = await collected(source, seen)

    assert collected_answer.output == answer.output
    assert collected_answer.response_id == "r1"
    assert [event.sequence_number for event in seen] == list(range(16))
    assert source.closed


async def test_items_come_from_done_events_when_the_end_has_none() -> None:
    source = Source([done(MESSAGE), done(CALL), last()])

    answer = await collected(source)

    assert [item.type for item in answer.output] == ["message", "function_call"]


async def test_items_of_the_end_win_over_done_events() -> None:
    source = Source([done(MESSAGE), last(output=[CALL])])

    answer = await collected(source)

    assert [item.type for item in answer.output] == ["function_call"]


async def test_item_done_twice_counts_once() -> None:
    other = {**CALL, "call_id": "c2"}

    answer = await collected(Source([done(CALL), done(CALL), done(other), last()]))

    items: list[Any] = list(answer.output)
    assert [item.call_id for item in items] == ["c1", "c2"]


async def test_items_without_ids_are_all_kept() -> None:
    bare = {key: value for key, value in CALL.items() if key != "id"}

    answer = await collected(
        Source([done(bare), done({**bare, "call_id": "c2"}), last()])
    )

    assert len(answer.output) == 2


async def test_call_without_its_fields_has_empty_ones() -> None:
    answer = await collected(Source([last(output=[{"type": "function_call"}])]))

    item: Any = answer.output[0]
    assert (item.name, item.arguments, item.call_id) == ("", "", "")


async def test_message_without_content_has_none() -> None:
    bare = {"type": "message", "role": "assistant"}

    answer = await collected(Source([last(output=[bare])]))

    item: Any = answer.output[0]
    assert item.content == []


@pytest.mark.parametrize("usage", [None, {}, {"input_tokens": None}])
async def test_absent_usage_counts_one_request(usage: Any) -> None:
    answer = await collected(Source([last(usage=usage)]))

    assert (answer.usage.requests, answer.usage.total_tokens) == (1, 0)


async def test_usage_without_details_or_total_is_summed() -> None:
    usage = {"input_tokens": 3, "output_tokens": 4}

    answer = await collected(Source([last(usage=usage)]))

    assert answer.usage.total_tokens == 7


async def test_incomplete_answer_is_kept() -> None:
    answer = await collected(Source([done(MESSAGE), last("incomplete")]))

    assert [item.type for item in answer.output] == ["message"]


@pytest.mark.parametrize(
    "events",
    [
        [],
        [done(MESSAGE)],
        [{"type": "response.some_new_event", "x": 1}],
        ["no event at all"],
    ],
)
async def test_stream_without_its_end_is_a_failure(events: list[Any]) -> None:
    source = Source(events)

    with pytest.raises(ModelCallError, match="ended before its answer was complete"):
        await collected(source)

    assert source.closed


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (last("failed", error={"code": "server_error", "message": "Broke."}), "Broke"),
        (last("failed"), "ended its answer as failed"),
        (last("cancelled"), "ended its answer as cancelled"),
        (
            {"type": "error", "message": "Overloaded.", "code": "busy"},
            "Overloaded.*busy",
        ),
        ({"type": "error"}, "no detail"),
        ({"type": "response.completed"}, "no response"),
        ({"type": "response.failed"}, "no response"),
    ],
)
async def test_failure_that_the_server_tells_is_an_error(
    event: dict[str, Any], told: str
) -> None:
    source, seen = Source([event]), list[Any]()

    with pytest.raises(ModelCallError, match=told):
        await collected(source, seen)

    assert len(seen) == 1
    assert source.closed


@pytest.mark.parametrize(
    "failure",
    [
        json.JSONDecodeError("Expecting value", "{", 0),
        RuntimeError("broken"),
        ConnectionResetError(),
        asyncio.CancelledError(),
    ],
)
async def test_what_the_source_raises_comes_out_as_it_is(
    failure: BaseException,
) -> None:
    source = Source([done(MESSAGE), failure])

    with pytest.raises(type(failure)) as raised:
        await collected(source)

    assert raised.value is failure
    assert source.closed


async def test_what_the_listener_raises_comes_out_and_closes_the_source() -> None:
    source = Source([done(MESSAGE), last()])

    async def refuse(event: Any) -> None:
        raise LookupError(event.type)

    with pytest.raises(LookupError):
        await stream.collect(source, on_event=refuse)

    assert source.closed


async def test_source_that_never_ends_after_its_end_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "LEFTOVER_S", 0.001)
    source, seen = Source([last(output=[MESSAGE])], hangs=True), list[Any]()

    answer = await collected(source, seen)

    assert len(answer.output) == 1
    assert source.closed


async def test_what_follows_the_end_changes_nothing() -> None:
    source, seen = (
        Source([last(output=[MESSAGE]), last("failed"), OSError()]),
        list[Any](),
    )

    answer = await collected(source, seen)

    assert len(answer.output) == 1
    assert len(seen) == 1


async def test_iterator_without_aclose_will_do() -> None:
    class Plain:
        def __init__(self) -> None:
            self.inner = Source([last(output=[MESSAGE])])

        def __aiter__(self) -> Plain:
            return self

        async def __anext__(self) -> Any:
            return await self.inner.__anext__()

    answer = await collected(Plain())

    assert len(answer.output) == 1


def test_whole_response_is_read_like_the_end_of_a_stream() -> None:
    whole: Any = construct_type(value=response(output=[CALL]), type_=Response)
    failed: Any = construct_type(value=response("failed"), type_=Response)

    assert len(stream.response_from_openai(whole).output) == 1
    with pytest.raises(ModelCallError):
        stream.response_from_openai(failed)
