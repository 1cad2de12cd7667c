"""The events a Responses server streams for one answer, built from our side.

`EventBuilder` makes single events and numbers them; `response_events` gives the whole
sequence of a finished answer, as `ScriptedModel` streams it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Literal, TypeAlias

from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseContentPartAddedEvent,
    ResponseContentPartDoneEvent,
    ResponseCreatedEvent,
    ResponseFailedEvent,
    ResponseFunctionCallArgumentsDeltaEvent,
    ResponseFunctionCallArgumentsDoneEvent,
    ResponseFunctionToolCall,
    ResponseIncompleteEvent,
    ResponseInProgressEvent,
    ResponseOutputItem,
    ResponseOutputItemAddedEvent,
    ResponseOutputItemDoneEvent,
    ResponseOutputMessage,
    ResponseOutputRefusal,
    ResponseOutputText,
    ResponseReasoningItem,
    ResponseReasoningTextDeltaEvent,
    ResponseReasoningTextDoneEvent,
    ResponseRefusalDeltaEvent,
    ResponseRefusalDoneEvent,
    ResponseStreamEvent,
    ResponseTextDeltaEvent,
    ResponseTextDoneEvent,
    ResponseUsage,
)
from openai.types.responses.response import IncompleteDetails

IncompleteReason: TypeAlias = Literal["max_output_tokens", "content_filter"]
MessagePart: TypeAlias = ResponseOutputText | ResponseOutputRefusal

_WORD = re.compile(r"\s*\S+|\s+$")


def make_response(
    *,
    response_id: str,
    model: str,
    output: list[ResponseOutputItem],
    usage: ResponseUsage | None = None,
    incomplete: IncompleteReason | None = None,
    created_at: float = 0.0,
) -> Response:
    """Return a finished answer; `incomplete` says why it stopped early, if it did.

    `created_at` is in Unix seconds.
    """
    return Response(
        id=response_id,
        created_at=created_at,
        model=model,
        object="response",
        output=output,
        parallel_tool_calls=True,
        tool_choice="auto",
        tools=[],
        status="incomplete" if incomplete else "completed",
        incomplete_details=(
            IncompleteDetails(reason=incomplete) if incomplete else None
        ),
        usage=usage,
    )


class EventBuilder:
    """Makes the events of one answer, numbered from 0 in the order they are made."""

    def __init__(self) -> None:
        self._made = 0

    def _next(self) -> int:
        self._made += 1
        return self._made - 1

    def opening(self, response: Response) -> Iterator[ResponseStreamEvent]:
        """Yield the two events before the first item: nothing is answered yet."""
        started = response.model_copy(
            update={
                "output": [],
                "status": "in_progress",
                "usage": None,
                "incomplete_details": None,
            }
        )
        yield ResponseCreatedEvent(
            response=started, sequence_number=self._next(), type="response.created"
        )
        yield ResponseInProgressEvent(
            response=started, sequence_number=self._next(), type="response.in_progress"
        )

    def terminal(self, response: Response) -> ResponseStreamEvent:
        """Return the last event, of the kind that the response's status asks for."""
        number = self._next()
        if response.status == "incomplete":
            return ResponseIncompleteEvent(
                response=response, sequence_number=number, type="response.incomplete"
            )
        if response.status == "failed":
            return ResponseFailedEvent(
                response=response, sequence_number=number, type="response.failed"
            )
        return ResponseCompletedEvent(
            response=response, sequence_number=number, type="response.completed"
        )

    def item_added(self, item: ResponseOutputItem, index: int) -> ResponseStreamEvent:
        return ResponseOutputItemAddedEvent(
            item=item,
            output_index=index,
            sequence_number=self._next(),
            type="response.output_item.added",
        )

    def item_done(self, item: ResponseOutputItem, index: int) -> ResponseStreamEvent:
        return ResponseOutputItemDoneEvent(
            item=item,
            output_index=index,
            sequence_number=self._next(),
            type="response.output_item.done",
        )

    def part_added(
        self, item_id: str, index: int, part_index: int, part: MessagePart
    ) -> ResponseStreamEvent:
        return ResponseContentPartAddedEvent(
            content_index=part_index,
            item_id=item_id,
            output_index=index,
            part=part,
            sequence_number=self._next(),
            type="response.content_part.added",
        )

    def part_done(
        self, item_id: str, index: int, part_index: int, part: MessagePart
    ) -> Iterator[ResponseStreamEvent]:
        """Yield the end of the part's text, then the end of the part."""
        if isinstance(part, ResponseOutputText):
            yield ResponseTextDoneEvent(
                content_index=part_index,
                item_id=item_id,
                logprobs=[],
                output_index=index,
                sequence_number=self._next(),
                text=part.text,
                type="response.output_text.done",
            )
        else:
            yield ResponseRefusalDoneEvent(
                content_index=part_index,
                item_id=item_id,
                output_index=index,
                refusal=part.refusal,
                sequence_number=self._next(),
                type="response.refusal.done",
            )
        yield ResponseContentPartDoneEvent(
            content_index=part_index,
            item_id=item_id,
            output_index=index,
            part=part,
            sequence_number=self._next(),
            type="response.content_part.done",
        )

    def text_delta(
        self, item_id: str, index: int, part_index: int, delta: str
    ) -> ResponseStreamEvent:
        return ResponseTextDeltaEvent(
            content_index=part_index,
            delta=delta,
            item_id=item_id,
            logprobs=[],
            output_index=index,
            sequence_number=self._next(),
            type="response.output_text.delta",
        )

    def refusal_delta(
        self, item_id: str, index: int, part_index: int, delta: str
    ) -> ResponseStreamEvent:
        return ResponseRefusalDeltaEvent(
            content_index=part_index,
            delta=delta,
            item_id=item_id,
            output_index=index,
            sequence_number=self._next(),
            type="response.refusal.delta",
        )

    def reasoning_delta(
        self, item_id: str, index: int, delta: str
    ) -> ResponseStreamEvent:
        return ResponseReasoningTextDeltaEvent(
            content_index=0,
            delta=delta,
            item_id=item_id,
            output_index=index,
            sequence_number=self._next(),
            type="response.reasoning_text.delta",
        )

    def reasoning_done(
        self, item_id: str, index: int, text: str
    ) -> ResponseStreamEvent:
        return ResponseReasoningTextDoneEvent(
            content_index=0,
            item_id=item_id,
            output_index=index,
            sequence_number=self._next(),
            text=text,
            type="response.reasoning_text.done",
        )

    def arguments_delta(
        self, item_id: str, index: int, delta: str
    ) -> ResponseStreamEvent:
        return ResponseFunctionCallArgumentsDeltaEvent(
            delta=delta,
            item_id=item_id,
            output_index=index,
            sequence_number=self._next(),
            type="response.function_call_arguments.delta",
        )

    def arguments_done(
        self, call: ResponseFunctionToolCall, index: int
    ) -> ResponseStreamEvent:
        return ResponseFunctionCallArgumentsDoneEvent(
            arguments=call.arguments,
            item_id=call.id or call.call_id,
            output_index=index,
            sequence_number=self._next(),
            type="response.function_call_arguments.done",
        )


def response_events(response: Response) -> Iterator[ResponseStreamEvent]:
    """Yield what a server streams for `response`: text and refusals word by word."""
    build = EventBuilder()
    yield from build.opening(response)
    for index, item in enumerate(response.output):
        yield from _item_events(build, item, index)
    yield build.terminal(response)


def words(text: str) -> list[str]:
    """Split `text` before each run of spaces; joined, the pieces give it back."""
    return _WORD.findall(text)


def _item_events(
    build: EventBuilder, item: ResponseOutputItem, index: int
) -> Iterator[ResponseStreamEvent]:
    if isinstance(item, ResponseOutputMessage):
        yield from _message_events(build, item, index)
    elif isinstance(item, ResponseFunctionToolCall):
        yield from _call_events(build, item, index)
    else:
        yield build.item_added(item, index)
        if isinstance(item, ResponseReasoningItem):
            yield from _reasoning_events(build, item, index)
    yield build.item_done(item, index)


def _message_events(
    build: EventBuilder, message: ResponseOutputMessage, index: int
) -> Iterator[ResponseStreamEvent]:
    empty = message.model_copy(update={"content": [], "status": "in_progress"})
    yield build.item_added(empty, index)
    for number, part in enumerate(message.content):
        delta: Callable[[str, int, int, str], ResponseStreamEvent]
        if isinstance(part, ResponseOutputText):
            blank, text, delta = {"text": ""}, part.text, build.text_delta
        else:
            blank, text, delta = {"refusal": ""}, part.refusal, build.refusal_delta
        yield build.part_added(message.id, index, number, part.model_copy(update=blank))
        for word in words(text):
            yield delta(message.id, index, number, word)
        yield from build.part_done(message.id, index, number, part)


def _call_events(
    build: EventBuilder, call: ResponseFunctionToolCall, index: int
) -> Iterator[ResponseStreamEvent]:
    begun = call.model_copy(update={"arguments": "", "status": "in_progress"})
    yield build.item_added(begun, index)
    for piece in words(call.arguments):
        yield build.arguments_delta(call.id or call.call_id, index, piece)
    yield build.arguments_done(call, index)


def _reasoning_events(
    build: EventBuilder, item: ResponseReasoningItem, index: int
) -> Iterator[ResponseStreamEvent]:
    text = "".join(part.text for part in item.content or [])
    for word in words(text):
        yield build.reasoning_delta(item.id, index, word)
    if text:
        yield build.reasoning_done(item.id, index, text)
