"""From a chat answer, whole or in chunks, to the events and items of Responses.

Servers differ most in tool calls: an index that is missing or always 0, an id that is
missing, used twice or new in each chunk, a name in pieces or in every chunk. So a chunk
begins another call only when it names one; `Calls` has the rules.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

from openai.types.responses import (
    Response,
    ResponseUsage,
)
from openai.types.responses.response_usage import (
    InputTokensDetails,
    OutputTokensDetails,
)

from ..errors import ModelCallError
from .chat_convert import CallIds
from .chat_items import Call, Calls, Events, Message, Reasoning, Status
from .events import EventBuilder, IncompleteReason, make_response
from .stream import ConvertedUsage

_Texts = TypeVar("_Texts", "Reasoning", "Message")

_INCOMPLETE: dict[str, IncompleteReason] = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
}
_BROKEN_OFF = {"abort", "error"}


class ChatAnswer:
    """One answer as it arrives.

    `used_call_ids` are those of the input: no call of this answer gets one of them.
    `calls_at_end` tells of no call before the stream is over, for servers whose pieces
    of calls make sense only together.
    """

    def __init__(
        self, model: str, used_call_ids: set[str], *, calls_at_end: bool = False
    ) -> None:
        self.request_id: str | None = None
        """The server's id of the request, from its headers; set by whoever has it."""
        self._model = model
        self._build = EventBuilder()
        self._items: list[Reasoning | Message | Call] = []
        self._calls_at_end = calls_at_end
        self._held: list[Any] = []
        """Pieces of calls that are kept back until the stream is over."""
        self._calls = Calls(CallIds(used_call_ids))
        self._id = ""
        self._created_at = 0.0
        self._opened = False
        self._finish_reason: str | None = None
        self._usage: ResponseUsage | None = None

    def feed(self, chunk: Any) -> Events:
        """Yield the events that a chunk of the stream makes."""
        yield from self._note_head(chunk)
        for choice in _listed(chunk, "choices")[:1]:
            delta = getattr(choice, "delta", None)
            if delta is not None:
                yield from self._feed_texts(delta)
                pieces = _listed(delta, "tool_calls")
                if self._calls_at_end:
                    self._held.extend(pieces)
                else:
                    yield from self._feed_calls(pieces)
            self._note_reason(getattr(choice, "finish_reason", None))

    def finish(self) -> Events:
        """Yield the events of the answer's end; none when it broke off before."""
        if self._finish_reason is None:
            return
        yield from self._feed_calls(self._held)
        status: Status = "incomplete" if self._incomplete else "completed"
        for item in self._items:
            yield from item.finish(status)
        yield self._build.terminal(self._response())

    def whole(self, completion: Any) -> Response:
        """Return the answer that a completion holds. Raises ModelCallError."""
        choices = _listed(completion, "choices")
        message = getattr(choices[0], "message", None) if choices else None
        if not choices or message is None:
            raise ModelCallError(_no_answer(completion))
        self._note_reason(getattr(choices[0], "finish_reason", None) or "stop")
        if self._finish_reason is None:
            raise ModelCallError("The model's server broke its answer off.")
        # The events are not wanted here, but making them is what fills the items.
        for _ in self._note_head(completion):
            pass
        for _ in self._feed_texts(message):
            pass
        for index, call in enumerate(_listed(message, "tool_calls")):
            for _ in self._feed_call(call, index):
                pass
        return self._response()

    @property
    def _incomplete(self) -> IncompleteReason | None:
        return _INCOMPLETE.get(self._finish_reason or "")

    def _note_head(self, chunk: Any) -> Events:
        sent_id, created = getattr(chunk, "id", None), getattr(chunk, "created", None)
        if not self._id and isinstance(sent_id, str):
            self._id = sent_id
        if not self._created_at and isinstance(created, int | float):
            self._created_at = float(created)
        usage = getattr(chunk, "usage", None)
        if usage is not None:
            self._usage = usage_of_chat(usage)
        if not self._opened:
            self._opened = True
            yield from self._build.opening(self._response())

    def _note_reason(self, reason: object) -> None:
        if isinstance(reason, str) and reason and reason not in _BROKEN_OFF:
            self._finish_reason = reason

    def _feed_texts(self, delta: Any) -> Events:
        # vLLM and llama.cpp name it `reasoning_content`, Ollama `reasoning`.
        for name in ("reasoning_content", "reasoning"):
            thought = getattr(delta, name, None)
            if thought and isinstance(thought, str):
                yield from self._only(Reasoning).add(thought)
                break
        for kind in ("text", "refusal"):
            said = getattr(delta, "content" if kind == "text" else kind, None)
            if said and isinstance(said, str):
                yield from self._say(kind, said)

    def _say(self, kind: str, said: str) -> Events:
        spoken = any(isinstance(item, Message) for item in self._items)
        if not spoken and not said.strip():
            return  # Many models put line breaks before their calls: no message.
        yield from self._only(Message).add(kind, said)

    def _feed_calls(self, pieces: list[Any]) -> Events:
        for piece in pieces:
            yield from self._feed_call(piece, getattr(piece, "index", None))

    def _feed_call(self, sent: Any, index: object) -> Events:
        function = getattr(sent, "function", None)
        sent_name = getattr(function, "name", None)
        name = sent_name if isinstance(sent_name, str) else ""
        arguments = _fragment(getattr(function, "arguments", None))
        sent_id = getattr(sent, "id", None)
        call = self._calls.find(index, sent_id, name, arguments)
        if call is None:
            call = Call(self._build, len(self._items), self._calls.new_id(sent_id))
            self._calls.note(call, index, sent_id)
            self._items.append(call)
        call.keep(_extras(sent))
        yield from call.add(name, arguments)

    def _only(self, kind: type[_Texts]) -> _Texts:
        """Return the answer's one item of that kind, made when it is first asked."""
        for item in self._items:
            if isinstance(item, kind):
                return item
        made = kind(self._build, len(self._items))
        self._items.append(made)
        return made

    def _response(self) -> Response:
        status: Status = "incomplete" if self._incomplete else "completed"
        response = make_response(
            response_id=self._id,
            model=self._model,
            output=[item.item(status) for item in self._items],
            usage=self._usage,
            incomplete=self._incomplete,
            created_at=self._created_at,
        )
        response._request_id = self.request_id
        return response


def usage_of_chat(sent: Any) -> ResponseUsage | None:
    """Return a chat server's usage as that of Responses; None when it counts nothing.

    A number that is left out, or no number, counts as 0.
    """
    read, written = _count(sent, "prompt_tokens"), _count(sent, "completion_tokens")
    total = _count(sent, "total_tokens") or read + written
    if not total:
        return None
    read_details = getattr(sent, "prompt_tokens_details", None)
    written_details = getattr(sent, "completion_tokens_details", None)
    usage = ConvertedUsage(
        input_tokens=read,
        input_tokens_details=InputTokensDetails(
            cached_tokens=_count(read_details, "cached_tokens"),
            cache_write_tokens=_count(read_details, "cache_write_tokens"),
        ),
        output_tokens=written,
        output_tokens_details=OutputTokensDetails(
            reasoning_tokens=_count(written_details, "reasoning_tokens")
        ),
        total_tokens=total,
    )
    return usage.of(sent)


def _count(holder: object, name: str) -> int:
    value = getattr(holder, name, None)
    return value if isinstance(value, int) else 0


def _listed(holder: object, name: str) -> list[Any]:
    """Return the list `holder` has under `name`, which a server may have left out."""
    found = getattr(holder, name, None)
    return found if isinstance(found, list) else []


def _extras(sent: Any) -> dict[str, Any]:
    """Return the fields of a call that only its server knows, as Gemini's
    `extra_content`: it wants them back with the call."""
    extras = dict(getattr(sent, "model_extra", None) or {})
    extras.pop("index", None)  # of a stream's pieces; some whole answers have it too
    return {name: value for name, value in extras.items() if value is not None}


def _fragment(arguments: Any) -> str:
    """Return a piece of arguments as text; some servers send them parsed."""
    if arguments is None or isinstance(arguments, str):
        return arguments or ""
    return json.dumps(arguments, default=str)


def _no_answer(completion: Any) -> str:
    error = getattr(completion, "error", None)
    told = error.get("message") if isinstance(error, dict) else error
    return f"The model's server sent no answer: {told or 'it holds no choice'}."
