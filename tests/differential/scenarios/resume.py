"""Going on after a pause: what has run, what runs again, what a state remembers."""

import dataclasses
import json
from functools import partial
from typing import Any

from ..registry import scenario
from ..script import call, text
from ..sides import Side
from .approvals import approve_all, decided, gated, pay, reject_all

SEVERAL = "Several calls in one turn"
PARTIAL = "Partial resolution"
TWICE = "Same snapshot twice"
RAISES = "Approved tool that raises"
TURNS = "max_turns"
CONTEXT = "Context on resume"
INPUT = "add_input while paused"
CHANGED = "Changed code"
STREAMING = "Streaming"
STATE = "RunState"


@scenario(SEVERAL)
async def ungated_calls_run_before_the_pause(side: Side) -> None:
    tools = [gated(side), gated(side, "free", needs_approval=False)]
    calls = [
        pay(0, "c0", "free"),
        pay(1, "c1"),
        pay(2, "c2"),
        pay(3, "c3", "free"),
    ]
    agent = side.agent(calls, [text("x")], tools=tools)
    result = await side.run(agent, "hi")
    result = await decided(
        side, agent, result, lambda state, items: state.approve(items[1])
    )
    await decided(side, agent, result, approve_all)


@scenario(PARTIAL)
async def nothing_decided_asks_no_model(side: Side) -> None:
    agent = side.agent([pay(1, "c1"), pay(2, "c2")], [text("x")], tools=[gated(side)])
    result = await side.run(agent, "hi")
    await decided(side, agent, result, lambda state, items: None)


@scenario(PARTIAL)
async def one_approved_one_left(side: Side) -> None:
    agent = side.agent([pay(1, "c1"), pay(2, "c2")], [text("x")], tools=[gated(side)])
    result = await side.run(agent, "hi")
    result = await decided(
        side, agent, result, lambda state, items: state.approve(items[0])
    )
    await decided(side, agent, result, reject_all)


@scenario(TWICE)
async def one_snapshot_loaded_twice(side: Side) -> None:
    agent = side.agent([pay(1)], [text("x")], [text("y", "m2")], tools=[gated(side)])
    saved = (await side.run(agent, "hi")).to_state().to_json()
    for _ in range(2):
        state = await side.RunState.from_json(agent, json.loads(json.dumps(saved)))
        state.approve(state.get_interruptions()[0])
        await side.run(agent, state)


@scenario(TWICE)
async def one_object_resumed_after_it_finished(side: Side) -> None:
    agent = side.agent([pay(1)], [text("x")], [text("y", "m2")], tools=[gated(side)])
    state = (await side.run(agent, "hi")).to_state()
    state.approve(state.get_interruptions()[0])
    await side.run(agent, state)
    await side.run(agent, state)


@scenario(RAISES)
async def approved_tool_that_raises_as_an_error(side: Side) -> None:
    def body(sum: int) -> str:
        side.note("ran")
        raise ValueError("the bank is closed")

    tool = side.function_tool(
        body, name_override="pay", needs_approval=True, failure_error_function=None
    )
    agent = side.agent([pay(1)], [text("x")], tools=[tool])
    state = (await side.run(agent, "hi")).to_state()
    state.approve(state.get_interruptions()[0])
    await side.run(agent, state)


@scenario(RAISES)
async def resume_after_an_approved_tool_raised(side: Side) -> None:
    def body(sum: int) -> str:
        side.note("ran")
        raise ValueError("the bank is closed")

    tool = side.function_tool(
        body, name_override="pay", needs_approval=True, failure_error_function=None
    )
    agent = side.agent([pay(1)], [text("x")], tools=[tool])
    state = (await side.run(agent, "hi")).to_state()
    state.approve(state.get_interruptions()[0])
    await side.run(agent, state)
    await side.run(agent, state)


@scenario(RAISES)
async def approved_tool_whose_failure_is_told(side: Side) -> None:
    def body(sum: int) -> str:
        raise ValueError("the bank is closed")

    tool = side.function_tool(body, name_override="pay", needs_approval=True)
    agent = side.agent([pay(1)], [text("x")], tools=[tool])
    await decided(side, agent, await side.run(agent, "hi"), approve_all)


@scenario(TURNS)
async def resolving_a_pause_takes_no_turn(side: Side) -> None:
    agent = side.agent([pay(1, "c1")], [pay(2, "c2")], [text("x")], tools=[gated(side)])
    result = await side.run(agent, "hi", max_turns=3)
    result = await decided(side, agent, result, approve_all)
    await decided(side, agent, result, approve_all)


@scenario(TURNS)
async def turns_run_out_after_a_pause(side: Side) -> None:
    agent = side.agent([pay(1, "c1")], [pay(2, "c2")], [text("x")], tools=[gated(side)])
    result = await side.run(agent, "hi", max_turns=2)
    result = await decided(side, agent, result, approve_all)
    await decided(side, agent, result, approve_all)


@scenario(TURNS)
async def max_turns_given_on_resume(side: Side) -> None:
    agent = side.agent([pay(1, "c1")], [pay(2, "c2")], [text("x")], tools=[gated(side)])
    result = await side.run(agent, "hi", max_turns=2)
    result = await decided(side, agent, result, approve_all, max_turns=50)
    await decided(side, agent, result, approve_all, max_turns=50)


@scenario(STREAMING)
async def pause_and_resume_seen_in_the_stream(side: Side) -> None:
    tools = [gated(side), gated(side, "free", needs_approval=False)]
    agent = side.agent(
        [text("wait", "m0"), pay(1, "c1"), pay(2, "c2", "free")],
        [text("x")],
        tools=tools,
    )
    await decided(side, agent, await side.run(agent, "hi"), approve_all)


@scenario(CONTEXT)
async def context_kept_as_a_dict(side: Side) -> None:
    agent = side.agent([pay(1)], [text("x")], tools=[gated(side)])
    result = await side.run(agent, "hi", context={"user": "ada"})
    result = await decided(side, agent, result, approve_all)
    side.note(result.context_wrapper.context)


@scenario(CONTEXT)
async def context_replaced_on_resume(side: Side) -> None:
    @side.function_tool(needs_approval=True)
    @side.takes_context
    def pay(ctx: Any, sum: int) -> str:
        side.note("ran for", ctx.context, ctx.usage.requests)
        return "paid"

    agent = side.agent([call("pay", {"sum": 1})], [text("x")], tools=[pay])
    result = await side.run(agent, "hi", context={"user": "ada"})
    await decided(side, agent, result, approve_all, context={"user": "bob"})


@dataclasses.dataclass
class Shopper:
    name: str


class Opaque:
    pass


@scenario(CONTEXT)
async def context_of_a_dataclass_or_an_object(side: Side) -> None:
    agent = side.agent([pay(1)], [pay(1)], tools=[gated(side)])
    for context in (Shopper("ada"), Opaque()):
        state = (await side.run(agent, "hi", context=context)).to_state()
        written = state.to_json()
        back = await side.RunState.from_json(agent, json.loads(json.dumps(written)))
        side.note(back.get_interruptions()[0].call_id)
        side.note((back.context if side.ours else back._context).context)


@scenario(CONTEXT)
async def strict_context_refuses_what_would_be_lost(side: Side) -> None:
    agent = side.agent([pay(1)], [pay(1)], tools=[gated(side)])
    for context in (Shopper("ada"), Opaque()):
        state = (await side.run(agent, "hi", context=context)).to_state()
        await side.failure(partial(state.to_json, strict_context=True))


@scenario(CONTEXT)
async def context_through_a_serializer(side: Side) -> None:
    agent = side.agent([pay(1)], [text("x")], tools=[gated(side)])
    state = (await side.run(agent, "hi", context=Shopper("ada"))).to_state()
    written = state.to_json(context_serializer=lambda context: {"n": context.name})
    back = await side.RunState.from_json(
        agent,
        json.loads(json.dumps(written)),
        context_deserializer=lambda found: Shopper(found["n"] + "!"),
    )
    back.approve(back.get_interruptions()[0])
    result = await side.run(agent, back)
    side.note(type(result.context_wrapper.context).__name__)
    side.note(result.context_wrapper.context)


@scenario(CONTEXT)
async def serializer_must_give_a_mapping(side: Side) -> None:
    agent = side.agent([pay(1)], tools=[gated(side)])
    state = (await side.run(agent, "hi", context=Shopper("ada"))).to_state()
    await side.failure(lambda: state.to_json(context_serializer=lambda context: [1]))


@scenario(CONTEXT)
async def context_overridden_on_load(side: Side) -> None:
    agent = side.agent([pay(1)], [text("x")], tools=[gated(side)])
    state = (await side.run(agent, "hi", context=Shopper("ada"))).to_state()
    state.approve(state.get_interruptions()[0])
    back = await side.RunState.from_json(
        agent, json.loads(json.dumps(state.to_json())), context_override=Shopper("bob")
    )
    result = await side.run(agent, back)
    side.note(result.context_wrapper.context)


@scenario(INPUT)
async def input_added_while_paused(side: Side) -> None:
    def decide(state: Any, items: Any) -> None:
        state.approve(items[0])
        state.add_input("also tell bob")
        state.add_input([{"role": "user", "content": "and eve"}])
        side.note("pending", state.pending_input)

    agent = side.agent([pay(1)], [text("x")], tools=[gated(side)])
    await decided(side, agent, await side.run(agent, "hi"), decide)


@scenario(INPUT)
async def added_input_survives_the_round_trip_and_can_be_cleared(side: Side) -> None:
    agent = side.agent([pay(1)], [text("x")], tools=[gated(side)])
    state = (await side.run(agent, "hi")).to_state()
    state.add_input("also tell bob")
    back = await side.restored(agent, state)
    back.clear_pending_input()
    side.note("pending", back.pending_input)
    approve_all(back, back.get_interruptions())
    await side.run(agent, back)


@scenario(INPUT)
async def input_added_and_part_of_the_calls_decided(side: Side) -> None:
    def decide(state: Any, items: Any) -> None:
        state.approve(items[0])
        state.add_input("also tell bob")

    agent = side.agent([pay(1), pay(2, "c2")], [text("x")], tools=[gated(side)])
    result = await decided(side, agent, await side.run(agent, "hi"), decide)
    await decided(side, agent, result, approve_all)


@scenario(INPUT)
async def input_refused_by_a_finished_state(side: Side) -> None:
    agent = side.agent([text("x")])
    state = (await side.run(agent, "hi")).to_state()
    await side.failure(lambda: state.add_input("more"))


@scenario(INPUT)
async def input_refused_when_no_turn_is_left(side: Side) -> None:
    agent = side.agent([pay(1)], [text("x")], tools=[gated(side)])
    state = (await side.run(agent, "hi", max_turns=1)).to_state()
    await side.failure(lambda: state.add_input("more"))


@scenario(INPUT)
async def input_refused_when_the_tool_may_end_the_run(side: Side) -> None:
    agent = side.agent(
        [pay(1)], tools=[gated(side)], tool_use_behavior="stop_on_first_tool"
    )
    state = (await side.run(agent, "hi")).to_state()
    await side.failure(lambda: state.add_input("more"))


@scenario(INPUT)
async def input_of_a_wrong_kind(side: Side) -> None:
    agent = side.agent([pay(1)], [text("x")], tools=[gated(side)])
    state = (await side.run(agent, "hi")).to_state()
    for wrong in (7, [7], "", []):
        side.note(wrong)
        await side.failure(partial(state.add_input, wrong))
    side.note("pending", state.pending_input)


@scenario(INPUT)
async def added_input_keeps_its_id(side: Side) -> None:
    agent = side.agent([pay(1, "c1")], [pay(2, "c2")], [text("x")], tools=[gated(side)])
    state = (await side.run(agent, "hi")).to_state()
    state.add_input(input="and")
    state.approve(state.get_interruptions()[0])
    result = await side.run(agent, state)
    before = [each.input_id for each in result.new_items if each.type == "input_item"]
    result = await decided(side, agent, result, approve_all)
    after = [each.input_id for each in result.new_items if each.type == "input_item"]
    side.note(len(before), before == after)


@scenario(CHANGED)
async def tool_removed_while_paused(side: Side) -> None:
    agent = side.agent([pay(1)], [text("x")], tools=[gated(side)])
    state = (await side.run(agent, "hi")).to_state()
    state.approve(state.get_interruptions()[0])
    written = json.loads(json.dumps(state.to_json()))
    changed = side.agent([text("x")], tools=[])

    async def go_on() -> None:
        await side.Runner.run(changed, await side.RunState.from_json(changed, written))

    await side.failure(go_on)


@scenario(CHANGED)
async def agent_renamed_while_paused(side: Side) -> None:
    agent = side.agent([pay(1)], [text("x")], tools=[gated(side)])
    state = (await side.run(agent, "hi")).to_state()
    written = json.loads(json.dumps(state.to_json()))
    renamed = side.agent([text("x")], name="renamed", tools=[gated(side)])
    await side.failure(lambda: side.RunState.from_json(renamed, written))


@scenario(STATE)
async def state_of_a_finished_run(side: Side) -> None:
    agent = side.agent([pay(1)], [text("x")], tools=[gated(side, needs_approval=False)])
    result = await side.run(agent, "hi")
    await side.restored(agent, result.to_state())


@scenario(STATE)
async def state_written_in_the_middle_of_a_long_run(side: Side) -> None:
    tools = [gated(side), gated(side, "free", needs_approval=False)]
    answers = [[pay(n, f"c{n}", "free")] for n in range(4)]
    agent = side.agent(*answers, [pay(9, "c9")], [text("x")], tools=tools)
    await decided(side, agent, await side.run(agent, "hi"), approve_all)


@scenario(STATE)
async def states_that_cannot_be_read(side: Side) -> None:
    agent = side.agent([pay(1)], tools=[gated(side)])
    written = (await side.run(agent, "hi")).to_state().to_json()
    without = {key: value for key, value in written.items() if key != "$schemaVersion"}
    for wrong in ({}, without, {**written, "$schemaVersion": "99.0"}):
        await side.failure(partial(side.RunState.from_json, agent, wrong))
    for broken in ("", "{", "[]", "null", "7"):
        await side.failure(partial(side.RunState.from_string, agent, broken))


@scenario(STATE)
async def interruptions_of_a_state_are_copies(side: Side) -> None:
    agent = side.agent([pay(1), pay(2, "c2")], tools=[gated(side)])
    state = (await side.run(agent, "hi")).to_state()
    state.get_interruptions().clear()
    side.note(len(state.get_interruptions()))


@scenario(STATE)
async def tool_use_tracked(side: Side) -> None:
    tools = [gated(side), gated(side, "free", needs_approval=False)]
    agent = side.agent(
        [pay(1, "c1", "free"), pay(2, "c2", "free")],
        [pay(3, "c3")],
        [text("x")],
        tools=tools,
        model_settings=side.ModelSettings(tool_choice="required"),
    )
    await decided(side, agent, await side.run(agent, "hi"), approve_all)
