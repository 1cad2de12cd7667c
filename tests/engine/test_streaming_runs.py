"""Streamed runs: what is told, how they end, and that the result is whole then."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runs.engine import (
    InMemoryJournal,
    MaxTurnsExceeded,
    Ports,
    Runner,
    RunState,
    RunStopped,
    UserError,
    function_tool,
)
from runs.engine.testing import ModelStep

from .scripted import (
    END,
    Support,
    call,
    call_ids,
    look_up,
    model_of,
    refund,
    reread,
    scripted,
    waiting,
)

pytestmark = pytest.mark.usefixtures("nothing_left")


def names(events: list[Any]) -> list[str]:
    """Return what is told of the run; the model's own events are left out."""
    found = [getattr(event, "name", event.type) for event in events]
    return [name for name in found if name != "raw_response_event"]


async def test_a_result_is_given_at_once_and_whole_after_its_events() -> None:
    support = Support([look_up("c1")], END)

    stream = Runner.run_streamed(support.agent, "go")
    assert (stream.is_complete, stream.final_output) == (False, None)
    assert stream.current_agent is support.agent
    events = [event async for event in stream.stream_events()]

    assert names(events) == [
        "agent_updated_stream_event",
        "turn_started_stream_event",
        "tool_called",
        "tool_output",
        "turn_started_stream_event",
        "message_output_created",
    ]
    assert (stream.is_complete, stream.final_output) == (True, "end")
    assert stream.current_turn == 2
    assert stream.run_loop_exception is None
    assert stream.run_loop_task.done()
    assert len(stream.raw_responses) == 2
    assert stream.usage.requests == 2


async def test_what_is_streamed_is_what_a_plain_run_gives() -> None:
    def run() -> Support:
        return Support([look_up("c1"), refund("c2")], END)

    plain = (await Runner.run(run().agent, "go")).to_state().to_json()
    stream = Runner.run_streamed(run().agent, "go")
    [event async for event in stream]
    streamed = stream.to_state().to_json()

    for state in (plain, streamed):
        for key in ("run_id", "trace"):
            state.pop(key)
    assert streamed == plain


async def test_events_may_be_read_after_the_run_and_again() -> None:
    stream = Runner.run_streamed(scripted(END), "go")
    await stream.run_loop_task

    first = [event async for event in stream.stream_events()]
    again = [event async for event in stream.stream_events()]

    assert names(first)[-1] == "message_output_created"
    assert again == []


async def test_a_paused_stream_ends_and_goes_on_without_repeating() -> None:
    support = Support([look_up("c0"), refund("c1")], END)
    stream = Runner.run_streamed(support.agent, "go")
    first = [event async for event in stream]
    assert (stream.is_complete, stream.final_output) == (True, None)
    assert call_ids(stream.interruptions) == ["c1"]

    state = await reread(support.agent, stream.to_state())
    state.approve(waiting(state))
    stream = Runner.run_streamed(support.agent, state)
    second = [event async for event in stream]

    assert names(first).count("tool_called") == 2
    assert names(second) == [
        "agent_updated_stream_event",
        "approval_resolved",
        "tool_output",
        "turn_started_stream_event",
        "message_output_created",
    ]
    assert stream.final_output == "end"


async def test_a_handoff_is_told_before_its_agent_speaks() -> None:
    other = scripted(END, name="Other")
    agent = scripted([call("transfer_to_other", "h1")], handoffs=[other])

    stream = Runner.run_streamed(agent, "go")
    events = [event async for event in stream]

    told = names(events)
    assert told.index("handoff_requested") < told.index("handoff_occured")
    updated = [e for e in events if e.type == "agent_updated_stream_event"]
    assert [event.new_agent for event in updated] == [agent, other]
    assert stream.current_agent is other


# Ends


def hanging(started: asyncio.Event) -> Any:
    @function_tool
    async def hang() -> str:
        started.set()
        await asyncio.get_running_loop().create_future()
        return ""

    return hang


async def test_cancelling_at_once_ends_the_stream_and_the_state_can_be_kept() -> None:
    started = asyncio.Event()
    agent = scripted([call("hang", "c1")], END, tools=[hanging(started)])
    journal = InMemoryJournal()
    stream = Runner.run_streamed(agent, "go", ports=Ports(journal=journal))
    async with asyncio.timeout(60):
        await started.wait()
        stream.cancel()
        [event async for event in stream]

    assert stream.is_complete
    assert stream.final_output is None
    assert stream.run_loop_exception is None
    state = await reread(agent, stream.to_state())
    async with asyncio.timeout(60):
        result = await Runner.run(agent, state, ports=Ports(journal=journal))
    assert call_ids(result.interruptions) == ["c1"]  # in doubt: a person decides
    left = result.to_state()
    left.respond(waiting(left), "it was done")
    result = await Runner.run(agent, left, ports=Ports(journal=journal))
    assert result.final_output == "end"


async def test_cancelling_while_the_model_answers_loses_that_answer_only() -> None:
    asked = asyncio.Event()

    async def hang(request: Any) -> Any:
        asked.set()
        await asyncio.get_running_loop().create_future()

    support = Support([look_up("c1")], ModelStep.respond(hang), END)
    stream = Runner.run_streamed(support.agent, "go")
    async with asyncio.timeout(60):
        await asked.wait()
        stream.cancel()
        [event async for event in stream]
        result = await Runner.run(
            support.agent, await reread(support.agent, stream.to_state())
        )

    assert result.final_output == "end"
    assert support.done == ["look_up A1"]


async def test_cancelling_after_the_turn_lets_its_calls_end() -> None:
    release, started = asyncio.Event(), asyncio.Event()

    @function_tool
    async def slow() -> str:
        started.set()
        await release.wait()
        return "done"

    agent = scripted([call("slow", "c1")], END, tools=[slow])
    stream = Runner.run_streamed(agent, "go")
    async with asyncio.timeout(60):
        await started.wait()
        stream.cancel("after_turn")
        release.set()
        events = [event async for event in stream]

    assert names(events)[-1] == "tool_output"
    assert len(model_of(agent).calls) == 1
    assert (stream.final_output, stream.interruptions) == (None, [])
    result = await Runner.run(agent, await reread(agent, stream.to_state()))
    assert result.final_output == "end"


async def test_an_unknown_way_to_cancel_is_refused() -> None:
    stream = Runner.run_streamed(scripted(END), "go")

    with pytest.raises(UserError, match="after_turn"):
        stream.cancel("soon")  # type: ignore[arg-type]
    await stream.aclose()


async def test_a_stream_that_nobody_reads_ends_all_the_same() -> None:
    support = Support([look_up("c1")], END)
    stream = Runner.run_streamed(support.agent, "go")

    await stream.run_loop_task

    assert stream.final_output == "end"


async def test_leaving_the_stream_early_and_closing_it_leaves_nothing() -> None:
    started = asyncio.Event()
    agent = scripted([call("hang", "c1")], END, tools=[hanging(started)])
    stream = Runner.run_streamed(agent, "go")
    async for _ in stream:
        break
    await started.wait()

    await stream.aclose()

    assert stream.is_complete


async def test_closing_before_the_run_began_leaves_nothing() -> None:
    stream = Runner.run_streamed(scripted(END), "go")

    await stream.aclose()

    assert stream.is_complete
    assert [event async for event in stream] == []


async def test_an_error_comes_after_the_events_before_it_each_time_it_is_read() -> None:
    support = Support([look_up("c1")], END)
    stream = Runner.run_streamed(support.agent, "go", max_turns=1)
    seen: list[Any] = []

    async def read() -> None:
        async for event in stream:
            seen.append(event)

    with pytest.raises(MaxTurnsExceeded) as error:
        await read()
    with pytest.raises(MaxTurnsExceeded):
        await read()

    assert names(seen)[-1] == "tool_output"
    assert stream.run_loop_exception is error.value
    assert error.value.run_state is not None
    assert stream.is_complete


async def test_a_stopped_stream_goes_on_from_its_state() -> None:
    started, release = asyncio.Event(), asyncio.Event()

    @function_tool
    async def slow() -> str:
        started.set()
        await release.wait()
        return "done"

    agent = scripted([call("slow", "c1")], END, tools=[slow])
    stream = Runner.run_streamed(agent, "go")
    await started.wait()
    stream.stop()
    release.set()
    with pytest.raises(RunStopped) as error:
        [event async for event in stream]

    left = error.value.run_state
    assert left is not None
    result = await Runner.run(agent, await reread(agent, left))
    assert result.final_output == "end"
    assert len(model_of(agent).calls) == 2


async def test_a_stop_before_anything_asks_no_model() -> None:
    agent = scripted(END)
    stream = Runner.run_streamed(agent, "go")
    stream.stop()

    with pytest.raises(RunStopped):
        [event async for event in stream]

    assert model_of(agent).calls == []


async def test_a_mistake_is_raised_at_once_and_starts_nothing() -> None:
    with pytest.raises(UserError):
        Runner.run_streamed(scripted(END), "go", max_turns=0)


async def test_states_taken_while_it_runs_are_whole() -> None:
    support = Support([look_up("c1")], [look_up("c2")], END)
    stream = Runner.run_streamed(support.agent, "go")
    texts: list[str] = []

    async for _ in stream:
        texts.append(stream.to_state().to_string())

    for text in texts:
        assert await RunState.from_string(support.agent, text)


async def test_the_same_object_resumed_after_its_end_does_nothing_more() -> None:
    support = Support([refund("c1")], END)
    stream = Runner.run_streamed(support.agent, "go")
    [event async for event in stream]
    state = stream.to_state()
    state.approve(waiting(state))
    await Runner.run(support.agent, state)

    result = await Runner.run(support.agent, state)

    assert result.final_output == "end"
    assert support.done == ["refund A1 5.0"]
