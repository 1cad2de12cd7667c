"""Guardrails in runs: what they stop, what runs again on resume, what is kept."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runs.engine import (
    GuardrailFunctionOutput,
    InputGuardrail,
    InputGuardrailTripwireTriggered,
    OutputGuardrailTripwireTriggered,
    RunConfig,
    Runner,
    ToolExecutionConfig,
    ToolGuardrailFunctionOutput,
    ToolInputGuardrailTripwireTriggered,
    ToolOutputGuardrailTripwireTriggered,
    UserError,
    input_guardrail,
    output_guardrail,
    tool_input_guardrail,
    tool_output_guardrail,
)
from runs.engine.testing import ModelStep

from .scripted import (
    END,
    Support,
    approved,
    call,
    look_up,
    model_of,
    paused,
    refund,
    reread,
    scripted,
    waiting,
)

pytestmark = pytest.mark.usefixtures("nothing_left")

BEFORE = RunConfig(
    tool_execution=ToolExecutionConfig(pre_approval_tool_input_guardrails=True)
)


class Guards:
    """Guardrails of every kind that note when they ran; `trips` says which trip."""

    def __init__(self, *trips: str, parallel: bool = True) -> None:
        self.ran: list[str] = []
        self.trips = set(trips)
        self.input = [input_guardrail(run_in_parallel=parallel)(self._input)]
        self.output = [output_guardrail(self._output)]

    def _input(self, ctx: Any, agent: Any, given: Any) -> GuardrailFunctionOutput:
        return self._found("input", given)

    def _output(self, ctx: Any, agent: Any, output: Any) -> GuardrailFunctionOutput:
        return self._found("output", output)

    def _found(self, name: str, seen: Any) -> GuardrailFunctionOutput:
        self.ran.append(f"{name}: {seen}")
        return GuardrailFunctionOutput({"saw": str(seen)}, name in self.trips)

    def on(self, support: Support) -> Support:
        support.agent.input_guardrails = list(self.input)
        support.agent.output_guardrails = list(self.output)
        return support


# Around the run


async def test_on_resume_the_input_is_not_checked_again_and_the_output_is() -> None:
    guards = Guards()
    support = guards.on(Support([refund("c1")], END))
    state = await reread(support.agent, await paused(support.agent))
    assert guards.ran == ["input: go"]

    result = await approved(support.agent, state)

    assert guards.ran == ["input: go", "output: end"]
    assert [found.output.output_info for found in result.input_guardrail_results] == [
        {"saw": "go"}
    ]
    assert len(result.output_guardrail_results) == 1


async def test_results_survive_a_round_trip_with_names_and_what_they_told() -> None:
    guards = Guards()
    support = guards.on(Support([refund("c1")], END))
    result = await approved(support.agent, await paused(support.agent))

    again = await reread(support.agent, result.to_state())

    [given] = again.input_guardrail_results
    assert given.guardrail.get_name() == "_input"
    assert given.output == GuardrailFunctionOutput({"saw": "go"}, False)
    [gave] = again.output_guardrail_results
    assert (gave.agent_output, gave.agent) == ("end", support.agent)
    assert gave.output.output_info == {"saw": "end"}
    with pytest.raises(UserError, match="cannot run again"):
        await given.guardrail.run(support.agent, "go", again.context)


@pytest.mark.parametrize("parallel", [True, False])
async def test_an_input_tripwire_ends_the_run_before_any_tool(parallel: bool) -> None:
    guards = Guards("input", parallel=parallel)
    support = guards.on(Support([look_up("c1")], END))

    with pytest.raises(InputGuardrailTripwireTriggered) as error:
        await Runner.run(support.agent, "go")

    assert support.done == []
    assert error.value.guardrail_result.output.output_info == {"saw": "go"}
    assert error.value.run_state is not None
    assert len(error.value.run_state.input_guardrail_results) == 1
    assert error.value.run_data is not None
    assert len(error.value.run_data.input_guardrail_results) == 1
    assert len(support.model.calls) == 0


async def test_a_slow_parallel_guardrail_holds_back_the_tools_of_the_answer() -> None:
    asked = asyncio.Event()

    async def slow(ctx: Any, agent: Any, given: Any) -> GuardrailFunctionOutput:
        await asked.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        return GuardrailFunctionOutput(None, tripwire_triggered=True)

    def answer(request: Any) -> Any:
        asked.set()
        return [look_up("c1")]

    support = Support(ModelStep.respond(answer), END)
    support.agent.input_guardrails = [InputGuardrail(slow)]

    with pytest.raises(InputGuardrailTripwireTriggered):
        await Runner.run(support.agent, "go")

    assert support.done == []
    assert len(support.model.calls) == 1


async def test_a_tripwire_cuts_off_a_model_that_hangs() -> None:
    asked = asyncio.Event()

    async def slow(ctx: Any, agent: Any, given: Any) -> GuardrailFunctionOutput:
        await asked.wait()
        return GuardrailFunctionOutput(None, tripwire_triggered=True)

    async def hang(request: Any) -> Any:
        asked.set()
        await asyncio.get_running_loop().create_future()

    agent = scripted(ModelStep.respond(hang), input_guardrails=[InputGuardrail(slow)])

    async with asyncio.timeout(60):
        with pytest.raises(InputGuardrailTripwireTriggered):
            await Runner.run(agent, "go")


async def test_a_run_that_goes_on_after_a_tripwire_is_checked_again() -> None:
    guards = Guards("input")
    support = guards.on(Support([look_up("c1")], END))
    with pytest.raises(InputGuardrailTripwireTriggered) as error:
        await Runner.run(support.agent, "go")
    left = error.value.run_state
    assert left is not None
    state = await reread(support.agent, left)

    with pytest.raises(InputGuardrailTripwireTriggered):
        await Runner.run(support.agent, state)
    assert support.done == []
    guards.trips.clear()
    assert (await Runner.run(support.agent, state)).final_output == "end"


async def test_the_input_of_an_agent_handed_to_is_not_checked() -> None:
    guards = Guards("input")
    other = guards.on(Support(END, name="Other"))
    agent = scripted([call("transfer_to_other", "h1")], handoffs=[other.agent])

    assert (await Runner.run(agent, "go")).final_output == "end"
    assert guards.ran == ["output: end"]


async def test_an_output_tripwire_keeps_the_result_and_the_state() -> None:
    guards = Guards("output")
    support = guards.on(Support([look_up("c1")], END))

    with pytest.raises(OutputGuardrailTripwireTriggered) as error:
        await Runner.run(support.agent, "go")

    left = error.value.run_state
    assert left is not None
    assert (left.is_done, left.final_output) == (False, None)
    assert len(left.output_guardrail_results) == 1
    guards.trips.clear()
    result = await Runner.run(support.agent, await reread(support.agent, left))
    assert result.final_output == "end"
    assert len(support.model.calls) == 2
    assert support.done == ["look_up A1"]


async def test_guardrails_of_the_run_come_after_the_agents() -> None:
    guards, more = Guards(), Guards()
    support = guards.on(Support(END))
    config = RunConfig(input_guardrails=more.input, output_guardrails=more.output)

    result = await Runner.run(support.agent, "go", run_config=config)

    assert len(result.input_guardrail_results) == 2
    assert len(result.output_guardrail_results) == 2
    assert guards.ran == more.ran == ["input: go", "output: end"]


async def test_a_guardrail_that_raises_ends_the_run_with_its_error() -> None:
    def broken(ctx: Any, agent: Any, given: Any) -> GuardrailFunctionOutput:
        raise LookupError("no list")

    agent = scripted(END, input_guardrails=[InputGuardrail(broken)])

    with pytest.raises(LookupError, match="no list") as error:
        await Runner.run(agent, "go")

    assert error.value.run_state is not None  # type: ignore[attr-defined]


async def test_a_streamed_run_raises_its_tripwire_after_the_events() -> None:
    guards = Guards("output")
    support = guards.on(Support([look_up("c1")], END))
    stream = Runner.run_streamed(support.agent, "go")
    names: list[str] = []

    async def read() -> None:
        async for event in stream:
            names.append(getattr(event, "name", ""))

    with pytest.raises(OutputGuardrailTripwireTriggered):
        await read()

    assert stream.is_complete
    assert stream.final_output is None
    assert names.count("tool_output") == 1
    assert isinstance(stream.run_loop_exception, OutputGuardrailTripwireTriggered)


async def test_a_tools_answer_passes_the_output_guardrails_too() -> None:
    guards = Guards("output")
    support = guards.on(Support([refund("c1")], tool_use_behavior="stop_on_first_tool"))
    state = await paused(support.agent)
    state.reject(waiting(state), rejection_message="no")

    with pytest.raises(OutputGuardrailTripwireTriggered):
        await Runner.run(support.agent, state)

    assert guards.ran == ["input: go", "output: no"]


# Around a tool


class ToolGuards:
    """Guardrails around `refund` that note when they ran."""

    def __init__(self, before: Any = None, after: Any = None) -> None:
        self.ran: list[str] = []
        self.before = before or ToolGuardrailFunctionOutput.allow()
        self.after = after or ToolGuardrailFunctionOutput.allow()

    def on(self, support: Support) -> Support:
        @tool_input_guardrail
        def before(data: Any) -> ToolGuardrailFunctionOutput:
            self.ran.append(f"before {data.context.tool_call_id}")
            return self.before

        @tool_output_guardrail
        def after(data: Any) -> ToolGuardrailFunctionOutput:
            self.ran.append(f"after {data.output}")
            return self.after

        tool = support.agent.tools[0]
        tool.tool_input_guardrails = [before]
        tool.tool_output_guardrails = [after]
        return support


async def test_a_tools_guardrails_run_after_the_approval_alone() -> None:
    guards = ToolGuards()
    support = guards.on(Support([refund("c1")], END))
    state = await paused(support.agent)
    assert guards.ran == []

    result = await approved(support.agent, await reread(support.agent, state))

    assert guards.ran == ["before c1", "after refunded A1"]
    assert len(result.tool_input_guardrail_results) == 1
    again = await reread(support.agent, result.to_state())
    [kept] = again.tool_input_guardrail_results
    assert kept.guardrail.get_name() == "before"
    assert kept.output.behavior == {"type": "allow"}
    assert len(again.tool_output_guardrail_results) == 1


async def test_before_the_approval_they_run_twice_when_asked_to() -> None:
    guards = ToolGuards()
    support = guards.on(Support([refund("c1")], END))
    state = await paused(support.agent, run_config=BEFORE)
    assert guards.ran == ["before c1"]

    await approved(support.agent, state, run_config=BEFORE)

    assert guards.ran == ["before c1", "before c1", "after refunded A1"]


async def test_before_the_approval_they_may_refuse_without_a_person() -> None:
    refusal = ToolGuardrailFunctionOutput.reject_content("too much", {"limit": 3})
    guards = ToolGuards(refusal)
    support = guards.on(Support([refund("c1")], END))

    result = await Runner.run(support.agent, "go", run_config=BEFORE)

    assert result.final_output == "end"
    assert support.done == []
    assert support.told() == {"c1": "too much"}
    [found] = result.tool_input_guardrail_results
    assert found.output.output_info == {"limit": 3}


async def test_before_the_approval_they_may_end_the_run() -> None:
    guards = ToolGuards(ToolGuardrailFunctionOutput.raise_exception("fraud"))
    support = guards.on(Support([refund("c1")], END))

    with pytest.raises(ToolInputGuardrailTripwireTriggered):
        await Runner.run(support.agent, "go", run_config=BEFORE)

    assert support.done == []


async def test_an_approved_call_may_still_be_refused() -> None:
    guards = ToolGuards(ToolGuardrailFunctionOutput.reject_content("too much"))
    support = guards.on(Support([refund("c1")], END))

    result = await approved(support.agent, await paused(support.agent))

    assert result.final_output == "end"
    assert support.done == []
    assert support.told() == {"c1": "too much"}


async def test_a_tool_input_tripwire_ends_the_run_with_the_call_settled() -> None:
    guards = ToolGuards(ToolGuardrailFunctionOutput.raise_exception("fraud"))
    support = guards.on(Support([refund("c1")], END))

    with pytest.raises(ToolInputGuardrailTripwireTriggered) as error:
        await approved(support.agent, await paused(support.agent))

    assert error.value.output.output_info == "fraud"
    left = error.value.run_state
    assert left is not None
    result = await Runner.run(support.agent, await reread(support.agent, left))
    assert (result.final_output, support.done) == ("end", [])


async def test_a_tool_output_tripwire_does_not_run_the_tool_again() -> None:
    guards = ToolGuards(after=ToolGuardrailFunctionOutput.raise_exception("leak"))
    support = guards.on(Support([refund("c1")], END))

    with pytest.raises(ToolOutputGuardrailTripwireTriggered) as error:
        await approved(support.agent, await paused(support.agent))
    left = error.value.run_state
    assert left is not None
    result = await Runner.run(support.agent, await reread(support.agent, left))

    assert result.final_output == "end"
    assert support.done == ["refund A1 5.0"]
    assert "refunded" not in str(support.told()["c1"])


async def test_an_output_that_is_refused_is_replaced() -> None:
    guards = ToolGuards(after=ToolGuardrailFunctionOutput.reject_content("hidden"))
    support = guards.on(Support([refund("c1")], END))

    await approved(support.agent, await paused(support.agent))

    assert support.done == ["refund A1 5.0"]
    assert support.told() == {"c1": "hidden"}


async def test_a_rejected_call_asks_no_guardrail() -> None:
    guards = ToolGuards()
    support = guards.on(Support([refund("c1")], END))
    state = await paused(support.agent)

    state.reject(waiting(state))
    await Runner.run(support.agent, state)

    assert guards.ran == []


async def test_the_guardrails_of_a_call_see_its_agent_and_arguments() -> None:
    seen: list[Any] = []

    @tool_input_guardrail
    def look(data: Any) -> ToolGuardrailFunctionOutput:
        seen.append((data.agent, data.context.tool_name, data.context.tool_arguments))
        return ToolGuardrailFunctionOutput.allow()

    support = Support([look_up("c1")], END)
    support.agent.tools[1].tool_input_guardrails = [look]

    await Runner.run(support.agent, "go")

    assert seen == [(support.agent, "look_up", '{"order_id": "A1"}')]
    assert len(model_of(support.agent).calls) == 2
