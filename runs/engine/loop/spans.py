"""What a run tells its trace: task > agent > turn > model call, tool, guardrail.

Spans cost next to nothing while nobody listens, and what is in calls and answers goes
into them only where `trace_include_sensitive_data` says so.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..calls import Call, Outcome, OutcomeKind
from ..config import RunConfig
from ..models.interface import ModelResponse, ModelTracing
from ..tracing import (
    Span,
    SpanError,
    agent_span,
    function_span,
    get_current_trace,
    guardrail_span,
    handoff_span,
    include_task_and_turn_spans,
    model_usage,
    response_span,
    run_trace,
    task_span,
    task_usage,
    turn_span,
    turn_usage,
)

if TYPE_CHECKING:
    from ..agent import Agent
    from ..guardrails import InputGuardrail, OutputGuardrail
    from ..usage import Usage
    from .drive import Drive


class RunSpans:
    """The spans that are open in one stretch of a run: its task, agent and turn."""

    def __init__(self, config: RunConfig) -> None:
        self._detailed = include_task_and_turn_spans(config.tracing)
        self._task: Span[Any] | None = None
        self._agent: Span[Any] | None = None
        self._turn: Span[Any] | None = None

    def begin(self, name: str, usage: Usage) -> None:
        self._usage = usage
        if self._detailed:
            self._task = _started(task_span(name))
            self._before_task = self._totals(self._task)

    def begin_agent(self, agent: Agent[Any]) -> None:
        """Tell of the agent, where it has not been told of."""
        if self._agent is None:
            self._agent = _started(agent_span(agent.name, **_what_it_has(agent)))

    def begin_turn(self, number: int, agent: Agent[Any]) -> None:
        """Tell of a turn, and of the agent where it has not been told of."""
        self.end_turn()
        self.begin_agent(agent)
        if self._detailed:
            self._turn = _started(turn_span(number, agent.name))
            self._before_turn = self._totals(self._turn)

    def end_turn(self) -> None:
        if self._turn is not None and self._turn.is_recording:
            self._turn.span_data.usage = turn_usage(self._before_turn, self._usage)
        _end(self._turn)
        self._turn = None

    def _totals(self, span: Span[Any]) -> dict[str, int]:
        return self._usage.totals() if span.is_recording else {}

    def end_agent(self) -> None:
        self.end_turn()
        _end(self._agent)
        self._agent = None

    def end(self, error: BaseException | None) -> None:
        if error is not None and self._agent is not None and self._agent.error is None:
            self._agent.set_error(_error("Error in agent run", error))
        self.end_agent()
        if self._task is not None and self._task.is_recording:
            self._task.span_data.usage = task_usage(self._before_task, self._usage)
        _end(self._task)
        self._task = None


def _started(span: Span[Any]) -> Span[Any]:
    span.start(mark_as_current=True)
    return span


def _end(span: Span[Any] | None) -> None:
    if span is not None:
        span.finish(reset_current=True)


def _what_it_has(agent: Agent[Any]) -> dict[str, Any]:
    kind = agent.output_type
    return {
        "handoffs": [target.name for target in agent.handoff_targets()],
        "tools": [tool.name for tool in agent.tools],
        "output_type": "str" if kind is None else getattr(kind, "__name__", str(kind)),
    }


def _error(message: str, error: BaseException) -> SpanError:
    return SpanError(message=message, data={"error": type(error).__name__})


@contextlib.contextmanager
def spans_of_run(run: Drive) -> Iterator[None]:
    """Put the stretch into its trace: a new one, or the one the run was in before."""
    state = run.state
    with run_trace(run.config, state.trace_state if run.resumed else None) as scope:
        run.trace = scope.trace or get_current_trace()
        if not run.config.tracing_disabled:
            state.set_trace(run.trace)
        run.spans.begin(scope.workflow_name, state.usage)
        try:
            yield
        except BaseException as error:
            run.spans.end(error)
            raise
        run.spans.end(None)


def model_tracing(config: RunConfig) -> ModelTracing:
    """Return what a model is told of tracing."""
    if config.tracing_disabled:
        return ModelTracing.DISABLED
    if config.trace_include_sensitive_data:
        return ModelTracing.ENABLED
    return ModelTracing.ENABLED_WITHOUT_DATA


class NotedSpan:
    """A span that is told how its work ended, if anyone listens."""

    def __init__(self, run: Drive, span: Span[Any]) -> None:
        self._span = span
        self.is_recording = span.is_recording
        self._with_data = run.config.trace_include_sensitive_data

    def answered(self, response: ModelResponse, request: list[Any]) -> None:
        if not self.is_recording:
            return
        data = self._span.span_data
        data.usage = model_usage(response.usage)
        data.response_id = response.response_id
        if self._with_data:
            data.input = request

    def ended(self, outcome: Outcome) -> None:
        if not self.is_recording:
            return
        if self._with_data:
            output = outcome.output
            data = self._span.span_data
            data.output = output if isinstance(output, str) else json.dumps(output)
        if outcome.kind is OutcomeKind.FAILED:
            message = "Error running tool (non-fatal)"
            self._span.set_error(SpanError(message=message, data=None))

    def handed_to(self, agent_name: str) -> None:
        self._span.span_data.to_agent = agent_name


@contextlib.contextmanager
def model_span(run: Drive, model: object) -> Iterator[NotedSpan]:
    """Tell of one call of a model, whichever it is."""
    with response_span() as span:
        noted = NotedSpan(run, span)
        if noted.is_recording:
            span.span_data.model = str(getattr(model, "model", type(model).__name__))
        with _failing(span, "Error getting response"):
            yield noted


@contextlib.contextmanager
def tool_span(run: Drive, call: Call) -> Iterator[NotedSpan]:
    """Tell of one tool's body, guardrails and hooks included."""
    given = call.runs if run.config.trace_include_sensitive_data else None
    with function_span(call.tool, given) as span, _failing(span, "Error running tool"):
        if span.is_recording:
            span.span_data.call_id = call.call_id
        yield NotedSpan(run, span)


@contextlib.contextmanager
def handoff_span_of(run: Drive, requested: Sequence[str]) -> Iterator[NotedSpan]:
    """Tell of a handoff; `requested` are all that the model asked for at once."""
    with handoff_span(run.state.current_agent.name) as span:
        if len(requested) > 1:
            data = {"requested_agents": list(requested)}
            message = "Multiple handoffs requested"
            span.set_error(SpanError(message=message, data=data))
        with _failing(span, "The handoff failed"):
            yield NotedSpan(run, span)


@contextlib.contextmanager
def guardrail_spans(
    guardrails: Sequence[InputGuardrail[Any] | OutputGuardrail[Any]],
    gathered: Sequence[Any],
) -> Iterator[None]:
    """Tell of guardrails that run at once; `gathered` fills with their results."""
    spans = {id(one): guardrail_span(one.get_name()) for one in guardrails}
    for span in spans.values():
        span.start()
    try:
        yield
    finally:
        for result in gathered:
            span = spans[id(result.guardrail)]
            if span.is_recording:
                span.span_data.triggered = result.output.tripwire_triggered
        for span in spans.values():
            span.finish()


@contextlib.contextmanager
def _failing(span: Span[Any], message: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if span.error is None:
            span.set_error(_error(message, error))
        raise
