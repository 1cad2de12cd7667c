"""Agents used as tools: their pauses, failures, stops and limits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runs.engine import (
    Agent,
    FunctionTool,
    GuardrailFunctionOutput,
    InMemoryGate,
    InMemoryJournal,
    InputGuardrailTripwireTriggered,
    JournalFailed,
    MaxTurnsExceeded,
    Ports,
    RunConfig,
    Runner,
    RunStopped,
    ToolExecutionConfig,
    Usage,
    UserError,
    Verdict,
    VerdictKind,
    function_tool,
    input_guardrail,
)
from runs.engine.testing import (
    ModelStep,
    ScriptedModel,
    assistant_message,
    function_call,
)

from .scripted import (
    END,
    Support,
    approved,
    call,
    call_ids,
    model_of,
    paused,
    refund,
    reread,
    scripted,
    told,
    waiting,
)

pytestmark = pytest.mark.usefixtures("nothing_left")

APPROVE = Verdict(kind=VerdictKind.APPROVE)


def clerk(*steps: Any, **settings: Any) -> Support:
    return Support(*steps, name="Clerk", **settings)


def boss(*steps: Any, tools: list[Any], **settings: Any) -> Agent[Any]:
    return scripted(*steps, name="Boss", tools=tools, **settings)


def ask(call_id: str, tool: str = "clerk") -> Any:
    return call(tool, call_id, input="do it")


# Pauses


async def test_the_inner_approval_is_the_outer_results_and_the_inner_agents() -> None:
    inner = clerk([refund("c1")], END)
    outer = boss([ask("r1")], END, tools=[inner.agent.as_tool("clerk", "")])

    result = await Runner.run(outer, "go")
    [item] = result.interruptions

    assert item.agent is inner.agent
    assert (item.name, item.call_id) == ("refund", "c1")
    assert result.last_agent is outer
    assert [item.type for item in result.new_items] == ["tool_call_item"]


async def test_what_the_inner_run_did_is_not_done_again_after_the_pause() -> None:
    inner = clerk([call("look_up", "c0", order_id="A1"), refund("c1")], END)
    outer = boss([ask("r1")], END, tools=[inner.agent.as_tool("clerk", "")])

    state = await reread(outer, await paused(outer))
    result = await approved(outer, state)

    assert result.final_output == "end"
    assert inner.done == ["look_up A1", "refund A1 5.0"]
    assert (len(inner.model.calls), len(model_of(outer).calls)) == (2, 2)


async def test_a_gated_agent_tool_and_its_gated_tool_give_two_pauses() -> None:
    inner = clerk([refund("c1")], END)
    tool = inner.agent.as_tool("clerk", "", needs_approval=True)
    outer = boss([ask("r1")], END, tools=[tool])
    state = await paused(outer)
    assert call_ids(state.get_interruptions()) == ["r1"]
    assert inner.model.calls == []

    result = await approved(outer, await reread(outer, state))
    assert call_ids(result.interruptions) == ["c1"]
    result = await approved(outer, await reread(outer, result.to_state()))

    assert result.final_output == "end"
    assert inner.done == ["refund A1 5.0"]


async def test_a_rejected_agent_tool_never_starts_its_agent() -> None:
    inner = clerk(END)
    tool = inner.agent.as_tool("clerk", "", needs_approval=True)
    outer = boss([ask("r1")], END, tools=[tool])
    state = await paused(outer)

    state.reject(waiting(state), rejection_message="not now")
    result = await Runner.run(outer, state)

    assert result.final_output == "end"
    assert told(outer) == {"r1": "not now"}
    assert inner.model.calls == []


async def test_two_frames_of_one_agent_pause_and_go_on_apart() -> None:
    # The same inner call id in both: the frame tells them apart.
    inner = clerk([refund("c1", "A1")], [refund("c1", "A2")], END, END)
    outer = boss([ask("r1"), ask("r2")], END, tools=[inner.agent.as_tool("clerk", "")])
    state = await reread(outer, await paused(outer))
    first, second = state.get_interruptions()
    assert {first.call_id, second.call_id} == {"c1"}

    state.approve(first)
    result = await Runner.run(outer, await reread(outer, state))

    assert len(result.interruptions) == 1
    assert len(model_of(outer).calls) == 1
    assert inner.done == [f"refund {first.call.parsed()['order_id']} 5.0"]  # type: ignore[index]
    result = await approved(outer, result.to_state())
    assert result.final_output == "end"
    assert sorted(inner.done) == ["refund A1 5.0", "refund A2 5.0"]


async def test_decisions_on_a_copy_say_nothing_to_the_nested_state_of_another() -> None:
    inner = clerk([refund("c1")], END)
    outer = boss([ask("r1")], END, tools=[inner.agent.as_tool("clerk", "")])
    result = await Runner.run(outer, "go")
    one, other = result.to_state(), result.to_state()

    one.approve(waiting(one), always_approve=True)

    assert call_ids(other.get_interruptions()) == ["c1"]
    assert call_ids(result.interruptions) == ["c1"]


async def test_a_standing_decision_holds_for_the_inner_run_and_no_other() -> None:
    inner = clerk([refund("c1")], [refund("c2", "A2")], END, [refund("c3", "A3")], END)
    outer = boss(
        [ask("r1")], [ask("r2")], END, tools=[inner.agent.as_tool("clerk", "")]
    )
    state = await paused(outer)

    state.approve(waiting(state), always_approve=True)
    result = await Runner.run(outer, await reread(outer, state))

    assert inner.done == ["refund A1 5.0", "refund A2 5.0"]
    assert call_ids(result.interruptions) == ["c3"]


async def test_the_inner_agent_cannot_resume_the_run_and_is_told_why() -> None:
    inner = clerk([refund("c1")], END)
    outer = boss([ask("r1")], END, tools=[inner.agent.as_tool("clerk", "")])
    state = await paused(outer)

    with pytest.raises(UserError, match=r"root agent.*used as a tool"):
        await Runner.run(inner.agent, state)


async def test_a_persons_answer_ends_an_inner_call() -> None:
    inner = clerk([refund("c1")], END)
    outer = boss([ask("r1")], END, tools=[inner.agent.as_tool("clerk", "")])
    state = await paused(outer)

    state.respond(waiting(state), "paid in cash")
    result = await Runner.run(outer, await reread(outer, state))

    assert result.final_output == "end"
    assert inner.told()["c1"].endswith("paid in cash")


async def test_an_edit_reaches_an_inner_call() -> None:
    inner = clerk([refund("c1")], END)
    outer = boss([ask("r1")], END, tools=[inner.agent.as_tool("clerk", "")])
    state = await paused(outer)

    state.approve(waiting(state), arguments={"order_id": "A7", "amount_eur": 1})
    await Runner.run(outer, await reread(outer, state))

    assert inner.done == ["refund A7 1.0"]


async def test_an_edit_of_the_agent_tools_own_input_reaches_the_inner_model() -> None:
    inner = clerk(END)
    tool = inner.agent.as_tool("clerk", "", needs_approval=True)
    outer = boss([ask("r1")], END, tools=[tool])
    state = await paused(outer)

    state.approve(waiting(state), arguments={"input": "do something else"})
    await Runner.run(outer, await reread(outer, state))

    assert inner.model.first_call is not None
    assert inner.model.first_call.input[0]["content"] == "do something else"
    assert "person" in told(outer)["r1"]


# Reject and stop


async def test_a_rejection_in_a_nested_run_may_stop_the_whole_run() -> None:
    inner = clerk([refund("c1"), refund("c2", "A2")], END)
    support = Support([ask("r1"), refund("r2", "A3")], END, name="Boss")
    support.agent.tools.append(inner.agent.as_tool("clerk", ""))
    state = await paused(support.agent)

    state.reject(waiting(state, "c1"), stop=True)
    result = await Runner.run(support.agent, await reread(support.agent, state))

    assert result.final_output is None
    assert result.stop_reason
    assert result.interruptions == []
    assert inner.done == support.done == []
    assert (len(inner.model.calls), len(support.model.calls)) == (1, 1)
    outputs = [i for i in result.new_items if i.type == "tool_call_output_item"]
    assert {item.raw["call_id"] for item in outputs} == {"r1", "r2"}


async def test_a_stop_beside_a_nested_run_lets_its_model_say_no_more() -> None:
    inner = clerk([refund("c1")], END)
    support = Support([ask("r1"), refund("r2", "A2")], END, name="Boss")
    support.agent.tools.append(inner.agent.as_tool("clerk", ""))
    state = await paused(support.agent)

    state.approve(waiting(state, "c1"))
    state.reject(waiting(state, "r2"), stop=True)
    result = await Runner.run(support.agent, state)

    assert result.stop_reason
    assert result.interruptions == []
    assert (len(inner.model.calls), len(support.model.calls)) == (1, 1)


async def test_a_stop_beside_a_nested_run_starts_no_call_of_it() -> None:
    started, release = asyncio.Event(), asyncio.Event()
    inner = clerk([call("wait", "c1"), refund("c2")], END)
    inner.agent.tools.append(slow(started, release))
    support = Support([ask("r1"), refund("r2", "A2")], END, name="Boss")
    support.agent.tools.append(inner.agent.as_tool("clerk", ""))
    gate = InMemoryGate()
    task = asyncio.create_task(
        Runner.run(
            support.agent, "go", ports=Ports(gate=gate, journal=InMemoryJournal())
        )
    )
    async with asyncio.timeout(60):
        await started.wait()
        gate.decide("r2", Verdict(kind=VerdictKind.REJECT, stop=True))
        for _ in range(50):
            await asyncio.sleep(0)
        gate.decide("r1/c2", APPROVE)
        for _ in range(50):
            await asyncio.sleep(0)
        release.set()
        result = await task

    assert result.stop_reason
    assert inner.done == support.done == []
    assert len(inner.model.calls) == 1


# Failures


def raising() -> FunctionTool:
    @function_tool(failure_error_function=None)
    async def broken() -> str:
        raise ConnectionError("bank is down")

    return broken


async def test_a_tool_that_raises_inside_is_the_outer_tools_failure() -> None:
    inner = scripted([call("broken", "c1")], END, name="Clerk", tools=[raising()])
    outer = boss([ask("r1")], END, tools=[inner.as_tool("clerk", "")])

    result = await Runner.run(outer, "go")

    assert result.final_output == "end"
    assert "bank is down" in told(outer)["r1"]


@pytest.mark.parametrize("stored", [False, True])
async def test_a_tool_that_raises_inside_may_end_the_run_which_goes_on(
    stored: bool,
) -> None:
    inner = scripted([call("broken", "c1")], END, name="Clerk", tools=[raising()])
    tool = inner.as_tool("clerk", "", failure_error_function=None)
    outer = boss([ask("r1")], END, tools=[tool])

    with pytest.raises(UserError, match="bank is down") as error:
        await Runner.run(outer, "go")
    state = error.value.run_state
    assert state is not None
    assert state.root_agent is outer
    assert error.value.run_data is not None
    assert error.value.run_data.last_agent is outer
    result = await Runner.run(outer, await reread(outer, state) if stored else state)

    assert result.final_output == "end"
    assert "bank is down" in told(outer)["r1"]


async def test_an_inner_run_has_turns_of_its_own() -> None:
    def steps() -> list[Any]:
        return [[call("look_up", f"c{n}", order_id="A1")] for n in range(4)]

    inner = clerk(*steps(), END)
    tool = inner.agent.as_tool("clerk", "", max_turns=5)
    outer = boss([ask("r1")], END, tools=[tool])

    result = await Runner.run(outer, "go", max_turns=2)

    assert result.final_output == "end"
    assert result.state.turn == 2


async def test_an_inner_run_out_of_turns_is_told_to_the_outer_model() -> None:
    inner = clerk(*[[call("look_up", f"c{n}", order_id="A1")] for n in range(3)])
    outer = boss(
        [ask("r1")], END, tools=[inner.agent.as_tool("clerk", "", max_turns=2)]
    )

    result = await Runner.run(outer, "go")

    assert result.final_output == "end"
    assert "2 turns" in told(outer)["r1"]


async def test_an_inner_run_out_of_turns_may_end_the_outer_one() -> None:
    inner = clerk(*[[call("look_up", f"c{n}", order_id="A1")] for n in range(3)])
    tool = inner.agent.as_tool("clerk", "", max_turns=2, failure_error_function=None)
    outer = boss([ask("r1")], END, tools=[tool])

    def handler(data: Any) -> str:
        raise AssertionError("the outer run has turns left")

    with pytest.raises(MaxTurnsExceeded) as error:
        await Runner.run(outer, "go", error_handlers={"max_turns": handler})

    assert error.value.run_state is not None
    assert error.value.run_state.root_agent is outer
    assert (await Runner.run(outer, error.value.run_state)).final_output == "end"


async def test_a_journal_that_fails_inside_ends_the_whole_run() -> None:
    class Broken(InMemoryJournal):
        async def record(
            self, state: Any, call: Any, outcome: Any, entries: Any
        ) -> None:
            if call.tool == "look_up":
                raise OSError("disk full")
            await super().record(state, call, outcome, entries)

    inner = clerk([call("look_up", "c1", order_id="A1")], END)
    outer = boss([ask("r1")], END, tools=[inner.agent.as_tool("clerk", "")])

    with pytest.raises(JournalFailed, match="disk full"):
        await Runner.run(outer, "go", ports=Ports(journal=Broken()))

    assert (len(inner.model.calls), len(model_of(outer).calls)) == (1, 1)


async def test_a_guardrail_of_the_inner_agent_ends_its_run_only() -> None:
    @input_guardrail
    def no(ctx: Any, agent: Any, given: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput("no", tripwire_triggered=True)

    inner = scripted(END, name="Clerk", input_guardrails=[no])
    outer = boss([ask("r1")], END, tools=[inner.as_tool("clerk", "")])
    assert (await Runner.run(outer, "go")).final_output == "end"

    tool = inner.as_tool("clerk", "", failure_error_function=None)
    outer = boss([ask("r1")], END, tools=[tool])
    with pytest.raises(InputGuardrailTripwireTriggered):
        await Runner.run(outer, "go")


async def test_malformed_input_of_an_agent_tool_is_told_to_the_model() -> None:
    inner = clerk(END)
    outer = boss(
        [call("clerk", "r1", wrong=1)], END, tools=[inner.agent.as_tool("clerk", "")]
    )

    assert (await Runner.run(outer, "go")).final_output == "end"
    assert "do not fit" in told(outer)["r1"]
    assert inner.model.calls == []


# Stops, cancels, limits


def slow(started: asyncio.Event, release: asyncio.Event) -> FunctionTool:
    @function_tool
    async def wait() -> str:
        started.set()
        await release.wait()
        return "waited"

    return wait


async def test_a_stop_lets_a_started_inner_tool_end_and_nothing_more() -> None:
    started, release = asyncio.Event(), asyncio.Event()
    inner = scripted(
        [call("wait", "c1")], END, name="Clerk", tools=[slow(started, release)]
    )
    outer = boss([ask("r1")], END, tools=[inner.as_tool("clerk", "")])
    journal = InMemoryJournal()
    stream = Runner.run_streamed(outer, "go", ports=Ports(journal=journal))
    async with asyncio.timeout(60):
        await started.wait()

        stream.stop()
        for _ in range(20):
            await asyncio.sleep(0)
        release.set()
        with pytest.raises(RunStopped):
            [event async for event in stream]

    assert [
        entry.payload["raw"]["output"]
        for entry in journal.entries
        if entry.frame == "r1" and entry.payload.get("type") == "tool_output"
    ] == ["waited"]
    assert (len(model_of(inner).calls), len(model_of(outer).calls)) == (1, 1)


async def test_a_stop_gives_a_hanging_inner_tool_its_grace_and_no_more() -> None:
    started = asyncio.Event()
    inner = scripted(
        [call("wait", "c1")], END, name="Clerk", tools=[slow(started, asyncio.Event())]
    )
    outer = boss([ask("r1")], END, tools=[inner.as_tool("clerk", "")])
    stream = Runner.run_streamed(outer, "go", stop_grace_s=0.01)
    async with asyncio.timeout(60):
        await started.wait()

        stream.stop()
        with pytest.raises(RunStopped):
            [event async for event in stream]

    assert len(model_of(outer).calls) == 1


async def test_a_cancel_after_the_turn_rests_the_inner_run_and_it_goes_on() -> None:
    started, release = asyncio.Event(), asyncio.Event()
    inner = scripted(
        [call("wait", "c1")], END, name="Clerk", tools=[slow(started, release)]
    )
    outer = boss([ask("r1")], END, tools=[inner.as_tool("clerk", "")])
    stream = Runner.run_streamed(outer, "go")
    async with asyncio.timeout(60):
        await started.wait()
        stream.cancel("after_turn")
        release.set()
        [event async for event in stream]
        assert stream.final_output is None
        assert stream.interruptions == []
        assert len(model_of(inner).calls) == 1

        result = await Runner.run(outer, await reread(outer, stream.to_state()))

    assert result.final_output == "end"
    assert told(inner) == {"c1": "waited"}


async def test_cancelling_the_task_leaves_no_inner_task_behind() -> None:
    started = asyncio.Event()
    inner = scripted(
        [call("wait", "c1")], END, name="Clerk", tools=[slow(started, asyncio.Event())]
    )
    outer = boss([ask("r1")], END, tools=[inner.as_tool("clerk", "", on_stream=print)])
    task = asyncio.create_task(Runner.run(outer, "go"))
    await started.wait()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_limit_of_calls_side_by_side_holds_at_each_level() -> None:
    running, most = [0], [0]

    @function_tool
    async def work(n: int) -> str:
        running[0] += 1
        most[0] = max(most[0], running[0])
        for _ in range(5):
            await asyncio.sleep(0)
        running[0] -= 1
        return str(n)

    many = [call("work", f"c{n}", n=n) for n in range(6)]
    inner = scripted(many, END, name="Clerk", tools=[work])
    outer = boss([ask("r1")], END, tools=[inner.as_tool("clerk", "")])
    limit = ToolExecutionConfig(max_function_tool_concurrency=2)

    await Runner.run(outer, "go", run_config=RunConfig(tool_execution=limit))

    assert most == [2]
    assert list(told(inner)) == [f"c{n}" for n in range(6)]


async def test_a_decision_from_outside_reaches_a_waiting_inner_call() -> None:
    started, release = asyncio.Event(), asyncio.Event()
    inner = clerk([refund("c1")], END)
    outer = boss(
        [ask("r1"), call("wait", "r2")],
        END,
        tools=[inner.agent.as_tool("clerk", ""), slow(started, release)],
    )
    gate = InMemoryGate()
    ports = Ports(gate=gate, journal=InMemoryJournal())
    task = asyncio.create_task(Runner.run(outer, "go", ports=ports))
    async with asyncio.timeout(60):
        await started.wait()
        for _ in range(50):
            await asyncio.sleep(0)
        gate.decide("r1/c1", APPROVE)
        for _ in range(50):
            await asyncio.sleep(0)
        assert inner.done == ["refund A1 5.0"]
        release.set()

        assert (await task).final_output == "end"


# What the outer run gets


async def test_usage_of_the_inner_run_counts_in_the_outer_one() -> None:
    def answer(tokens: int, *items: Any) -> ModelStep:
        usage = Usage(requests=1, input_tokens=tokens, total_tokens=tokens)
        return ModelStep(output=items, usage=usage)

    inner = scripted(
        answer(10, refund("c1")), answer(100, *END), name="Clerk",
        tools=[Support().refund()],
    )  # fmt: skip
    outer = boss(
        answer(1, ask("r1")), answer(1000, *END), tools=[inner.as_tool("clerk", "")]
    )

    state = await reread(outer, await paused(outer))
    assert state.usage.input_tokens == 11
    result = await approved(outer, state)

    assert result.usage.input_tokens == 1111
    assert result.usage.requests == 4
    assert len(result.usage.request_usage_entries) == 4


async def test_the_output_extractor_sees_the_inner_run_and_its_call() -> None:
    seen: list[Any] = []

    async def extract(result: Any) -> str:
        seen.append((result.final_output, result.agent_tool_invocation))
        return "extracted"

    inner = clerk([refund("c1")], END)
    tool = inner.agent.as_tool("clerk", "", custom_output_extractor=extract)
    outer = boss([ask("r1")], END, tools=[tool])

    await approved(outer, await reread(outer, await paused(outer)))

    [(output, invocation)] = seen
    assert output == "end"
    assert (invocation.tool_name, invocation.tool_call_id) == ("clerk", "r1")
    assert told(outer) == {"r1": "extracted"}


@pytest.mark.parametrize("fails", [False, True])
async def test_on_stream_is_told_of_the_inner_run_over_a_pause(fails: bool) -> None:
    told_of: list[str] = []

    async def listen(event: Any) -> None:
        told_of.append(getattr(event["event"], "name", event["event"].type))
        assert event["agent"] is inner.agent
        assert event["tool_call"].call_id == "r1"
        if fails:
            raise LookupError("a listener only looks on")

    inner = clerk([refund("c1")], END)
    tool = inner.agent.as_tool("clerk", "", on_stream=listen)
    outer = boss([ask("r1")], END, tools=[tool])
    result = await approved(outer, await reread(outer, await paused(outer)))

    assert result.final_output == "end"
    told_of = [name for name in told_of if name.islower() and "raw" not in name]
    assert told_of.count("tool_called") == 1
    assert told_of.index("tool_called") < told_of.index("tool_output")
    assert told_of[-1] == "message_output_created"


async def test_approvals_of_an_inner_run_are_told_on_the_outer_stream() -> None:
    inner = clerk([refund("c1")], END)
    outer = boss([ask("r1")], END, tools=[inner.agent.as_tool("clerk", "")])

    async def names(given: Any) -> tuple[list[str], Any]:
        stream = Runner.run_streamed(outer, given)
        said = [getattr(event, "name", "") async for event in stream]
        return [name for name in said if "approval" in name], stream

    first, stream = await names("go")
    state = stream.to_state()
    state.approve(waiting(state))
    second, stream = await names(state)

    assert (first, second) == (["approval_requested"], ["approval_resolved"])
    assert stream.final_output == "end"


async def test_the_context_of_the_run_is_the_inner_runs_too() -> None:
    seen: list[Any] = []

    @function_tool(needs_approval=True)
    async def note(ctx: Any) -> str:
        return "noted"

    note.on_invoke_tool = _noting(seen)
    inner = scripted([call("note", "c1")], END, name="Clerk", tools=[note])
    outer = boss([ask("r1")], END, tools=[inner.as_tool("clerk", "")])
    state = await paused(outer, context={"user": "ada"})
    for item in state.get_interruptions():
        state.approve(item)

    await Runner.run(outer, state, context={"user": "bob"})

    assert seen == [{"user": "bob"}]


def _noting(seen: list[Any]) -> Any:
    async def note(ctx: Any, arguments: str) -> str:
        seen.append(ctx.context)
        return "noted"

    return note


async def test_a_handoff_inside_a_nested_run_is_resumed_in_its_target() -> None:
    expert = Support([refund("c1")], [assistant_message("paid")], name="Expert")
    inner = scripted(
        [call("transfer_to_expert", "h1")], name="Clerk", handoffs=[expert.agent]
    )
    outer = boss([ask("r1")], END, tools=[inner.as_tool("clerk", "")])
    state = await reread(outer, await paused(outer))
    assert waiting(state).agent is expert.agent

    result = await approved(outer, state)

    assert result.final_output == "end"
    assert expert.done == ["refund A1 5.0"]
    assert told(outer) == {"r1": "paid"}


async def test_the_input_of_an_inner_agent_is_in_the_log() -> None:
    journal = InMemoryJournal()
    inner: Agent[Any] = Agent(
        name="Inner", model=ScriptedModel(steps=[[assistant_message("hi")]])
    )
    asked = [function_call("ask", {"input": "the task"}, call_id="c1")]
    outer: Agent[Any] = Agent(
        name="Outer",
        tools=[inner.as_tool("ask", "Ask.")],
        model=ScriptedModel(steps=[asked, [assistant_message("end")]]),
    )

    await Runner.run(outer, "go", ports=Ports(journal=journal))

    items = [entry for entry in journal.entries if entry.kind == "item"]
    first = next(entry for entry in items if entry.frame == "c1")
    assert first.payload["type"] == "input"
    assert first.payload["raw"] == {"role": "user", "content": "the task"}


async def test_a_stopped_run_asks_no_model_of_an_agent_inside_it() -> None:
    """Nobody has told the loop yet: only the journal knows of the stop."""

    class Stopped(InMemoryJournal):
        stopped = False

        async def begin_turn(self, state: Any) -> Any:
            if self.stopped:
                raise RunStopped("The run was stopped.")
            return await super().begin_turn(state)

    journal = Stopped()

    @function_tool
    def stop() -> str:
        journal.stopped = True
        return "stopped"

    model = ScriptedModel(steps=[[call("stop", "c1")], END])
    inner = Agent(name="Clerk", tools=[stop], model=model)
    outer = boss([ask("r1")], END, tools=[inner.as_tool("clerk", "")])

    with pytest.raises(RunStopped):
        await Runner.run(outer, "go", ports=Ports(journal=journal))

    assert len(model.calls) == 1
