"""What only a streamed run can do: be cancelled, break off, be looked at meanwhile."""

from typing import Any

from ..record import event, result
from ..registry import scenario
from ..script import Cut, call, reasoning, refusal, text
from ..sides import Side
from .approvals import approve_all, gated, pay

STREAMING = "Streaming"


@scenario(STREAMING, modes=("streamed",))
async def events_of_every_kind(side: Side) -> None:
    other = side.agent([refusal("no", "m2"), text("x", "m3")], name="other")
    main = side.agent(
        [reasoning("think"), text("one two", "m1"), pay(1, "c1")],
        [call("transfer_to_other", id="c2")],
        tools=[gated(side, needs_approval=False)],
        handoffs=[other],
    )
    await side.run(main, "hi")


async def until(side: Side, agent: Any, stop: Any, mode: str, **options: Any) -> Any:
    """Stream a run and cancel it after the first event that `stop` accepts."""
    run = side.Runner.run_streamed(agent, "hi", **options)
    seen = []
    cancelled = False
    async for each in run.stream_events():
        told = event(each)
        seen.append(told)
        if not cancelled and stop(told):
            cancelled = True
            run.cancel(mode=mode)
    side.note("seen", seen)
    side.note("result", result(side.package, run))
    return run


@scenario(STREAMING, modes=("streamed",))
async def cancelled_after_the_turn(side: Side) -> None:
    tool = gated(side, needs_approval=False)
    agent = side.agent([pay(1)], [text("x")], tools=[tool])
    await until(side, agent, lambda told: "tool_called" in told, "after_turn")


@scenario(STREAMING, modes=("streamed",))
async def resumed_after_a_cancelled_turn(side: Side) -> None:
    tool = gated(side, needs_approval=False)
    agent = side.agent([pay(1)], [text("x")], tools=[tool])
    run = await until(side, agent, lambda told: "tool_called" in told, "after_turn")
    await side.run(agent, run.to_state())


@scenario(STREAMING, modes=("streamed",))
async def cancelled_at_once(side: Side) -> None:
    agent = side.agent([text("one two three")])
    run = side.Runner.run_streamed(agent, "hi")
    async for each in run.stream_events():
        if each.type == "raw_response_event":
            run.cancel()
    side.note(run.is_complete, run.final_output)


@scenario(STREAMING, modes=("streamed",))
async def cancelled_before_reading(side: Side) -> None:
    agent = side.agent([text("one")])
    run = side.Runner.run_streamed(agent, "hi")
    run.cancel()
    seen = [event(each) async for each in run.stream_events()]
    side.note(seen, run.is_complete, run.final_output)


@scenario(STREAMING, modes=("streamed",))
async def session_of_a_cancelled_turn(side: Side) -> None:
    session = side.SQLiteSession("s1")
    tool = gated(side, needs_approval=False)
    agent = side.agent([pay(1)], [text("x")], tools=[tool])
    await until(
        side, agent, lambda told: "tool_called" in told, "after_turn", session=session
    )
    side.note(await session.get_items())


@scenario(STREAMING, modes=("streamed",))
async def stream_that_fails_midway(side: Side) -> None:
    cut = Cut(items=[text("one two")], error=ValueError("torn"))
    await side.run(side.agent(cut, [text("again")]), "hi")


@scenario(STREAMING, modes=("streamed",))
async def stream_that_just_ends(side: Side) -> None:
    await side.run(side.agent(Cut(items=[text("one")]), [text("again")]), "hi")


@scenario(STREAMING, modes=("streamed",))
async def result_before_and_after_the_stream(side: Side) -> None:
    agent = side.agent([pay(1)], [text("x")], tools=[gated(side, needs_approval=False)])
    run = side.Runner.run_streamed(agent, "hi")
    side.note(run.is_complete, run.final_output, run.current_agent.name)
    async for _ in run.stream_events():
        pass
    side.note(run.is_complete, run.final_output, run.current_turn, run.max_turns)
    again = [event(each) async for each in run.stream_events()]
    side.note("read again", again)
    side.note(run.run_loop_exception is None, run.run_loop_task.done())


@scenario(STREAMING, modes=("streamed",))
async def arguments_by_position(side: Side) -> None:
    @side.function_tool
    @side.takes_context
    def who(ctx: Any) -> str:
        return str(ctx.context)

    agent = side.agent([call("who")], [text("x")], tools=[who])
    run = side.Runner.run_streamed(agent, "hi", "ctx", 3)
    async for _ in run.stream_events():
        pass
    side.note("result", result(side.package, run))


@scenario(STREAMING, modes=("streamed",))
async def streamed_pause_resumed_whole(side: Side) -> None:
    agent = side.agent([pay(1)], [text("x")], tools=[gated(side)])
    paused = await side.run(agent, "hi")
    state = await side.restored(agent, paused.to_state())
    approve_all(state, state.get_interruptions())
    side.note("result", result(side.package, await side.Runner.run(agent, state)))


@scenario(STREAMING, modes=("streamed",))
async def error_after_the_events_before_it(side: Side) -> None:
    @side.function_tool(failure_error_function=None)
    def broken() -> str:
        raise ValueError("no")

    agent = side.agent([text("one", "m1"), call("broken")], tools=[broken])
    await side.run(agent, "hi")
