"""What this engine promises beyond the SDK: ENGINE.md section 3, promise by promise."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from typing import Any

import pytest

from runs.engine import (
    Agent,
    InMemoryJournal,
    MaxTurnsExceeded,
    Ports,
    Runner,
    RunState,
    SQLiteSession,
    ToolExecutionConfig,
    UserError,
    function_tool,
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
    told,
    waiting,
)

pytestmark = pytest.mark.usefixtures("nothing_left")


# 1. Flat cost


async def test_1_a_late_turn_costs_what_an_early_one_does() -> None:
    times: list[float] = []

    @function_tool
    async def step(n: int) -> str:
        times.append(time.perf_counter())
        return "x" * 50

    steps = [[call("step", f"c{n}", n=n)] for n in range(600)]
    agent = scripted(*steps, END, tools=[step])

    await Runner.run(agent, "go", max_turns=None, run_config={"tracing_disabled": True})

    turns = [after - before for before, after in itertools.pairwise(times)]
    early, late = sorted(turns[20:120]), sorted(turns[-100:])
    # Of each hundred one of the quickest, which a busy machine disturbs least; the
    # benchmark judges closely. The factor of the SDK is above 10 here.
    assert late[10] < 3 * early[10]


# 2. A state that does not repeat itself


async def test_2_a_state_holds_each_item_once() -> None:
    def marked(n: int) -> str:
        return f"mark-{n:03}"

    @function_tool
    async def step(text: str) -> str:
        return text.replace("mark", "made")

    steps = [[call("step", f"c{n}", text=marked(n))] for n in range(100)]
    agent = scripted(*steps, END, tools=[step])
    result = await Runner.run(agent, "go", max_turns=None)

    text = json.dumps(result.to_state().to_json())

    assert {text.count(marked(n)) for n in range(100)} == {1}
    assert {text.count(f"made-{n:03}") for n in range(100)} == {1}
    assert len(text) / len(result.new_items) < 350


# 3. needs_approval that raises


async def test_3_a_rule_that_raises_pauses_the_call_and_its_error_is_shown() -> None:
    def rule(ctx: Any, arguments: Any, call_id: str) -> bool:
        raise LookupError("no price list")

    support = Support([refund("c1")], END)
    support.agent.tools[0].needs_approval = rule
    state = await paused(support.agent)

    again = await reread(support.agent, state)

    assert "no price list" in waiting(again).call.why
    assert support.done == []
    assert (await approved(support.agent, again)).final_output == "end"
    assert support.done == ["refund A1 5.0"]


# 4. max_turns on resume, errors that carry the state


async def test_4_max_turns_given_on_resume_counts() -> None:
    support = Support([refund("c1")], [look_up("c2")], END)
    state = await paused(support.agent, max_turns=1)
    for item in state.get_interruptions():
        state.approve(item)

    result = await Runner.run(support.agent, state, max_turns=3)

    assert result.final_output == "end"
    assert result.max_turns == 3


async def test_4_the_default_max_turns_does_not_replace_the_states() -> None:
    support = Support([refund("c1")], [look_up("c2")], END)
    state = await paused(support.agent, max_turns=2)

    with pytest.raises(MaxTurnsExceeded):
        await approved(support.agent, state)


async def test_4_an_exceeded_runs_state_goes_on_after_a_round_trip() -> None:
    support = Support([look_up("c1")], [look_up("c2")], END)

    with pytest.raises(MaxTurnsExceeded) as error:
        await Runner.run(support.agent, "go", max_turns=1)
    assert error.value.run_state is error.value.state
    assert error.value.run_data is not None
    assert [item.type for item in error.value.run_data.new_items] == [
        "tool_call_item",
        "tool_call_output_item",
    ]
    left = error.value.run_state
    assert left is not None
    state = await reread(support.agent, left)
    result = await Runner.run(support.agent, state, max_turns=None)

    assert result.final_output == "end"
    assert support.done == ["look_up A1", "look_up A1"]


# 5. One saved state, resumed twice


async def test_5_with_a_journal_the_tool_of_a_state_resumed_twice_runs_once() -> None:
    support = Support([refund("c1")], END, END)
    state = await paused(support.agent)
    state.approve(waiting(state))
    saved, ports = state.to_string(), Ports(journal=InMemoryJournal())

    for _ in range(2):
        again = await RunState.from_string(support.agent, saved)
        result = await Runner.run(support.agent, again, ports=ports)
        assert result.final_output == "end"
        assert support.told() == {"c1": "refunded A1"}

    assert support.done == ["refund A1 5.0"]


async def test_5_without_one_an_object_does_not_start_a_body_again() -> None:
    started = asyncio.Event()

    @function_tool(needs_approval=True)
    async def hang() -> str:
        started.set()
        await asyncio.get_running_loop().create_future()
        return ""

    agent = scripted([call("hang", "c1")], END, tools=[hang])
    state = await paused(agent)
    state.approve(waiting(state))
    task = asyncio.create_task(Runner.run(agent, state))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    for one in (state, await reread(agent, state)):
        with pytest.raises(UserError, match="attach a journal"):
            await asyncio.wait_for(Runner.run(agent, one), 60)


async def test_5_an_object_may_be_resumed_to_resolve_more_calls() -> None:
    support = Support([refund("c1"), refund("c2", "A2")], END)
    state = await paused(support.agent)

    state.approve(waiting(state, "c2"))
    await Runner.run(support.agent, state)
    state.approve(waiting(state, "c1"))
    result = await Runner.run(support.agent, state)

    assert result.final_output == "end"
    assert support.done == ["refund A2 5.0", "refund A1 5.0"]


# 6. An approved tool that raises


@pytest.mark.parametrize("stored", [False, True])
async def test_6_a_tool_that_raises_ends_the_run_with_a_state_to_go_on_from(
    stored: bool,
) -> None:
    tries: list[int] = []

    @function_tool(needs_approval=True, failure_error_function=None)
    async def pay() -> str:
        tries.append(1)
        raise ConnectionError("bank is down")

    agent = scripted([call("pay", "c1")], END, tools=[pay])
    state = await paused(agent)
    state.approve(waiting(state))

    with pytest.raises(UserError, match="bank is down") as error:
        await Runner.run(agent, state)
    left = error.value.run_state
    assert left is not None
    if stored:
        left = await reread(agent, left)
    result = await Runner.run(agent, left)

    assert result.final_output == "end"
    assert "bank is down" in told(agent)["c1"]
    assert tries == [1]


async def test_6_by_default_the_failure_is_the_tools_output() -> None:
    @function_tool(needs_approval=True)
    async def pay() -> str:
        raise ConnectionError("bank is down")

    agent = scripted([call("pay", "c1")], END, tools=[pay])

    result = await approved(agent, await paused(agent))

    assert result.final_output == "end"
    assert "bank is down" in told(agent)["c1"]


# 7. Edit on approve (more in test_edits)


async def test_7_an_edit_runs_is_told_and_leaves_the_call_as_it_was() -> None:
    support = Support([refund("c1", amount_eur=500.0)], END)
    state = await paused(support.agent)

    state.approve(waiting(state), arguments={"order_id": "A1", "amount_eur": 50.0})
    state = await reread(support.agent, state)
    result = await Runner.run(support.agent, state)

    assert support.done == ["refund A1 50.0"]
    assert "50.0" in support.told()["c1"]
    assert "person" in support.told()["c1"]
    [asked] = [item for item in result.new_items if item.type == "tool_call_item"]
    assert json.loads(asked.raw["arguments"])["amount_eur"] == 500.0


# 8. Respond instead of running


async def test_8_a_persons_words_are_the_output_and_say_so() -> None:
    support = Support([refund("c1")], END)
    state = await paused(support.agent)

    state.respond(waiting(state), "paid in cash")
    result = await Runner.run(support.agent, await reread(support.agent, state))

    assert result.final_output == "end"
    assert support.done == []
    assert "person" in support.told()["c1"]
    assert support.told()["c1"].endswith("paid in cash")


# 9. Reject and stop


async def test_9_a_rejection_may_end_the_run_and_close_its_siblings() -> None:
    support = Support([refund("c1"), refund("c2", "A2"), look_up("c3")], END)
    state = await paused(support.agent)

    state.reject(waiting(state, "c1"), rejection_message="fraud", stop=True)
    result = await Runner.run(support.agent, await reread(support.agent, state))

    assert result.interruptions == []
    assert result.final_output is None
    assert "refund" in str(result.stop_reason)
    assert support.done == ["look_up A1"]
    assert len(support.model.calls) == 1
    outputs = {
        item["call_id"]: item["output"]
        for item in result.to_input_list()
        if item.get("type") == "function_call_output"
    }
    assert outputs.keys() == {"c1", "c2", "c3"}
    assert outputs["c1"] == "fraud"
    ended = await reread(support.agent, result.to_state())
    assert (ended.is_done, ended.stop_reason) == (True, result.stop_reason)


async def test_9_a_rejection_that_goes_on_asks_the_model() -> None:
    support = Support([refund("c1")], END)
    state = await paused(support.agent)

    state.reject(waiting(state))
    result = await Runner.run(support.agent, state)

    assert (result.final_output, result.stop_reason) == ("end", None)


# 10. Approval events in the stream


async def test_10_a_stream_tells_when_approval_is_asked_and_when_it_is_settled() -> (
    None
):
    support = Support([refund("c1"), look_up("c0"), refund("c2", "A2")], END)

    def of_approvals(events: list[Any]) -> list[tuple[str, str]]:
        names = ("approval_requested", "approval_resolved", "tool_output")
        return [
            (event.name, event.item.raw["call_id"])
            for event in events
            if getattr(event, "name", "") in names
        ]

    stream = Runner.run_streamed(support.agent, "go")
    first = [event async for event in stream.stream_events()]
    state = stream.to_state()
    state.approve(waiting(state, "c1"))
    state.reject(waiting(state, "c2"))
    second = [event async for event in Runner.run_streamed(support.agent, state)]

    assert of_approvals(first) == [
        ("approval_requested", "c1"),
        ("approval_requested", "c2"),
        ("tool_output", "c0"),
    ]
    assert sorted(of_approvals(second)) == [
        ("approval_resolved", "c1"),
        ("approval_resolved", "c2"),
        ("tool_output", "c1"),
        ("tool_output", "c2"),
    ]
    for call_id in ("c1", "c2"):
        said = [name for name, told_of in of_approvals(second) if told_of == call_id]
        assert said == ["approval_resolved", "tool_output"]


# 11. Sticky decisions


async def test_11_a_standing_decision_says_what_it_covers() -> None:
    support = Support([refund("c1")], [refund("c2", "A2")], END)
    state = await paused(support.agent)

    state.approve(waiting(state), always_approve=True)
    [sticky] = (await reread(support.agent, state)).sticky

    assert "refund" in sticky.scope
    assert "Support" in sticky.scope


async def test_11_a_grant_never_beats_a_denial_of_the_same_call() -> None:
    support = Support([refund("c1"), refund("c2", "A2")], END)
    state = await paused(support.agent)
    first, second = state.get_interruptions()

    state.reject(second, rejection_message="not A2")
    state.approve(first, always_approve=True)
    await Runner.run(support.agent, await reread(support.agent, state))

    assert support.done == ["refund A1 5.0"]
    assert support.told()["c2"] == "not A2"


async def test_11_a_standing_decision_is_of_one_agent() -> None:
    other = Support([refund("c2", "A2")], END, name="Other")
    support = Support(
        [refund("c1")], [call("transfer_to_other", "h1")], handoffs=[other.agent]
    )
    state = await paused(support.agent)

    state.approve(waiting(state), always_approve=True)
    result = await Runner.run(support.agent, state)

    assert call_ids(result.interruptions) == ["c2"]
    assert result.last_agent is other.agent
    assert other.done == []


# 12. Session and state agree


def orphans(items: list[Any]) -> list[str]:
    """Return call ids without exactly one output after them, or the other way."""
    open_ids: set[str] = set()
    wrong: list[str] = []
    for item in items:
        kind, call_id = str(item.get("type")), item.get("call_id")
        if kind == "function_call":
            open_ids.add(call_id)
        elif kind == "function_call_output":
            if call_id not in open_ids:
                wrong.append(call_id)
            open_ids.discard(call_id)
    return [*wrong, *open_ids]


async def test_12_a_paused_turn_leaves_no_orphan_in_the_session() -> None:
    session = SQLiteSession("s")
    support = Support([refund("c1"), look_up("c2")], END, [refund("c3")], END)
    state = await paused(support.agent, session=session)

    assert await session.get_items() == [{"role": "user", "content": "go"}]

    await approved(support.agent, state, session=session)
    kept = await session.get_items()
    assert orphans(kept) == []
    assert [item.get("type", "message") for item in kept] == [
        "message",
        "function_call",
        "function_call",
        "function_call_output",
        "function_call_output",
        "message",
    ]

    state = await paused(support.agent, "more", session=session)
    result = await approved(support.agent, state)  # without the session
    assert result.final_output == "end"
    assert orphans(await session.get_items()) == []


async def test_12_every_model_call_reads_each_output_after_its_call() -> None:
    session = SQLiteSession("s")
    support = Support(
        [refund("c1"), look_up("c2")],
        [refund("c3"), refund("c4", "A4")],
        END,
    )
    state = await paused(support.agent, session=session)
    state.approve(waiting(state, "c1"))
    result = await Runner.run(support.agent, state, session=session)
    state = result.to_state()
    state.approve(waiting(state, "c4"))
    state = (await Runner.run(support.agent, state, session=session)).to_state()
    state.reject(waiting(state, "c3"))
    await Runner.run(support.agent, state, session=session)

    assert len(support.model.calls) == 3
    assert [orphans(asked.input) for asked in support.model.calls] == [[], [], []]
    assert orphans(await session.get_items()) == []


# 13. Code that has changed


async def test_13_a_renamed_agent_is_named_and_may_be_declared() -> None:
    support = Support([refund("c1")], END)
    saved = (await paused(support.agent)).to_json()
    support.agent.name = "Helpdesk"

    with pytest.raises(UserError, match=r"'Support'.*'Helpdesk'"):
        await RunState.from_json(support.agent, saved)
    renames = {"agents": {"Support": "Helpdesk"}}
    state = await RunState.from_json(support.agent, saved, renames=renames)
    result = await approved(support.agent, state)

    assert result.final_output == "end"
    assert support.done == ["refund A1 5.0"]


async def test_13_a_renamed_tool_is_named_and_may_be_declared() -> None:
    support = Support([refund("c1")], END)
    saved = (await paused(support.agent)).to_json()
    support.agent.tools[0].name = "pay_back"

    with pytest.raises(UserError, match="'refund'"):
        await RunState.from_json(support.agent, saved)
    renames = {"tools": {"refund": "pay_back"}}
    state = await RunState.from_json(support.agent, saved, renames=renames)
    result = await approved(support.agent, state)

    assert result.final_output == "end"
    assert support.done == ["refund A1 5.0"]


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ("order_id: str", "amount_eur is gone"),
        ("order_id: str, amount_eur: float, why: str", "why is new"),
        ("order_id: int, amount_eur: float", "order_id was string and is integer"),
    ],
)
async def test_13_a_changed_schema_says_what_differs(
    parameters: str, said: str
) -> None:
    support = Support([refund("c1")], END)
    saved = (await paused(support.agent)).to_json()
    made: dict[str, Any] = {}
    exec(f"def refund({parameters}) -> str: ...", made)  # noqa: S102  # made above
    support.agent.tools[0] = function_tool(needs_approval=True)(made["refund"])

    with pytest.raises(UserError, match=said):
        await RunState.from_json(support.agent, saved)


async def test_13_a_removed_tool_is_named() -> None:
    support = Support([refund("c1")], END)
    saved = (await paused(support.agent)).to_json()
    del support.agent.tools[0]

    with pytest.raises(UserError, match=r"'refund'.*no longer has"):
        await RunState.from_json(support.agent, saved)


# 14. Nested approvals (more in test_nested)


def three_deep() -> tuple[Agent[Any], Support]:
    inner = Support([refund("c1")], END, name="Clerk")
    middle = scripted(
        [call("clerk", "m1", input="do it")],
        END,
        name="Office",
        tools=[inner.agent.as_tool("clerk", "")],
    )
    root = scripted(
        [call("office", "r1", input="do it")],
        END,
        name="Boss",
        tools=[middle.as_tool("office", "")],
    )
    return root, inner


@pytest.mark.parametrize("by", ["state", "context"])
async def test_14_an_approval_three_levels_down_shows_its_path(by: str) -> None:
    root, inner = three_deep()
    state = await reread(root, await paused(root))
    item = waiting(state)

    assert item.path == ("Boss", "office", "Office", "clerk", "Clerk", "refund")
    if by == "state":
        state.approve(item)
    else:
        state.context.approve_tool(item)
    result = await Runner.run(root, await reread(root, state))

    assert result.final_output == "end"
    assert inner.done == ["refund A1 5.0"]
    assert len(model_of(root).calls) == 2


async def test_14_a_rejection_three_levels_down_is_told_there() -> None:
    root, inner = three_deep()
    state = await paused(root)

    state.context.reject_tool(waiting(state), rejection_message="no")
    result = await Runner.run(
        root, state, run_config={"tool_execution": ToolExecutionConfig()}
    )

    assert result.final_output == "end"
    assert inner.done == []
    assert inner.told() == {"c1": "no"}
