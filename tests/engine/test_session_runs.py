"""Runs and their sessions: what a session gives a run, and what it is given."""

from __future__ import annotations

from typing import Any

import pytest

from runs.engine import (
    GuardrailFunctionOutput,
    InputGuardrailTripwireTriggered,
    OutputGuardrailTripwireTriggered,
    RunConfig,
    Runner,
    SessionSettings,
    SQLiteSession,
    UserError,
    input_guardrail,
    output_guardrail,
)
from runs.engine.testing import ModelStep, assistant_message

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

GO = {"role": "user", "content": "go"}


def kinds(items: list[Any]) -> list[str]:
    return [item.get("type") or item["role"] for item in items]


async def test_a_run_reads_what_earlier_ones_said() -> None:
    session = SQLiteSession("s")
    agent = scripted([assistant_message("one")], [assistant_message("two")])

    await Runner.run(agent, "first", session=session)
    result = await Runner.run(agent, "second", session=session)

    asked = model_of(agent).last_call
    assert asked is not None
    assert [item.get("content") for item in asked.input][::2] == ["first", "second"]
    assert kinds(await session.get_items()) == ["user", "message", "user", "message"]
    assert len(result.new_items) == 1


async def test_at_a_pause_the_session_holds_the_input_alone() -> None:
    session = SQLiteSession("s")
    support = Support([look_up("c0"), refund("c1")], END)

    await paused(support.agent, session=session)

    assert await session.get_items() == [GO]


@pytest.mark.parametrize("stored", [True, False])
async def test_the_resumed_run_saves_the_whole_turn_once(stored: bool) -> None:
    session = SQLiteSession("s")
    support = Support([look_up("c0"), refund("c1")], END)
    state = await paused(support.agent, session=session)
    if stored:
        state = await reread(support.agent, state)

    await approved(support.agent, state, session=session)

    items = await session.get_items()
    assert kinds(items) == [
        "user",
        "function_call",
        "function_call",
        "function_call_output",
        "function_call_output",
        "message",
    ]
    assert [item["call_id"] for item in items[1:5]] == ["c0", "c1", "c0", "c1"]


async def test_a_run_resumed_without_its_session_leaves_no_orphan() -> None:
    session = SQLiteSession("s")
    support = Support([refund("c1")], END)
    state = await paused(support.agent, session=session)

    await approved(support.agent, state)

    assert await session.get_items() == [GO]


async def test_resuming_several_times_saves_each_item_once() -> None:
    session = SQLiteSession("s")
    support = Support([refund("c1"), refund("c2")], [refund("c3")], END)
    state = await paused(support.agent, session=session)
    for _ in range(3):
        state.approve(state.get_interruptions()[0])
        result = await Runner.run(support.agent, state, session=session)
        state = await reread(support.agent, result.to_state())

    assert result.final_output == "end"
    ids = [
        (item["type"], item["call_id"])
        for item in await session.get_items()
        if item.get("call_id")
    ]
    assert len(ids) == len(set(ids)) == 6


async def test_a_run_begun_without_a_session_saves_all_of_it_when_it_gets_one() -> None:
    session = SQLiteSession("s")
    support = Support([refund("c1")], END)
    state = await paused(support.agent)

    await approved(support.agent, state, session=session)

    assert kinds(await session.get_items()) == [
        "user",
        "function_call",
        "function_call_output",
        "message",
    ]


async def test_a_run_that_goes_on_after_an_error_saves_nothing_twice() -> None:
    session = SQLiteSession("s")
    support = Support(
        [look_up("c1")], ModelStep.raise_error(ConnectionError("down")), END
    )

    with pytest.raises(Exception, match="down") as error:
        await Runner.run(support.agent, "go", session=session)
    assert kinds(await session.get_items()) == [
        "user",
        "function_call",
        "function_call_output",
    ]
    state = error.value.run_state  # type: ignore[attr-defined]
    await Runner.run(support.agent, state, session=session)

    assert kinds(await session.get_items()) == [
        "user",
        "function_call",
        "function_call_output",
        "message",
    ]


async def test_input_that_was_added_is_saved_in_its_place() -> None:
    session = SQLiteSession("s")
    support = Support([refund("c1")], END)
    state = await paused(support.agent, session=session)
    state.add_input("And hurry.")

    await approved(support.agent, await reread(support.agent, state), session=session)

    assert kinds(await session.get_items()) == [
        "user",
        "function_call",
        "function_call_output",
        "user",
        "message",
    ]


async def test_input_that_a_guardrail_stops_first_is_not_kept() -> None:
    @input_guardrail(run_in_parallel=False)
    def no(ctx: Any, agent: Any, given: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(None, tripwire_triggered=True)

    session = SQLiteSession("s")
    agent = scripted(END, input_guardrails=[no])

    with pytest.raises(InputGuardrailTripwireTriggered):
        await Runner.run(agent, "go", session=session)

    assert await session.get_items() == []


async def test_a_run_that_goes_on_before_its_first_turn_reads_no_history_again() -> (
    None
):
    trips, combined = [True], []

    @input_guardrail(run_in_parallel=False)
    def no(ctx: Any, agent: Any, given: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(None, tripwire_triggered=trips[0])

    def combine(history: list[Any], new: list[Any]) -> list[Any]:
        combined.append(len(history))
        return [*history, *new]

    session = SQLiteSession("s")
    await session.add_items([{"role": "user", "content": "old"}])
    agent = scripted(END, input_guardrails=[no])
    config = RunConfig(session_input_callback=combine)
    with pytest.raises(InputGuardrailTripwireTriggered) as error:
        await Runner.run(agent, "go", session=session, run_config=config)
    left = error.value.run_state
    assert left is not None

    trips[0] = False
    state = await reread(agent, left)
    await Runner.run(agent, state, session=session, run_config=config)

    assert combined == [1]
    asked = model_of(agent).last_call
    assert asked is not None
    assert [item["content"] for item in asked.input] == ["old", "go"]
    assert kinds(await session.get_items()) == ["user", "user", "message"]


async def test_what_an_output_guardrail_stops_keeps_calls_and_outputs_together() -> (
    None
):
    @output_guardrail
    def no(ctx: Any, agent: Any, output: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(None, tripwire_triggered=True)

    session = SQLiteSession("s")
    support = Support([look_up("c1")], END, output_guardrails=[no])

    with pytest.raises(OutputGuardrailTripwireTriggered):
        await Runner.run(support.agent, "go", session=session)

    ids = [item["call_id"] for item in await session.get_items() if "call_id" in item]
    assert ids in ([], ["c1", "c1"])


async def test_the_callback_makes_the_input_and_new_items_alone_are_saved() -> None:
    def newest_first(history: list[Any], new: list[Any]) -> list[Any]:
        return [*new, *history[:1]]

    session = SQLiteSession("s")
    await session.add_items(
        [{"role": "user", "content": "old"}, {"role": "user", "content": "older"}]
    )
    agent = scripted(END)
    config = RunConfig(session_input_callback=newest_first)

    await Runner.run(agent, "go", session=session, run_config=config)

    asked = model_of(agent).last_call
    assert asked is not None
    assert [item["content"] for item in asked.input] == ["go", "old"]
    kept = await session.get_items()
    assert [item["content"] for item in kept[:3]] == ["old", "older", "go"]
    assert len(kept) == 4


async def test_a_callback_that_gives_no_list_is_refused() -> None:
    config = RunConfig(session_input_callback=lambda history, new: "x")  # type: ignore[arg-type,return-value]

    with pytest.raises(UserError):
        await Runner.run(
            scripted(END), "go", session=SQLiteSession("s"), run_config=config
        )


async def test_a_pause_after_a_session_callback_goes_on_with_the_same_view() -> None:
    session = SQLiteSession("s")
    await session.add_items([{"role": "user", "content": "old"}])
    support = Support([refund("c1")], END)
    config = RunConfig(session_input_callback=lambda history, new: [*new, *history])
    state = await paused(support.agent, session=session, run_config=config)

    await approved(
        support.agent,
        await reread(support.agent, state),
        session=session,
        run_config=config,
    )

    first, second = support.model.calls
    assert [item.get("content") for item in first.input] == ["go", "old"]
    assert second.input[:2] == first.input
    assert len(second.input) == 4


async def test_a_limit_that_cuts_a_call_off_leaves_its_output_out_too() -> None:
    session = SQLiteSession("s")
    support = Support([look_up("c1")], END, END)
    await Runner.run(support.agent, "go", session=session)

    await Runner.run(
        support.agent,
        "more",
        session=session,
        session_settings=SessionSettings(limit=2),
    )

    asked = support.model.last_call
    assert asked is not None
    assert kinds(asked.input) == ["message", "user"]


async def test_two_runs_may_share_a_session() -> None:
    session = SQLiteSession("s")
    one, other = Support([refund("c1")], END), Support([refund("c1", "A2")], END)
    first = await paused(one.agent, "one", session=session)
    second = await paused(other.agent, "other", session=session)

    await approved(one.agent, first, session=session)
    await approved(other.agent, second, session=session)

    items = await session.get_items()
    assert kinds(items).count("function_call_output") == 2
    open_ids: list[str] = []
    for item in items:
        if item.get("type") == "function_call":
            open_ids.append(item["call_id"])
        if item.get("type") == "function_call_output":
            assert item["call_id"] in open_ids


async def test_a_handoff_is_saved_whole() -> None:
    session = SQLiteSession("s")
    other = scripted(END, name="Other")
    agent = scripted([call("transfer_to_other", "h1")], handoffs=[other])

    await Runner.run(agent, "go", session=session)

    assert kinds(await session.get_items()) == [
        "user",
        "function_call",
        "function_call_output",
        "message",
    ]


async def test_a_stopped_run_leaves_no_orphan() -> None:
    session = SQLiteSession("s")
    support = Support([refund("c1"), refund("c2")])
    state = await paused(support.agent, session=session)

    state.reject(waiting(state, "c1"), stop=True)
    await Runner.run(support.agent, state, session=session)

    assert kinds(await session.get_items()) == [
        "user",
        "function_call",
        "function_call",
        "function_call_output",
        "function_call_output",
    ]


async def test_an_inner_agents_session_is_its_own() -> None:
    outer_session, inner_session = SQLiteSession("outer"), SQLiteSession("inner")
    inner = Support([refund("c1")], END, name="Clerk")
    tool = inner.agent.as_tool("clerk", "", session=inner_session)
    outer = scripted([call("clerk", "r1", input="do it")], END, tools=[tool])
    state = await paused(outer, session=outer_session)
    assert kinds(await inner_session.get_items()) == ["user"]

    await approved(outer, await reread(outer, state), session=outer_session)

    for session in (outer_session, inner_session):
        assert kinds(await session.get_items()) == [
            "user",
            "function_call",
            "function_call_output",
            "message",
        ]


async def test_a_session_that_fails_ends_the_run_with_its_error() -> None:
    class Broken(SQLiteSession):
        async def add_items(self, items: Any) -> None:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full") as error:
        await Runner.run(scripted(END), "go", session=Broken("s"))

    assert error.value.run_state is not None  # type: ignore[attr-defined]
