"""A model that follows a script, for tests and demos: no network, no key.

    model = ScriptedModel(steps=[
        [function_call("refund", {"order": "A1"})],
        [assistant_message("Refunded.")],
    ])

ModelScriptError                the script and the run do not fit
├── UnexpectedModelCall         the model was asked after its last step
├── UnconsumedModelSteps        steps are left that were to be used
└── InvalidModelStep            a step is none of the kinds a script takes
"""

from __future__ import annotations

import inspect
import json
import uuid
from collections import deque
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)
from pydantic import BaseModel

from .items import input_items
from .models.events import make_response, response_events
from .models.interface import (
    Model,
    ModelResponse,
    ModelTracing,
    TResponseInputItem,
    TResponseOutputItem,
    TResponseStreamEvent,
)
from .models.stream import collect, usage_to_openai
from .usage import Usage

if TYPE_CHECKING:
    from .hosted.hosted_tools import Tool
    from .model_settings import ModelSettings

ScriptedEvents: TypeAlias = (
    Iterable[TResponseStreamEvent | Exception] | AsyncIterable[TResponseStreamEvent]
)
ScriptItem: TypeAlias = (
    "ModelStep | ModelResponse | Exception | BaseModel | Sequence[BaseModel]"
)
Responder: TypeAlias = "Callable[[ModelCall], ScriptItem | Awaitable[ScriptItem]]"


class ModelScriptError(Exception):
    """The script and the run do not fit. The run never asks again because of it."""


class UnexpectedModelCall(ModelScriptError):
    """The model was asked after its last step."""

    def __init__(self, call: ModelCall, call_index: int) -> None:
        super().__init__(
            f"Model call {call_index + 1} has no step: the script had {call_index}."
        )
        self.call = call
        self.call_index = call_index
        """Counts from 0."""


class UnconsumedModelSteps(ModelScriptError):
    """Steps are left that were to be used."""

    def __init__(self, remaining_steps: int) -> None:
        super().__init__(f"{remaining_steps} steps of the script were never used.")
        self.remaining_steps = remaining_steps


class InvalidModelStep(ModelScriptError):
    """A step is none of the kinds a script takes."""

    def __init__(self, step: object) -> None:
        super().__init__(
            f"{type(step).__name__} is no step of a script: give output items (as from "
            "assistant_message and function_call), a ModelStep or an exception."
        )
        self.step = step


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """What the model was asked once."""

    system_instructions: str | None
    input: list[TResponseInputItem]
    """The list is a copy; the items in it are those of the run."""
    model_settings: ModelSettings
    tools: list[Tool]
    output_schema: Any
    handoffs: list[Any]
    tracing: ModelTracing
    previous_response_id: str | None
    conversation_id: str | None
    prompt: Any
    streamed: bool


@dataclass(frozen=True, kw_only=True)
class ModelStep:
    """One answer: `output`, or else an error, a callable or exact events."""

    output: Sequence[TResponseOutputItem] = ()
    usage: Usage | None = None
    """None means the model's default usage."""
    response_id: str | None = None
    """None means one that counts the calls: `scripted-response-1` …"""
    request_id: str | None = None
    error: Exception | None = None
    responder: Responder | None = None
    events: ScriptedEvents | Callable[[ModelCall], ScriptedEvents] | None = None

    @classmethod
    def raise_error(cls, error: Exception) -> ModelStep:
        """Return a step that raises `error`."""
        return cls(error=error)

    @classmethod
    def respond(cls, responder: Responder) -> ModelStep:
        """Return a step that answers what `responder(call)` gives: any kind of step.

        It may be async.
        """
        return cls(responder=responder)

    @classmethod
    def stream(
        cls, events: ScriptedEvents | Callable[[ModelCall], ScriptedEvents]
    ) -> ModelStep:
        """Return a step that streams exactly `events`, or those `events(call)` gives.

        An exception among them is raised at its place. When the whole answer is asked
        for, it is the one these events make up.
        """
        return cls(events=events)


class ScriptedModel(Model):
    """A model that answers with the next step each time it is asked.

    A step is a list of output items, one output item, a ModelStep, a ModelResponse or
    an exception. A step without a usage used `default_usage`; None means one request
    and no tokens. `emit_traces` is only kept: a scripted call makes no trace itself.
    """

    def __init__(
        self,
        steps: Iterable[ScriptItem] = (),
        *,
        emit_traces: bool = False,
        default_usage: Usage | None = None,
    ) -> None:
        self.emit_traces = emit_traces
        self.default_usage = default_usage
        self._waiting: deque[ModelStep] = deque()
        self._calls: list[ModelCall] = []
        self.extend(steps)

    @property
    def calls(self) -> Sequence[ModelCall]:
        """Every call so far, the oldest first."""
        return self._calls

    @property
    def first_call(self) -> ModelCall | None:
        return self._calls[0] if self._calls else None

    @property
    def last_call(self) -> ModelCall | None:
        return self._calls[-1] if self._calls else None

    @property
    def remaining_steps(self) -> int:
        """How many steps have not been used."""
        return len(self._waiting)

    def enqueue(self, step: ScriptItem) -> None:
        """Add a step after the others. Raises InvalidModelStep."""
        self._waiting.append(_as_step(step))

    def extend(self, steps: Iterable[ScriptItem]) -> None:
        """Add steps after the others, all or none. Raises InvalidModelStep."""
        self._waiting.extend([_as_step(step) for step in steps])

    def set_default_usage(self, usage: Usage | None) -> None:
        """Set what each later step uses that names no usage."""
        self.default_usage = usage

    def assert_complete(self) -> None:
        """Raise UnconsumedModelSteps when steps are left."""
        if self._waiting:
            raise UnconsumedModelSteps(len(self._waiting))

    async def get_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[Tool],
        output_schema: Any,
        handoffs: list[Any],
        tracing: ModelTracing,
        *,
        previous_response_id: str | None,
        conversation_id: str | None,
        prompt: Any,
    ) -> ModelResponse:
        """Return the next step's answer. Raises its error, or ModelScriptError."""
        call = self._record(
            ModelCall(
                system_instructions=system_instructions,
                input=input_items(input),
                model_settings=model_settings,
                tools=tools,
                output_schema=output_schema,
                handoffs=handoffs,
                tracing=tracing,
                previous_response_id=previous_response_id,
                conversation_id=conversation_id,
                prompt=prompt,
                streamed=False,
            )
        )
        step = await self._next_step(call)
        if step.events is not None:
            return await collect(_exact_events(step.events, call), on_event=_ignore)
        return self._answer(step)

    async def stream_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[Tool],
        output_schema: Any,
        handoffs: list[Any],
        tracing: ModelTracing,
        *,
        previous_response_id: str | None,
        conversation_id: str | None,
        prompt: Any,
    ) -> AsyncIterator[TResponseStreamEvent]:
        """Yield the next step's events. Raises its error, or ModelScriptError."""
        call = self._record(
            ModelCall(
                system_instructions=system_instructions,
                input=input_items(input),
                model_settings=model_settings,
                tools=tools,
                output_schema=output_schema,
                handoffs=handoffs,
                tracing=tracing,
                previous_response_id=previous_response_id,
                conversation_id=conversation_id,
                prompt=prompt,
                streamed=True,
            )
        )
        step = await self._next_step(call)
        if step.events is not None:
            async for event in _exact_events(step.events, call):
                yield event
            return
        for event in _events_of(self._answer(step)):
            yield event

    def _record(self, call: ModelCall) -> ModelCall:
        self._calls.append(call)
        return call

    async def _next_step(self, call: ModelCall) -> ModelStep:
        if not self._waiting:
            raise UnexpectedModelCall(call, len(self._calls) - 1)
        step = self._waiting.popleft()
        while step.responder is not None:
            given = step.responder(call)
            step = _as_step(await given if inspect.isawaitable(given) else given)
        if step.error is not None:
            raise step.error
        return step

    def _answer(self, step: ModelStep) -> ModelResponse:
        usage = step.usage or self.default_usage or Usage(requests=1)
        return ModelResponse(
            output=list(step.output),
            # A copy: whoever adds to the usage of an answer must not add to the next.
            usage=replace(
                Usage.from_totals(usage.totals()), requests=usage.requests or 1
            ),
            response_id=step.response_id or f"scripted-response-{len(self._calls)}",
            request_id=step.request_id,
        )


def assistant_message(
    text: str, *, item_id: str | None = None
) -> ResponseOutputMessage:
    """Return a message of the model; without `item_id` its id is a fresh one."""
    part = ResponseOutputText(
        text=text, type="output_text", annotations=[], logprobs=[]
    )
    return ResponseOutputMessage(
        id=item_id or f"msg_{uuid.uuid4().hex}",
        content=[part],
        role="assistant",
        status="completed",
        type="message",
    )


def function_call(
    name: str,
    arguments: str | Mapping[str, Any],
    *,
    call_id: str | None = None,
    item_id: str | None = None,
) -> ResponseFunctionToolCall:
    """Return a call of a tool; text arguments go in as they are, however malformed.

    Without `call_id` it is a fresh one: unlike a counter it never meets that of an
    earlier process in a stored run.
    """
    given = f"call_{uuid.uuid4().hex}" if call_id is None else call_id
    text = arguments if isinstance(arguments, str) else json.dumps(dict(arguments))
    return ResponseFunctionToolCall(
        id=item_id or f"fc_{given}",
        call_id=given,
        name=name,
        arguments=text,
        status="completed",
        type="function_call",
    )


def _as_step(item: object) -> ModelStep:
    if isinstance(item, ModelStep):
        return item
    if isinstance(item, Exception):
        return ModelStep(error=item)
    if isinstance(item, ModelResponse):
        return ModelStep(
            output=item.output,
            usage=item.usage,
            response_id=item.response_id,
            request_id=item.request_id,
        )
    if _is_output_item(item):
        return ModelStep(output=[item])
    if isinstance(item, list | tuple) and all(_is_output_item(part) for part in item):
        return ModelStep(output=item)
    raise InvalidModelStep(item)


def _is_output_item(item: object) -> TypeGuard[TResponseOutputItem]:
    return isinstance(item, BaseModel) and isinstance(getattr(item, "type", None), str)


def _events_of(answer: ModelResponse) -> Iterable[TResponseStreamEvent]:
    return response_events(
        make_response(
            response_id=answer.response_id or "",
            model="scripted-model",
            output=answer.output,
            usage=usage_to_openai(answer.usage),
        )
    )


async def _exact_events(
    events: ScriptedEvents | Callable[[ModelCall], ScriptedEvents], call: ModelCall
) -> AsyncIterator[TResponseStreamEvent]:
    source = events(call) if callable(events) else events
    if isinstance(source, AsyncIterable):
        async for event in source:
            yield event
        return
    for given in source:
        if isinstance(given, Exception):
            raise given
        yield given


async def _ignore(event: TResponseStreamEvent) -> None:
    """Take an event nobody waits for."""
