"""What a resumed run does again, and what it does not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runs.engine import (
    Call,
    Claim,
    ClaimStatus,
    InMemoryGate,
    InMemoryJournal,
    Ports,
    RunConfig,
    Runner,
    RunState,
    ToolExecutionConfig,
    UserError,
    Verdict,
    VerdictKind,
    function_tool,
)

from .scripted import (
    END,
    Support,
    approved,
    call,
    call_ids,
    look_up,
    paused,
    refund,
    reread,
    scripted,
    told,
    waiting,
)

pytestmark = pytest.mark.usefixtures("nothing_left")

ONE_BY_ONE = RunConfig(
    tool_execution=ToolExecutionConfig(max_function_tool_concurrency=1)
)


@function_tool(failure_error_function=None)
async def broken() -> str:
    """Fail, and the run with it."""
    raise ConnectionError("down")


async def left_by_a_failure(support: Support) -> RunState[Any]:
    """Return a state in which `look_up` was called and never started."""
    support.agent.tools.append(broken)
    with pytest.raises(UserError, match="down") as error:
        await Runner.run(support.agent, "go", run_config=ONE_BY_ONE)
    assert error.value.run_state is not None
    return error.value.run_state


def with_look_up_left() -> Support:
    return Support([call("broken", "c1"), look_up("c2")], END)


@pytest.mark.parametrize("stored", [True, False])
async def test_a_call_that_a_failure_kept_from_starting_runs_on_resume(
    stored: bool,
) -> None:
    support = with_look_up_left()
    state = await left_by_a_failure(support)
    assert support.done == []
    if stored:
        state = await reread(support.agent, state)

    result = await Runner.run(support.agent, state)

    assert result.final_output == "end"
    assert support.done == ["look_up A1"]
    assert list(support.told()) == ["c1", "c2"]


async def test_a_tool_that_has_changed_by_now_does_not_run() -> None:
    @function_tool(name_override="look_up")
    async def other(order_id: int) -> str:
        raise AssertionError("another tool than the one called")

    support = with_look_up_left()
    state = await left_by_a_failure(support)
    support.agent.tools[1] = other

    result = await Runner.run(support.agent, state)

    assert result.final_output == "end"
    assert "has changed" in support.told()["c2"]


@pytest.mark.parametrize("stored", [True, False])
async def test_a_tool_that_needs_approval_by_now_does_not_run_unasked(
    stored: bool,
) -> None:
    support = with_look_up_left()
    state = await left_by_a_failure(support)
    support.agent.tools[1].needs_approval = True
    if stored:
        state = await reread(support.agent, state)

    result = await Runner.run(support.agent, state)

    assert support.done == []
    assert call_ids(result.interruptions) == (["c2"] if stored else [])


async def test_what_was_decided_while_it_lay_is_looked_up_before_a_call_starts() -> (
    None
):
    gate = InMemoryGate()
    support = with_look_up_left()
    state = await left_by_a_failure(support)

    gate.decide("c2", Verdict(kind=VerdictKind.ANSWER, message="found by hand"))
    await Runner.run(support.agent, state, ports=Ports(gate=gate))

    assert support.done == []
    assert support.told()["c2"].endswith("found by hand")


@pytest.mark.parametrize("gated", [True, False])
async def test_a_call_that_a_journal_holds_waits_and_is_not_asked_for_again(
    gated: bool,
) -> None:
    class Holding(InMemoryJournal):
        claims = 0

        async def claim(self, state: RunState[Any], call: Call) -> Claim:
            self.claims += 1
            return Claim(status=ClaimStatus.HELD)

    journal = Holding()
    support = Support([refund("c1") if gated else look_up("c1")], END)
    ports = Ports(journal=journal)
    async with asyncio.timeout(60):
        result = await Runner.run(support.agent, "go", ports=ports)
        if gated:
            result = await approved(support.agent, result.to_state(), ports=ports)

    assert support.done == []
    assert result.final_output is None
    assert journal.claims == 1
    result = await approved(support.agent, result.to_state())
    assert result.final_output == "end"


async def test_rules_hooks_and_guards_of_a_decided_call_are_not_asked_again() -> None:
    asked: list[Any] = []

    async def rule(ctx: Any, arguments: Any, call_id: str) -> bool:
        asked.append(arguments)
        return True

    support = Support([refund("c1")], END)
    support.agent.tools[0].needs_approval = rule
    state = await reread(support.agent, await paused(support.agent))

    await approved(support.agent, state)

    assert asked == [{"order_id": "A1", "amount_eur": 5.0}]
    assert support.done == ["refund A1 5.0"]


async def test_instructions_are_asked_for_again_and_the_history_is_not_made_anew() -> (
    None
):
    asked: list[Any] = []
    support = Support([look_up("c0"), refund("c1")], END)

    def instructions(ctx: Any, agent: Any) -> str:
        asked.append(ctx.context)
        return "x"

    support.agent.instructions = instructions

    state = await paused(support.agent, context="ada")
    await approved(support.agent, state, context="bob")

    assert asked == ["ada", "bob"]
    first, second = support.model.calls
    assert second.input[: len(first.input)] == first.input


async def test_a_pause_takes_no_turn_and_turns_count_over_pauses() -> None:
    support = Support([refund("c1")], [refund("c2")], END)
    state = await paused(support.agent, max_turns=3)
    for turn in (1, 2):
        state = await reread(support.agent, state)
        assert state.turn == turn
        state = (await Runner.run(support.agent, state)).to_state()
        assert state.turn == turn
        result = await approved(support.agent, state)
        state = result.to_state()

    assert (result.final_output, state.turn) == ("end", 3)


@pytest.mark.parametrize(
    "behavior",
    ["stop_on_first_tool", {"stop_at_tool_names": ["refund"]}],
)
@pytest.mark.parametrize("how", ["approve", "reject", "respond"])
async def test_an_output_that_ends_the_run_does_so_after_a_pause(
    behavior: Any, how: str
) -> None:
    support = Support([refund("c1")], tool_use_behavior=behavior)
    state = await reread(support.agent, await paused(support.agent))
    if how == "approve":
        state.approve(waiting(state))
    elif how == "reject":
        state.reject(waiting(state), rejection_message="no")
    else:
        state.respond(waiting(state), "by hand")

    result = await Runner.run(support.agent, state)

    ends = {"approve": "refunded A1", "reject": "no", "respond": "by hand"}
    assert str(result.final_output).endswith(ends[how])
    assert len(support.model.calls) == 1


async def test_input_is_refused_where_nobody_would_read_it() -> None:
    stops = Support([refund("c1")], tool_use_behavior="stop_on_first_tool")
    state = await paused(stops.agent)
    with pytest.raises(UserError, match="may end"):
        state.add_input("And hurry.")

    state = await paused(Support([refund("c1")]).agent, max_turns=1)
    with pytest.raises(UserError, match="no turn left"):
        state.add_input("And hurry.")


async def test_a_call_of_a_tool_that_is_gone_tells_the_model_when_nothing_waits() -> (
    None
):
    support = with_look_up_left()
    state = await left_by_a_failure(support)
    del support.agent.tools[1]

    result = await Runner.run(support.agent, state)

    assert result.final_output == "end"
    assert "no tool named 'look_up'" in support.told()["c2"]


async def test_parallel_outputs_are_read_in_the_order_of_their_calls() -> None:
    turns = {"c1": 30, "c2": 1, "c3": 10}

    @function_tool
    async def work(who: str) -> str:
        for _ in range(turns[who]):
            await asyncio.sleep(0)
        return who

    agent = scripted([call("work", c, who=c) for c in turns], END, tools=[work])
    result = await Runner.run(agent, "go")

    assert list(told(agent)) == ["c1", "c2", "c3"]
    again = await reread(agent, result.to_state())
    assert again.model_input() == result.to_input_list()
