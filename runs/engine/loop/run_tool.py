"""Running one tool's body: its guardrails, its hooks, its span."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from ..calls import Call, Outcome, OutcomeKind
from ..context import ToolContext
from ..digest import JSONObject
from ..errors import RunInterrupted, ToolOutputGuardrailTripwireTriggered
from ..state.guardrail_log import Kind, result_to_json
from ..tools.custom_data import custom_data_of
from ..tools.invoke import ToolFailed, invoke
from ..tools.tool import FunctionTool
from ..tools.tool_guardrails import (
    run_tool_input_guardrails,
    run_tool_output_guardrails,
)
from .drive import Drive
from .spans import tool_span
from .tool_contexts import tool_context

NO_VALUE: Any = object()
UNENDED = Outcome(kind=OutcomeKind.UNKNOWN, output="")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnded:
    """How a call ended, and what is to be kept of it."""

    outcome: Outcome
    value: Any = NO_VALUE
    """What the body returned; NO_VALUE where the model's text is all there is."""
    item: JSONObject | None = None
    """The output in a form of its own; None for that of a function."""
    custom_data: JSONObject | None = None
    guardrails: list[JSONObject] = field(default_factory=list)
    """What its guardrails said, as the log keeps it."""
    failure: BaseException | None = None
    """What ends the run once this is stored."""
    stops: bool = False
    """A person's rejection ends the run with this call."""

    def told(self, words: str) -> CallEnded:
        """Return this with `words` before what the model reads."""
        output = self.outcome.output
        parts = [{"type": "input_text", "text": words}]
        said = words + output if isinstance(output, str) else [*parts, *output]
        outcome = dataclasses.replace(self.outcome, output=said)
        return dataclasses.replace(self, outcome=outcome)


async def run_tool(run: Drive, tool: FunctionTool, call: Call, key: str) -> CallEnded:
    """Return how the tool's body ended.

    What a guardrail, a hook or the tool raises to end the run is kept as `failure`, so
    that what has happened is stored first.
    """
    context = tool_context(run, call, idempotency_key=key)
    said: list[JSONObject] = []
    outcome, value = UNENDED, NO_VALUE
    try:
        with tool_span(run, call) as span:
            text = await _refused(run, tool, context, said)
            if text is not None:
                outcome = Outcome(kind=OutcomeKind.INVALID, output=text)
                return CallEnded(outcome=outcome, guardrails=said)
            await run.own_hooks.tool_start(context, run.state.current_agent, tool)
            outcome, value = await invoke(
                tool, context, context.tool_arguments, stopping=run.control.stopping
            )
            outcome, value = await _check_output(
                run, tool, context, outcome, value, said
            )
            await run.own_hooks.tool_end(context, run.state.current_agent, tool, value)
            span.ended(outcome)
        data = await custom_data_of(tool, context, value, output_raw(call, outcome))
        return CallEnded(
            outcome=outcome, value=value, custom_data=data, guardrails=said
        )
    except RunInterrupted:
        raise
    except Exception as error:
        ending = error.to_raise if isinstance(error, ToolFailed) else error
        if outcome is UNENDED or isinstance(
            error, ToolOutputGuardrailTripwireTriggered
        ):
            outcome = Outcome(kind=OutcomeKind.FAILED, output=str(error))
        return CallEnded(outcome=outcome, guardrails=said, failure=ending)


def output_raw(call: Call, outcome: Outcome) -> JSONObject:
    """Return the item that gives the call its output, as a model reads it."""
    return {
        "type": "function_call_output",
        "call_id": call.call_id,
        "output": outcome.output,
    }


async def _refused(
    run: Drive, tool: FunctionTool, context: ToolContext[Any], said: list[JSONObject]
) -> str | None:
    """Return what the model is told instead, if the tool is not to run."""
    if not tool.tool_input_guardrails:
        return None
    results: list[Any] = []
    try:
        return await run_tool_input_guardrails(
            tool, context, run.state.current_agent, results
        )
    finally:
        _keep(run, "tool_input", results, said)


async def _check_output(
    run: Drive,
    tool: FunctionTool,
    context: ToolContext[Any],
    outcome: Outcome,
    value: Any,
    said: list[JSONObject],
) -> tuple[Outcome, Any]:
    if not tool.tool_output_guardrails or outcome.kind is not OutcomeKind.SUCCEEDED:
        return outcome, value
    results: list[Any] = []
    try:
        text = await run_tool_output_guardrails(
            tool, context, run.state.current_agent, value, results
        )
    finally:
        _keep(run, "tool_output", results, said)
    if text is None:
        return outcome, value
    return dataclasses.replace(outcome, output=text), text


def _keep(run: Drive, kind: Kind, results: list[Any], said: list[JSONObject]) -> None:
    getattr(run.state.guardrails, kind).extend(results)
    said += [result_to_json(kind, result) for result in results]
