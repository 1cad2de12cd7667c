"""The items of a chat answer while it arrives, each making its own events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputItem,
    ResponseOutputMessage,
    ResponseOutputRefusal,
    ResponseOutputText,
    ResponseReasoningItem,
    ResponseStreamEvent,
)
from openai.types.responses.response_reasoning_item import Content as ReasoningText

from .chat_convert import PROVIDER_DATA, CallIds, fresh_id
from .events import EventBuilder, MessagePart

Status: TypeAlias = Literal["completed", "incomplete"]
Events: TypeAlias = Iterator[ResponseStreamEvent]

REASONING_PREFIX = "rs_chat"
"""Begins the ids of reasoning that only the chat adapter has seen."""


class Reasoning:
    def __init__(self, build: EventBuilder, index: int) -> None:
        self._build = build
        self._index = index
        self._id = fresh_id(REASONING_PREFIX)
        self._pieces: list[str] = []

    def add(self, piece: str) -> Events:
        if not self._pieces:
            blank = ResponseReasoningItem(id=self._id, summary=[], type="reasoning")
            yield self._build.item_added(blank, self._index)
        self._pieces.append(piece)
        yield self._build.reasoning_delta(self._id, self._index, piece)

    def item(self, status: Status) -> ResponseOutputItem:
        text = ReasoningText(text="".join(self._pieces), type="reasoning_text")
        return ResponseReasoningItem(
            id=self._id, summary=[], type="reasoning", content=[text], status=status
        )

    def finish(self, status: Status) -> Events:
        yield self._build.reasoning_done(self._id, self._index, "".join(self._pieces))
        yield self._build.item_done(self.item(status), self._index)


class Message:
    """A message of up to two parts, its text and its refusal, as they first came."""

    def __init__(self, build: EventBuilder, index: int) -> None:
        self._build = build
        self._index = index
        self._id = fresh_id("msg")
        self._pieces: dict[str, list[str]] = {}

    def add(self, kind: str, piece: str) -> Events:
        if not self._pieces:
            yield self._build.item_added(self._message([], "in_progress"), self._index)
        if kind not in self._pieces:
            number = len(self._pieces)
            self._pieces[kind] = []
            yield self._build.part_added(
                self._id, self._index, number, self._part(kind)
            )
        self._pieces[kind].append(piece)
        delta = self._build.text_delta
        if kind == "refusal":
            delta = self._build.refusal_delta
        yield delta(self._id, self._index, list(self._pieces).index(kind), piece)

    def item(self, status: Status) -> ResponseOutputItem:
        return self._message([self._part(kind) for kind in self._pieces], status)

    def finish(self, status: Status) -> Events:
        for number, kind in enumerate(self._pieces):
            yield from self._build.part_done(
                self._id, self._index, number, self._part(kind)
            )
        yield self._build.item_done(self.item(status), self._index)

    def _message(
        self, parts: list[MessagePart], status: Status | Literal["in_progress"]
    ) -> ResponseOutputMessage:
        return ResponseOutputMessage(
            id=self._id,
            content=parts,
            role="assistant",
            status=status,
            type="message",
        )

    def _part(self, kind: str) -> MessagePart:
        text = "".join(self._pieces[kind])
        if kind == "refusal":
            return ResponseOutputRefusal(refusal=text, type="refusal")
        return ResponseOutputText(
            text=text, type="output_text", annotations=[], logprobs=[]
        )


class Call:
    """A call of a tool; it is announced once its name must be whole."""

    def __init__(self, build: EventBuilder, index: int, call_id: str) -> None:
        self._build = build
        self._index = index
        self._id = fresh_id("fc")
        self._call_id = call_id
        self._announced = False
        self._pieces: list[str] = []
        self._length = 0
        self._extras: dict[str, Any] = {}
        self.name = ""

    @property
    def arguments(self) -> str:
        return "".join(self._pieces)

    def continues(self, name: str, arguments: str) -> bool:
        """Say whether a chunk that names a tool still belongs to this call.

        It does while the arguments are not whole, and when it only says again what is
        there already.
        """
        if not _is_json(self.arguments):
            return True
        return name == self.name and arguments in {"", self.arguments}

    def keep(self, extras: dict[str, Any]) -> None:
        """Remember fields that only the server knows, to send them back."""
        self._extras.update(extras)

    def add(self, name: str, arguments: str) -> Events:
        if name and name != self.name and not self._pieces:
            self.name += name
        if not arguments or self._repeats(arguments):
            return
        yield from self._announce()
        self._pieces.append(arguments)
        self._length += len(arguments)
        yield self._build.arguments_delta(self._id, self._index, arguments)

    def item(self, status: Status) -> ResponseFunctionToolCall:
        # No arguments at all mean none; in an answer cut short, that they are missing.
        blank = "{}" if status == "completed" else ""
        arguments = self.arguments if self.arguments.strip() else blank
        return self._call(arguments, status)

    def finish(self, status: Status) -> Events:
        yield from self._announce()
        call = self.item(status)
        if not self._pieces and call.arguments:
            yield self._build.arguments_delta(self._id, self._index, call.arguments)
        yield self._build.arguments_done(call, self._index)
        yield self._build.item_done(call, self._index)

    def _repeats(self, arguments: str) -> bool:
        # The length first: joining the pieces for each chunk would cost their square.
        return (
            len(arguments) == self._length
            and arguments == self.arguments
            and _is_json(arguments)
        )

    def _announce(self) -> Events:
        if not self._announced:
            self._announced = True
            yield self._build.item_added(self._call("", "in_progress"), self._index)

    def _call(
        self, arguments: str, status: Status | Literal["in_progress"]
    ) -> ResponseFunctionToolCall:
        call = ResponseFunctionToolCall(
            id=self._id,
            call_id=self._call_id,
            name=self.name,
            arguments=arguments,
            status=status,
            type="function_call",
        )
        if not self._extras:
            return call
        return call.model_copy(update={PROVIDER_DATA: dict(self._extras)})


class Calls:
    """Says which call a chunk belongs to."""

    def __init__(self, ids: CallIds) -> None:
        self._ids = ids
        self._by_index: dict[int, Call] = {}
        self._by_sent_id: dict[str, Call] = {}
        self._last: Call | None = None

    def new_id(self, sent_id: object) -> str:
        return self._ids.take(sent_id)

    def note(self, call: Call, index: object, sent_id: object) -> None:
        self._last = call
        if isinstance(index, int):
            self._by_index[index] = call
        if isinstance(sent_id, str) and sent_id:
            self._by_sent_id[sent_id] = call

    def find(
        self, index: object, sent_id: object, name: str, arguments: str
    ) -> Call | None:
        """Return the call that a chunk goes on with, or None for a new one.

        A chunk that names no tool is never a new one while there is a call: some
        servers make up a new id, or drop the index, in every chunk after the first.
        """
        known = self._known(index, sent_id)
        if not name:
            return known or self._last
        if known is None or self._is_other(known, sent_id):
            return None
        return known if known.continues(name, arguments) else None

    def _known(self, index: object, sent_id: object) -> Call | None:
        if isinstance(index, int):
            return self._by_index.get(index)
        return self._by_sent_id.get(sent_id) if isinstance(sent_id, str) else None

    def _is_other(self, known: Call, sent_id: object) -> bool:
        if not isinstance(sent_id, str) or not sent_id:
            return False
        return self._by_sent_id.get(sent_id) is not known


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
