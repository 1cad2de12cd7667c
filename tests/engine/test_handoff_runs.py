"""Handoffs in runs: pauses around them, what the next agent reads, what is stored."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from runs.engine import (
    Agent,
    GuardrailFunctionOutput,
    HandoffInputData,
    RunConfig,
    RunHooks,
    Runner,
    RunState,
    UserError,
    handoff,
    input_guardrail,
    remove_all_tools,
)

from .scripted import (
    END,
    Support,
    approved,
    call,
    call_ids,
    look_up,
    model_of,
    paused,
    refund,
    reread,
    scripted,
    waiting,
)

pytestmark = pytest.mark.usefixtures("nothing_left")


def to_other(call_id: str = "h1", **arguments: Any) -> Any:
    return call("transfer_to_other", call_id, **arguments)


def kinds(items: list[Any]) -> list[str]:
    return [item.get("type") or item["role"] for item in items]


def read_last(agent: Agent[Any]) -> list[Any]:
    asked = model_of(agent).last_call
    assert asked is not None
    return asked.input


async def test_a_pause_after_a_handoff_is_resumed_with_the_root_agent() -> None:
    other = Support([refund("c1")], END, name="Other")
    agent = scripted([to_other()], handoffs=[other.agent])
    result = await Runner.run(agent, "go")
    assert result.last_agent is other.agent

    state = await reread(agent, result.to_state())
    assert state.current_agent is other.agent
    result = await approved(agent, state)

    assert result.final_output == "end"
    assert other.done == ["refund A1 5.0"]


async def test_a_gated_call_beside_a_handoff_is_settled_first() -> None:
    other = scripted(END, name="Other")
    support = Support([to_other(), refund("c1")], handoffs=[other])
    state = await reread(support.agent, await paused(support.agent))
    assert state.current_agent is support.agent
    assert call_ids(state.get_interruptions()) == ["c1"]

    result = await approved(support.agent, state)

    assert result.last_agent is other
    assert [item.type for item in result.new_items] == [
        "handoff_call_item",
        "tool_call_item",
        "tool_call_output_item",
        "handoff_output_item",
        "message_output_item",
    ]
    assert support.done == ["refund A1 5.0"]


async def test_of_two_handoffs_the_first_happens_and_the_other_says_so() -> None:
    other, third = scripted(END, name="Other"), scripted(END, name="Third")
    agent = scripted(
        [to_other(), call("transfer_to_third", "h2")], handoffs=[other, third]
    )

    result = await Runner.run(agent, "go")

    assert result.last_agent is other
    outputs = {i["call_id"]: i["output"] for i in read_last(other) if "output" in i}
    assert "ignored" in outputs["h2"]
    assert model_of(third).calls == []


async def test_a_handoff_that_is_gone_is_named_when_the_state_is_read() -> None:
    other = scripted(END, name="Other")
    support = Support([to_other(), refund("c1")], handoffs=[other])
    saved = (await paused(support.agent)).to_json()
    support.agent.handoffs = []

    with pytest.raises(UserError, match=r"transfer_to_other.*no longer has"):
        await RunState.from_json(support.agent, saved)


async def test_an_agent_that_is_gone_is_named_when_the_state_is_read() -> None:
    other = Support([refund("c1")], name="Other")
    agent = scripted([to_other()], handoffs=[other.agent])
    saved = (await paused(agent)).to_json()

    other.agent.name = "Expert"
    with pytest.raises(UserError, match=r"'Other'.*Expert"):
        await RunState.from_json(agent, saved)
    renames = {"agents": {"Other": "Expert"}}
    state = await RunState.from_json(agent, saved, renames=renames)

    assert state.current_agent is other.agent
    assert [item.agent.name for item in state.all_items[-1:]] == ["Expert"]


async def test_two_agents_of_one_name_are_told_apart_in_a_state() -> None:
    first = Support([call("transfer_to_second", "h2")], name="Twin")
    second = Support([refund("c1")], END, name="Twin")
    first.agent.handoffs = [
        handoff(second.agent, tool_name_override="transfer_to_second")
    ]
    agent = scripted(
        [call("transfer_to_first", "h1")],
        handoffs=[handoff(first.agent, tool_name_override="transfer_to_first")],
    )

    state = await reread(agent, await paused(agent))
    assert state.current_agent is second.agent
    await approved(agent, state)

    assert (first.done, second.done) == ([], ["refund A1 5.0"])


# What the next agent reads


def only_words(data: HandoffInputData) -> HandoffInputData:
    return remove_all_tools(data)


@pytest.mark.parametrize("by", ["handoff", "run"])
@pytest.mark.parametrize("stored", [True, False])
async def test_a_filtered_history_holds_over_a_pause(by: str, stored: bool) -> None:
    other = Support([refund("c1")], END, name="Other")
    own = handoff(other.agent, input_filter=only_words if by == "handoff" else None)
    support = Support([look_up("c0")], [to_other()], handoffs=[own])
    config = RunConfig(handoff_input_filter=only_words if by == "run" else None)
    state = await paused(support.agent, run_config=config)
    assert kinds(read_last(other.agent)) == ["user"]
    if stored:
        state = await reread(support.agent, state)

    result = await approved(support.agent, state, run_config=config)

    assert kinds(read_last(other.agent)) == [
        "user",
        "function_call",
        "function_call_output",
    ]
    # What happened stays in the state, whatever the next agent reads of it.
    assert len(result.state.all_items) == 8
    assert result.state.tool_use_tracker.tool_counts["look_up"] == 1


async def test_a_view_round_trips_without_repeating_the_run() -> None:
    other = Support([refund("r1")], name="Other")
    own = handoff(other.agent, input_filter=only_words)
    steps = [[look_up(f"c{n}", "x" * 200)] for n in range(20)]
    support = Support(*steps, [to_other()], handoffs=[own])
    state = await paused(support.agent, max_turns=None)

    text = state.to_string()

    again = await RunState.from_string(support.agent, text)
    assert again.to_json() == state.to_json()
    assert again.model_input() == state.model_input()
    assert text.count("x" * 200) == 40  # once in each call, once in each output


async def test_a_nested_history_reaches_the_next_agent_as_one_message() -> None:
    other = Support([refund("c1")], END, name="Other")
    support = Support([look_up("c0")], [to_other()], handoffs=[other.agent])
    config = RunConfig(nest_handoff_history=True)
    state = await paused(support.agent, run_config=config)
    [summary] = read_last(other.agent)
    assert "look_up" in str(summary["content"])

    result = await approved(
        support.agent, await reread(support.agent, state), run_config=config
    )

    assert read_last(other.agent)[0] == summary
    assert result.final_output == "end"
    assert result.to_input_list(mode="normalized")[0] == summary


async def test_a_result_lists_what_the_sdk_would_and_both_input_lists() -> None:
    other = scripted(END, name="Other")
    own = handoff(other, input_filter=only_words)
    support = Support([look_up("c0")], [to_other()], handoffs=[own])

    result = await Runner.run(support.agent, "go")

    assert kinds(result.to_input_list(mode="normalized")) == ["user", "message"]
    with pytest.raises(UserError, match="preserve_all"):
        result.to_input_list(mode="other")  # type: ignore[arg-type]


@pytest.mark.parametrize("made", [None, "text", 7])
async def test_a_filter_that_gives_no_data_ends_the_run_which_goes_on(
    made: Any,
) -> None:
    broken = [True]

    def filtered(data: HandoffInputData) -> Any:
        return made if broken[0] else data

    other = scripted(END, name="Other")
    agent = scripted([to_other()], handoffs=[handoff(other, input_filter=filtered)])

    with pytest.raises(UserError) as error:
        await Runner.run(agent, "go")
    broken[0] = False
    left = error.value.run_state
    assert left is not None
    result = await Runner.run(agent, await reread(agent, left))

    assert result.final_output == "end"


# Around it


class Reason(BaseModel):
    why: str


async def test_a_handoff_takes_input_and_tells_a_model_of_what_does_not_fit() -> None:
    got: list[Any] = []
    other = scripted(END, name="Other")
    own = handoff(
        other, on_handoff=lambda ctx, given: got.append(given), input_type=Reason
    )
    agent = scripted([to_other(wrong=1)], [to_other("h2", why="vip")], handoffs=[own])

    result = await Runner.run(agent, "go")

    assert result.last_agent is other
    assert got == [Reason(why="vip")]
    assert "handoff failed" in str(read_last(agent)[-1]["output"])


async def test_hooks_are_told_of_each_agent_once_in_each_stretch() -> None:
    told_of: list[str] = []

    class Hooks(RunHooks[Any]):
        async def on_agent_start(self, context: Any, agent: Any) -> None:
            told_of.append(f"start {agent.name}")

        async def on_agent_end(self, context: Any, agent: Any, output: Any) -> None:
            told_of.append(f"end {agent.name}")

        async def on_handoff(
            self, context: Any, from_agent: Any, to_agent: Any
        ) -> None:
            told_of.append(f"{from_agent.name} to {to_agent.name}")

        async def on_tool_start(self, context: Any, agent: Any, tool: Any) -> None:
            told_of.append(f"tool {tool.name}")

    other = Support([refund("c1")], [refund("c2")], END, name="Other")
    agent = scripted([to_other()], handoffs=[other.agent])
    state = await paused(agent, hooks=Hooks())
    state.approve(waiting(state))
    state = (await Runner.run(agent, state, hooks=Hooks())).to_state()
    state.reject(waiting(state))
    await Runner.run(agent, state, hooks=Hooks())

    assert told_of == [
        "start Support",
        "Support to Other",
        "start Other",
        "tool refund",
        "start Other",
        "start Other",
        "end Other",
    ]


async def test_an_agent_back_in_its_turn_is_not_checked_again() -> None:
    ran: list[Any] = []

    @input_guardrail
    def note(ctx: Any, agent: Any, given: Any) -> GuardrailFunctionOutput:
        ran.append(given)
        return GuardrailFunctionOutput(None, tripwire_triggered=False)

    agent = scripted([to_other()], END, input_guardrails=[note])
    other = scripted(
        [call("transfer_to_support", "h2")], name="Other", handoffs=[agent]
    )
    agent.handoffs = [other]

    assert (await Runner.run(agent, "go")).last_agent is agent
    assert ran == ["go"]


async def test_what_another_agents_tool_is_called_does_not_matter_after_a_handoff() -> (
    None
):
    other = Support([look_up("c1")], END, name="Other")
    support = Support([refund("c0")], [to_other()], handoffs=[other.agent])
    state = await paused(support.agent)
    state.reject(waiting(state), always_reject=True)
    result = await Runner.run(support.agent, await reread(support.agent, state))

    assert result.final_output == "end"
    assert (support.done, other.done) == ([], ["look_up A1"])


async def test_a_disabled_handoff_is_not_offered() -> None:
    other = scripted(END, name="Other")
    agent = scripted(END, handoffs=[handoff(other, is_enabled=False)])

    await Runner.run(agent, "go")

    asked = model_of(agent).last_call
    assert asked is not None
    assert asked.handoffs == []
