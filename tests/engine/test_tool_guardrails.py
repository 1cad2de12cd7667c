from __future__ import annotations

from typing import Any

import pytest

from runs.engine import Agent
from runs.engine.context import ToolContext
from runs.engine.errors import (
    ToolInputGuardrailTripwireTriggered,
    ToolOutputGuardrailTripwireTriggered,
    UserError,
)
from runs.engine.tools.function_tool import function_tool
from runs.engine.tools.tool import FunctionTool
from runs.engine.tools.tool_guardrails import (
    ToolGuardrailFunctionOutput,
    ToolInputGuardrail,
    ToolInputGuardrailData,
    ToolInputGuardrailResult,
    ToolOutputGuardrail,
    ToolOutputGuardrailData,
    ToolOutputGuardrailResult,
    run_tool_input_guardrails,
    run_tool_output_guardrails,
    tool_input_guardrail,
    tool_output_guardrail,
)

CONTEXT: ToolContext[Any] = ToolContext(
    context=None, tool_name="pay", tool_call_id="c1", tool_arguments='{"amount": 5}'
)
AGENT: Agent[Any] = Agent(name="A")


def pay(
    before: list[ToolInputGuardrail[Any]] | None = None,
    after: list[ToolOutputGuardrail[Any]] | None = None,
) -> FunctionTool:
    @function_tool(tool_input_guardrails=before, tool_output_guardrails=after)
    def pay(amount: int) -> str:
        return ""

    return pay


@tool_input_guardrail
def allows(data: ToolInputGuardrailData) -> ToolGuardrailFunctionOutput:
    return ToolGuardrailFunctionOutput.allow(data.context.tool_arguments)


@tool_input_guardrail(name="too much")
async def rejects(data: ToolInputGuardrailData) -> ToolGuardrailFunctionOutput:
    return ToolGuardrailFunctionOutput.reject_content("Ask for less.", "much")


@tool_input_guardrail
def raises(data: ToolInputGuardrailData) -> ToolGuardrailFunctionOutput:
    return ToolGuardrailFunctionOutput.raise_exception({"risk": 1})


@tool_output_guardrail
def reads(data: ToolOutputGuardrailData) -> ToolGuardrailFunctionOutput:
    return ToolGuardrailFunctionOutput(output_info=(data.agent.name, data.output))


@tool_output_guardrail(name="secrets")
async def hides(data: ToolOutputGuardrailData) -> ToolGuardrailFunctionOutput:
    return ToolGuardrailFunctionOutput.reject_content("Hidden.")


@tool_output_guardrail
def stops(data: ToolOutputGuardrailData) -> ToolGuardrailFunctionOutput:
    return ToolGuardrailFunctionOutput.raise_exception()


def test_what_a_guardrail_finds_has_three_forms() -> None:
    found = ToolGuardrailFunctionOutput

    assert found.allow(1) == found(1, {"type": "allow"}) == found(1)
    assert found.reject_content("no", 2) == found(
        2, {"type": "reject_content", "message": "no"}
    )
    assert found.raise_exception(3) == found(3, {"type": "raise_exception"})


def test_a_guardrail_is_named_after_its_function_unless_given_a_name() -> None:
    class Check:
        def __call__(self, data: ToolInputGuardrailData) -> ToolGuardrailFunctionOutput:
            return ToolGuardrailFunctionOutput.allow()

    assert (allows.get_name(), rejects.get_name()) == ("allows", "too much")
    assert (reads.get_name(), hides.get_name()) == ("reads", "secrets")
    assert ToolInputGuardrail(Check()).get_name() == "Check"


async def test_a_tool_without_guardrails_runs() -> None:
    ran: list[Any] = []

    assert await run_tool_input_guardrails(pay(), CONTEXT, AGENT, ran) is None
    assert await run_tool_output_guardrails(pay(), CONTEXT, AGENT, "x", ran) is None
    assert ran == []


async def test_the_first_guardrail_that_rejects_is_the_last() -> None:
    ran: list[ToolInputGuardrailResult] = []

    told = await run_tool_input_guardrails(
        pay([allows, rejects, raises]), CONTEXT, AGENT, ran
    )

    assert told == "Ask for less."
    assert [(each.guardrail, each.output.output_info) for each in ran] == [
        (allows, '{"amount": 5}'),
        (rejects, "much"),
    ]


async def test_a_guardrail_that_ends_the_run_is_among_the_results() -> None:
    ran: list[ToolInputGuardrailResult] = []

    with pytest.raises(ToolInputGuardrailTripwireTriggered) as ended:
        await run_tool_input_guardrails(pay([raises]), CONTEXT, AGENT, ran)

    assert (ended.value.guardrail, ended.value.output) == (raises, ran[0].output)
    assert ran[0].output.output_info == {"risk": 1}


async def test_a_guardrail_sees_the_output_and_may_replace_it() -> None:
    ran: list[ToolOutputGuardrailResult] = []

    told = await run_tool_output_guardrails(
        pay(after=[reads, hides, stops]), CONTEXT, AGENT, {"iban": 1}, ran
    )

    assert told == "Hidden."
    assert [each.output.output_info for each in ran] == [("A", {"iban": 1}), None]


async def test_a_guardrail_of_the_output_may_end_the_run() -> None:
    ran: list[ToolOutputGuardrailResult] = []

    with pytest.raises(ToolOutputGuardrailTripwireTriggered) as ended:
        await run_tool_output_guardrails(pay(after=[stops]), CONTEXT, AGENT, "", ran)

    assert ended.value.guardrail is stops
    assert len(ran) == 1


@pytest.mark.parametrize("found", [None, True, "reject"])
async def test_a_guardrail_that_finds_nothing_we_know_does_not_let_pass(
    found: Any,
) -> None:
    guardrail: Any = ToolInputGuardrail(lambda data: found)

    with pytest.raises(UserError, match="allow"):
        await run_tool_input_guardrails(pay([guardrail]), CONTEXT, AGENT, [])


async def test_a_guardrail_that_cannot_be_called_is_refused() -> None:
    guardrail: Any = ToolOutputGuardrail(3)  # type: ignore[arg-type]

    with pytest.raises(UserError, match="cannot be called"):
        await run_tool_output_guardrails(pay(after=[guardrail]), CONTEXT, AGENT, 1, [])
