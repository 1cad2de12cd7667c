"""What guardrails have said, as a log or a state holds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ..digest import JSONObject
from ..errors import UserError
from ..guardrails import (
    GuardrailFunctionOutput,
    InputGuardrail,
    InputGuardrailResult,
    OutputGuardrail,
    OutputGuardrailResult,
)
from ..loop.answer import plain_output
from ..tools.tool_guardrails import (
    AllowBehavior,
    ToolGuardrailFunctionOutput,
    ToolInputGuardrail,
    ToolInputGuardrailResult,
    ToolOutputGuardrail,
    ToolOutputGuardrailResult,
)

if TYPE_CHECKING:
    from ..agent import Agent

Kind = Literal["input", "output", "tool_input", "tool_output"]
KINDS: tuple[Kind, ...] = ("input", "output", "tool_input", "tool_output")


@dataclass(slots=True)
class GuardrailResults:
    """What the guardrails of a run have said, by kind, oldest first."""

    input: list[Any] = field(default_factory=list)
    output: list[Any] = field(default_factory=list)
    tool_input: list[Any] = field(default_factory=list)
    tool_output: list[Any] = field(default_factory=list)

    def copy(self) -> GuardrailResults:
        return GuardrailResults(
            list(self.input),
            list(self.output),
            list(self.tool_input),
            list(self.tool_output),
        )


def result_to_json(kind: Kind, result: Any) -> JSONObject:
    """Return one result; of the guardrail itself only its name can be stored."""
    output = result.output
    written = {
        "kind": kind,
        "name": result.guardrail.get_name(),
        "info": plain_output(output.output_info),
    }
    if kind in ("tool_input", "tool_output"):
        return written | {"behavior": plain_output(output.behavior)}
    written["tripped"] = output.tripwire_triggered
    if kind == "output":
        written["agent_output"] = plain_output(result.agent_output)
    return written


def results_to_json(results: GuardrailResults) -> list[JSONObject]:
    """Return all results, those of one kind in their order."""
    return [
        result_to_json(kind, result)
        for kind in KINDS
        for result in getattr(results, kind)
    ]


def restore_results(
    results: GuardrailResults, stored: Sequence[Mapping[str, Any]], agent: Agent[Any]
) -> None:
    """Put stored results back, with guardrails that have a name and nothing to run."""
    for written in stored:
        kind = written["kind"]
        getattr(results, kind).append(_result(kind, written, agent))


def _result(kind: Kind, written: Mapping[str, Any], agent: Agent[Any]) -> Any:
    name, info = written["name"], written.get("info")
    if kind == "input":
        output = GuardrailFunctionOutput(info, bool(written.get("tripped")))
        return InputGuardrailResult(InputGuardrail(_gone, name), output)
    if kind == "output":
        output = GuardrailFunctionOutput(info, bool(written.get("tripped")))
        return OutputGuardrailResult(
            OutputGuardrail(_gone, name), written.get("agent_output"), agent, output
        )
    said = ToolGuardrailFunctionOutput(
        info, written.get("behavior") or AllowBehavior(type="allow")
    )
    if kind == "tool_input":
        return ToolInputGuardrailResult(ToolInputGuardrail(_gone, name), said)
    return ToolOutputGuardrailResult(ToolOutputGuardrail(_gone, name), said)


def _gone(*args: Any) -> Any:
    raise UserError("This guardrail was read from a stored state; it cannot run again.")
