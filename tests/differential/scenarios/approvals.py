"""Calls that wait for a person: when, what is decided, what the model is told."""

from typing import Any

from ..registry import scenario
from ..script import call, text
from ..sides import Side

NEEDS = "needs_approval callable"
IDENTITY = "Identity of a call"
DECIDE = "approve / reject"
REJECTION = "Text the model sees on rejection"


def gated(side: Side, name: str = "pay", **options: Any) -> Any:
    """Return a tool that waits for approval and notes that it ran."""

    def body(sum: int = 0) -> str:
        """Pay somebody."""
        side.note("ran", name, sum)
        return f"{name} paid {sum}"

    return side.function_tool(
        body, name_override=name, **{"needs_approval": True, **options}
    )


def pay(sum: int, id: str = "c1", name: str = "pay") -> Any:
    return call(name, {"sum": sum}, id)


async def decided(
    side: Side, agent: Any, result: Any, decide: Any, **options: Any
) -> Any:
    """Take the paused result through JSON, let `decide(state, items)` act, go on."""
    state = await side.restored(agent, result.to_state())
    decide(state, state.get_interruptions())
    return await side.run(agent, state, **options)


def approve_all(state: Any, items: Any) -> None:
    for each in items:
        state.approve(each)


def reject_all(state: Any, items: Any) -> None:
    for each in items:
        state.reject(each)


@scenario(DECIDE)
async def approve_one(side: Side) -> None:
    agent = side.agent([pay(5)], [text("done")], tools=[gated(side)])
    await decided(side, agent, await side.run(agent, "hi"), approve_all)


@scenario(DECIDE)
async def reject_one(side: Side) -> None:
    agent = side.agent([pay(5)], [text("done")], tools=[gated(side)])
    await decided(side, agent, await side.run(agent, "hi"), reject_all)


@scenario(DECIDE)
async def decide_without_a_round_trip(side: Side) -> None:
    agent = side.agent([pay(5)], [text("done")], tools=[gated(side)])
    result = await side.run(agent, "hi")
    state = result.to_state()
    state.approve(result.interruptions[0])
    await side.run(agent, state)


@scenario(DECIDE)
async def decide_through_text(side: Side) -> None:
    agent = side.agent([pay(5)], [text("done")], tools=[gated(side)])
    result = await side.run(agent, "hi")
    state = await side.RunState.from_string(agent, result.to_state().to_string())
    state.approve(state.get_interruptions()[0])
    await side.run(agent, state)


@scenario(DECIDE)
async def last_decision_wins(side: Side) -> None:
    def waver(state: Any, items: Any) -> None:
        state.approve(items[0])
        state.reject(items[0])
        state.reject(items[1])
        state.approve(items[1])

    agent = side.agent([pay(1, "c1"), pay(2, "c2")], [text("x")], tools=[gated(side)])
    await decided(side, agent, await side.run(agent, "hi"), waver)


@scenario(NEEDS)
async def approval_asked_by_a_callable(side: Side) -> None:
    def above_five(ctx: Any, arguments: Any, call_id: str) -> bool:
        side.note("asked", ctx.context, arguments, call_id)
        return bool(arguments["sum"] > 5)

    tool = gated(side, needs_approval=above_five)
    agent = side.agent([pay(5, "c1"), pay(6, "c2")], [text("done")], tools=[tool])
    await decided(
        side, agent, await side.run(agent, "hi", context={"a": 1}), approve_all
    )


@scenario(NEEDS)
async def approval_asked_by_a_coroutine_of_any_truth(side: Side) -> None:
    answers = {"c1": 0, "c2": "yes", "c3": None, "c4": [], "c5": 1}

    async def asked(ctx: Any, arguments: Any, call_id: str) -> Any:
        return answers[call_id]

    tool = gated(side, needs_approval=asked)
    calls = [pay(number, f"c{number}") for number in range(1, 6)]
    agent = side.agent(calls, [text("done")], tools=[tool])
    await decided(side, agent, await side.run(agent, "hi"), approve_all)


@scenario(NEEDS)
async def broken_arguments_pause_without_asking(side: Side) -> None:
    def asked(ctx: Any, arguments: Any, call_id: str) -> bool:
        side.note("asked", arguments)
        return False

    for written in ("{", "", "null", "[]", '"a"', '{"sum": NaN}', '{"sum": Infinity}'):
        side.note("arguments", written)
        tool = gated(side, needs_approval=asked)
        agent = side.agent([call("pay", written)], [text("done")], tools=[tool])
        result = await side.run(agent, "hi")
        await decided(side, agent, result, approve_all)


@scenario(NEEDS)
async def callable_that_raises(side: Side) -> None:
    def asked(ctx: Any, arguments: Any, call_id: str) -> bool:
        raise KeyError("sum")

    tool = gated(side, needs_approval=asked)
    agent = side.agent([pay(5)], [text("done")], tools=[tool])
    await side.run(agent, "hi")


@scenario(NEEDS)
async def callable_is_not_asked_again(side: Side) -> None:
    def asked(ctx: Any, arguments: Any, call_id: str) -> bool:
        side.note("asked", call_id)
        return True

    tool = gated(side, needs_approval=asked)
    agent = side.agent([pay(5)], [pay(6, "c2")], [text("x")], tools=[tool])
    result = await decided(side, agent, await side.run(agent, "hi"), approve_all)
    await decided(side, agent, result, approve_all)


@scenario(IDENTITY)
async def one_id_with_two_arguments_in_one_answer(side: Side) -> None:
    agent = side.agent([pay(1, "c1"), pay(2, "c1")], [text("x")], tools=[gated(side)])
    await side.run(agent, "hi")


@scenario(IDENTITY)
async def one_id_with_two_arguments_later(side: Side) -> None:
    agent = side.agent([pay(1, "c1")], [pay(2, "c1")], [text("x")], tools=[gated(side)])
    await decided(side, agent, await side.run(agent, "hi"), approve_all)


@scenario(IDENTITY)
async def the_same_call_twice_in_one_answer(side: Side) -> None:
    tool = gated(side, needs_approval=False)
    agent = side.agent([pay(1, "c1"), pay(1, "c1")], [text("x")], tools=[tool])
    await side.run(agent, "hi")


@scenario(IDENTITY)
async def the_same_call_again_later(side: Side) -> None:
    tool = gated(side, needs_approval=False)
    agent = side.agent([pay(1, "c1")], [pay(1, "c1")], [text("x")], tools=[tool])
    await side.run(agent, "hi")


@scenario(IDENTITY)
async def one_id_for_two_tools(side: Side) -> None:
    tools = [gated(side, needs_approval=False), gated(side, "give")]
    agent = side.agent([pay(1, "c1"), pay(1, "c1", "give")], [text("x")], tools=tools)
    await side.run(agent, "hi")


@scenario(IDENTITY)
async def no_call_id(side: Side) -> None:
    agent = side.agent([pay(1, "")], [text("x")], tools=[gated(side)])
    await side.run(agent, "hi")


@scenario(IDENTITY)
async def arguments_edited_in_a_saved_state(side: Side) -> None:
    import json

    agent = side.agent([pay(5)], [text("x")], tools=[gated(side)])
    result = await side.run(agent, "hi")
    state = result.to_state()
    state.approve(state.get_interruptions()[0])
    edited = state.to_string().replace(
        json.dumps(json.dumps({"sum": 5})), json.dumps(json.dumps({"sum": 500}))
    )
    side.note("edited", edited != state.to_string())

    async def go_on() -> None:
        back = await side.RunState.from_string(agent, edited)
        await side.Runner.run(agent, back)

    await side.failure(go_on)


@scenario(DECIDE)
async def always_approve_covers_the_turn_and_later_ones(side: Side) -> None:
    def always(state: Any, items: Any) -> None:
        state.approve(items[0], always_approve=True)

    agent = side.agent(
        [pay(1, "c1"), pay(2, "c2")], [pay(3, "c3")], [text("x")], tools=[gated(side)]
    )
    await decided(side, agent, await side.run(agent, "hi"), always)


@scenario(DECIDE)
async def always_approve_leaves_other_tools_alone(side: Side) -> None:
    def always(state: Any, items: Any) -> None:
        state.approve(items[0], always_approve=True)

    tools = [gated(side), gated(side, "give")]
    agent = side.agent([pay(1, "c1"), pay(2, "c2", "give")], [text("x")], tools=tools)
    await decided(side, agent, await side.run(agent, "hi"), always)


@scenario(DECIDE)
async def always_reject_then_approve_one(side: Side) -> None:
    def mixed(state: Any, items: Any) -> None:
        state.reject(items[0], always_reject=True)
        state.approve(items[1])

    agent = side.agent(
        [pay(1, "c1"), pay(2, "c2")], [pay(3, "c3")], [text("x")], tools=[gated(side)]
    )
    await decided(side, agent, await side.run(agent, "hi"), mixed)


@scenario(DECIDE)
async def always_approve_then_reject_one(side: Side) -> None:
    def mixed(state: Any, items: Any) -> None:
        state.approve(items[0], always_approve=True)
        state.reject(items[1])

    agent = side.agent(
        [pay(1, "c1"), pay(2, "c2")], [pay(3, "c3")], [text("x")], tools=[gated(side)]
    )
    await decided(side, agent, await side.run(agent, "hi"), mixed)


@scenario(DECIDE)
async def sticky_decision_belongs_to_agent_and_tool(side: Side) -> None:
    def always(state: Any, items: Any) -> None:
        state.approve(items[0], always_approve=True)

    other = side.agent([pay(2, "c3")], [text("x")], name="other", tools=[gated(side)])
    agent = side.agent(
        [pay(1, "c1")],
        [call("transfer_to_other", id="c2")],
        tools=[gated(side)],
        handoffs=[other],
    )
    result = await decided(side, agent, await side.run(agent, "hi"), always)
    await decided(side, agent, result, approve_all)


@scenario(DECIDE)
async def sticky_decision_survives_the_round_trip(side: Side) -> None:
    def always(state: Any, items: Any) -> None:
        state.approve(items[0], always_approve=True)

    tools = [gated(side), gated(side, "give")]
    agent = side.agent(
        [pay(1, "c1")],
        [pay(2, "c2"), pay(3, "c3", "give")],
        [pay(4, "c4")],
        [text("x")],
        tools=tools,
    )
    result = await decided(side, agent, await side.run(agent, "hi"), always)
    await decided(side, agent, result, approve_all)


@scenario(DECIDE)
async def approving_what_is_not_pending(side: Side) -> None:
    tools = [gated(side), gated(side, "give")]
    first = side.agent([pay(1, "c9", "give")], tools=tools)
    stranger = (await side.run(first, "hi")).interruptions[0]
    agent = side.agent([pay(1)], [text("x")], tools=tools)
    result = await side.run(agent, "hi")
    await decided(side, agent, result, lambda state, items: state.approve(stranger))


@scenario(DECIDE)
async def states_of_one_result_share_no_decisions(side: Side) -> None:
    agent = side.agent([pay(1)], [text("x")], tools=[gated(side)])
    result = await side.run(agent, "hi")
    one, two = result.to_state(), result.to_state()
    one.approve(one.get_interruptions()[0])
    await side.run(agent, two)
    await side.run(agent, one)


@scenario(DECIDE)
async def decisions_read_from_the_context(side: Side) -> None:
    agent = side.agent([pay(1), pay(2, "c2")], tools=[gated(side)])
    result = await side.run(agent, "hi")
    wrapper = result.context_wrapper
    first, second = result.interruptions
    side.note(wrapper.is_tool_approved("pay", "c1"))
    wrapper.approve_tool(first)
    wrapper.reject_tool(second, rejection_message="not this one")
    side.note(wrapper.is_tool_approved("pay", "c1"))
    side.note(wrapper.is_tool_approved("pay", "c2"))
    side.note(wrapper.get_rejection_message("pay", "c2"))


@scenario(REJECTION)
async def rejected_with_a_message(side: Side) -> None:
    def reject(state: Any, items: Any) -> None:
        state.reject(items[0], rejection_message="Too much.")

    agent = side.agent([pay(5)], [text("x")], tools=[gated(side)])
    config = side.RunConfig(tool_error_formatter=lambda args: "never used")
    result = await side.run(agent, "hi")
    await decided(side, agent, result, reject, run_config=config)


@scenario(REJECTION)
async def sticky_rejection_with_a_message(side: Side) -> None:
    def reject(state: Any, items: Any) -> None:
        state.reject(items[0], always_reject=True, rejection_message="Never.")

    agent = side.agent(
        [pay(1, "c1"), pay(2, "c2")], [pay(3, "c3")], [text("x")], tools=[gated(side)]
    )
    await decided(side, agent, await side.run(agent, "hi"), reject)


@scenario(REJECTION)
async def rejection_in_the_formatters_words(side: Side) -> None:
    def words(args: Any) -> str:
        side.note(args.kind, args.tool_name, args.call_id, args.tool_type)
        side.note(args.default_message, args.run_context.context)
        return f"{args.tool_name} is not for you"

    agent = side.agent([pay(5)], [text("x")], tools=[gated(side)])
    config = side.RunConfig(tool_error_formatter=words)
    result = await side.run(agent, "hi", context={"a": 1})
    await decided(side, agent, result, reject_all, run_config=config)


@scenario(REJECTION)
async def rejection_when_the_formatter_says_nothing(side: Side) -> None:
    async def nothing(args: Any) -> None:
        return None

    agent = side.agent([pay(5)], [text("x")], tools=[gated(side)])
    config = side.RunConfig(tool_error_formatter=nothing)
    result = await side.run(agent, "hi")
    await decided(side, agent, result, reject_all, run_config=config)


@scenario(REJECTION)
async def rejection_when_the_formatter_raises(side: Side) -> None:
    def broken(args: Any) -> str:
        raise ValueError("no words")

    agent = side.agent([pay(5)], [text("x")], tools=[gated(side)])
    config = side.RunConfig(tool_error_formatter=broken)
    result = await side.run(agent, "hi")
    await decided(side, agent, result, reject_all, run_config=config)


@scenario(REJECTION)
async def rejected_call_ends_a_run_that_stops_on_tools(side: Side) -> None:
    agent = side.agent(
        [pay(5)], tools=[gated(side)], tool_use_behavior="stop_on_first_tool"
    )
    await decided(side, agent, await side.run(agent, "hi"), reject_all)


@scenario(REJECTION)
async def approved_call_ends_a_run_that_stops_on_tools(side: Side) -> None:
    agent = side.agent(
        [pay(5)], tools=[gated(side)], tool_use_behavior="stop_on_first_tool"
    )
    await decided(side, agent, await side.run(agent, "hi"), approve_all)
