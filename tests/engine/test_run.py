"""The run loop through its public door: pauses, decisions, retries, stops."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import openai
import pytest

from runs.engine import (
    Agent,
    Call,
    Claim,
    FunctionTool,
    InMemoryGate,
    InMemoryJournal,
    MaxTurnsExceeded,
    ModelBehaviorError,
    ModelCallError,
    ModelRetryBackoffSettings,
    ModelRetrySettings,
    ModelSettings,
    Ports,
    RunConfig,
    Runner,
    RunState,
    RunStopped,
    UserError,
    Verdict,
    VerdictKind,
    function_tool,
)
from runs.engine.testing import (
    ModelStep,
    ScriptedModel,
    assistant_message,
    function_call,
)

from .conftest import FakeClock

APPROVE = Verdict(kind=VerdictKind.APPROVE)


class Shop:
    """An agent with a gated and an ungated tool, and what they have done."""

    def __init__(self, *steps: Any, **settings: Any) -> None:
        self.done: list[str] = []
        self.model = ScriptedModel(steps=steps)
        self.agent: Agent[Any] = Agent(
            name="Shop",
            tools=[self.refund(), self.look()],
            model=self.model,
            **settings,
        )

    def refund(self) -> FunctionTool:
        @function_tool(needs_approval=True)
        async def refund(order: str) -> str:
            self.done.append(f"refund {order}")
            return f"refunded {order}"

        return refund

    def look(self) -> FunctionTool:
        @function_tool
        async def look(order: str) -> str:
            self.done.append(f"look {order}")
            return f"saw {order}"

        return look

    def outputs(self) -> dict[str, str]:
        """What the model was last told, by call id."""
        assert self.model.last_call is not None
        return {
            item["call_id"]: item["output"]
            for item in self.model.last_call.input
            if item.get("type") == "function_call_output"
        }


def refund(call_id: str, order: str = "1") -> Any:
    return function_call("refund", {"order": order}, call_id=call_id)


def look(call_id: str, order: str = "1") -> Any:
    return function_call("look", {"order": order}, call_id=call_id)


END = [assistant_message("end")]


async def paused(shop: Shop, **options: Any) -> RunState[Any]:
    result = await Runner.run(shop.agent, "go", **options)
    assert result.final_output is None
    return result.to_state()


async def test_a_run_without_calls_ends_with_the_models_text() -> None:
    shop = Shop([assistant_message("hello")])

    result = await Runner.run(shop.agent, "hi")

    assert result.final_output == "hello"
    assert result.interruptions == []
    assert [item.type for item in result.new_items] == ["message_output_item"]
    assert result.to_input_list()[0] == {"role": "user", "content": "hi"}


def test_run_sync_runs_where_no_loop_does() -> None:
    shop = Shop([assistant_message("hello")])

    assert Runner.run_sync(shop.agent, "hi").final_output == "hello"


async def test_run_sync_is_refused_where_a_loop_runs() -> None:
    with pytest.raises(RuntimeError, match="await"):
        Runner.run_sync(Shop(END).agent, "hi")


async def test_ungated_calls_run_before_the_pause_and_once() -> None:
    shop = Shop([look("c0"), refund("c1"), look("c2", "2")], END)
    state = await paused(shop)

    assert sorted(shop.done) == ["look 1", "look 2"]
    assert [item.call_id for item in state.get_interruptions()] == ["c1"]
    state.approve(state.get_interruptions()[0])
    result = await Runner.run(shop.agent, state)

    assert result.final_output == "end"
    assert shop.done[2:] == ["refund 1"]
    assert list(shop.outputs()) == ["c0", "c2", "c1"]


async def test_parallel_calls_run_side_by_side() -> None:
    meeting = asyncio.Barrier(2)

    @function_tool
    async def meet(who: str) -> str:
        await meeting.wait()
        return who

    calls = [function_call("meet", {"who": str(n)}, call_id=f"c{n}") for n in (1, 2)]
    agent: Agent[Any] = Agent(
        name="A", tools=[meet], model=ScriptedModel(steps=[calls, END])
    )

    async with asyncio.timeout(60):
        result = await Runner.run(agent, "go")

    assert result.final_output == "end"


async def test_partial_decisions_run_what_is_decided_and_ask_no_model() -> None:
    shop = Shop([refund("c1"), refund("c2", "2")], END)
    state = await paused(shop)
    first, second = state.get_interruptions()

    state.approve(second)
    result = await Runner.run(shop.agent, state)

    assert shop.done == ["refund 2"]
    assert [item.call_id for item in result.interruptions] == ["c1"]
    assert len(shop.model.calls) == 1
    state = result.to_state()
    state.reject(state.get_interruptions()[0])
    result = await Runner.run(shop.agent, state)
    assert result.final_output == "end"
    assert first.call_id == "c1"


async def test_resuming_with_nothing_decided_changes_nothing() -> None:
    shop = Shop([refund("c1")], END)
    state = await paused(shop)

    result = await Runner.run(shop.agent, state)

    assert [item.call_id for item in result.interruptions] == ["c1"]
    assert len(shop.model.calls) == 1
    assert shop.done == []


async def test_a_rejection_tells_the_model_the_most_special_text_there_is() -> None:
    shop = Shop([refund("c1"), refund("c2")], END)
    state = await paused(shop)
    first, second = state.get_interruptions()
    state.reject(first, rejection_message="not today")
    state.reject(second)
    config = RunConfig(tool_error_formatter=lambda args: f"{args.tool_name}: no")

    await Runner.run(shop.agent, state, run_config=config)

    assert shop.outputs() == {"c1": "not today", "c2": "refund: no"}
    assert shop.done == []


async def test_always_covers_siblings_and_later_turns_but_not_a_single_decision() -> (
    None
):
    shop = Shop([refund("c1"), refund("c2", "2")], [refund("c3", "3")], END)
    state = await paused(shop)
    first, second = state.get_interruptions()

    state.approve(first, always_approve=True)
    state.reject(second)
    result = await Runner.run(shop.agent, state)

    assert result.final_output == "end"
    assert shop.done == ["refund 1", "refund 3"]


async def test_always_reject_then_one_approval_runs_that_one() -> None:
    shop = Shop([refund("c1"), refund("c2", "2")], END)
    state = await paused(shop)
    first, second = state.get_interruptions()

    state.reject(first, always_reject=True, rejection_message="never")
    state.approve(second)
    await Runner.run(shop.agent, state)

    assert shop.done == ["refund 2"]
    assert shop.outputs()["c1"] == "never"


async def test_the_last_decision_on_a_call_wins() -> None:
    shop = Shop([refund("c1")], END)
    state = await paused(shop)
    [item] = state.get_interruptions()

    state.approve(item)
    state.reject(item)
    await Runner.run(shop.agent, state)

    assert shop.done == []


async def test_a_persons_answer_stands_for_the_output() -> None:
    shop = Shop([refund("c1")], END)
    state = await paused(shop)

    state.respond(state.get_interruptions()[0], "paid in cash")
    await Runner.run(shop.agent, state)

    assert shop.done == []
    assert "paid in cash" in shop.outputs()["c1"]
    assert "person" in shop.outputs()["c1"]


async def test_two_states_of_one_result_do_not_share_decisions() -> None:
    shop = Shop([refund("c1")], END)
    result = await Runner.run(shop.agent, "go")
    one, other = result.to_state(), result.to_state()

    one.approve(one.get_interruptions()[0], always_approve=True)

    assert [item.call_id for item in other.get_interruptions()] == ["c1"]
    assert one.get_interruptions() == []


async def test_deciding_something_that_is_not_pending_changes_nothing() -> None:
    shop = Shop([refund("c1")], END)
    state = await paused(shop)
    [item] = state.get_interruptions()
    other = await paused(Shop([refund("c1", "999")], END))

    state.approve(other.get_interruptions()[0])

    assert [left.call_id for left in state.get_interruptions()] == [item.call_id]


@pytest.mark.parametrize("arguments", ["", "{", "null", "[]", '"x"', '{"order": NaN}'])
async def test_malformed_arguments_pause_unasked_and_never_run(arguments: str) -> None:
    asked: list[Any] = []
    shop = Shop([function_call("refund", arguments, call_id="c1")], END)
    shop.agent.tools[0].needs_approval = lambda ctx, args, call: asked.append(args)
    state = await paused(shop)

    state.approve(state.get_interruptions()[0])
    await Runner.run(shop.agent, state)

    assert asked == []
    assert shop.done == []
    assert "arguments" in shop.outputs()["c1"].lower()


@pytest.mark.parametrize(
    ("answer", "pauses"), [(True, True), (1, True), (False, False), (None, False)]
)
async def test_needs_approval_may_be_asked_sync_or_async(
    answer: Any, pauses: bool
) -> None:
    async def ask(ctx: Any, arguments: Any, call_id: str) -> Any:
        return (arguments, call_id) == ({"order": "1"}, "c1") and answer

    for rule in (ask, lambda ctx, arguments, call_id: answer):
        shop = Shop([refund("c1")], END)
        shop.agent.tools[0].needs_approval = rule
        result = await Runner.run(shop.agent, "go")

        assert bool(result.interruptions) is pauses


async def test_a_rule_that_raises_pauses_and_says_why() -> None:
    def broken(ctx: Any, arguments: Any, call_id: str) -> bool:
        raise LookupError("no price list")

    shop = Shop([refund("c1")], END)
    shop.agent.tools[0].needs_approval = broken
    state = await paused(shop)

    assert "no price list" in state.get_interruptions()[0].call.why


@pytest.mark.parametrize("call_id", ["", "c1"])
async def test_a_call_id_that_is_empty_or_used_again_ends_the_run(call_id: str) -> None:
    shop = Shop([look("c1")], [look(call_id, "2")], END)

    with pytest.raises(ModelBehaviorError, match="call id"):
        await Runner.run(shop.agent, "go")


async def test_max_turns_leaves_a_state_that_goes_on_with_more() -> None:
    shop = Shop([look("c1")], [look("c2")], END)

    with pytest.raises(MaxTurnsExceeded) as error:
        await Runner.run(shop.agent, "go", max_turns=2)
    state = error.value.run_state
    assert state is not None
    assert error.value.state is state
    result = await Runner.run(shop.agent, state, max_turns=3)

    assert result.final_output == "end"
    assert shop.done == ["look 1", "look 1"]


async def test_a_pause_takes_no_turn() -> None:
    shop = Shop([refund("c1")], END)
    state = await paused(shop, max_turns=2)
    state.approve(state.get_interruptions()[0])

    assert (await Runner.run(shop.agent, state)).final_output == "end"


def fast(max_retries: int = 2) -> ModelSettings:
    backoff = ModelRetryBackoffSettings(initial_delay=1.0, jitter=False)
    return ModelSettings(retry=ModelRetrySettings(max_retries, backoff))


def status_error(status: int, **headers: str) -> openai.APIStatusError:
    request = httpx2.Request("POST", "http://127.0.0.1/v1/responses")
    response = httpx2.Response(status, headers=headers, request=request)
    return openai.APIStatusError(f"status {status}", response=response, body=None)


async def test_a_failure_that_passes_is_retried_with_backoff(clock: FakeClock) -> None:
    shop = Shop(
        ModelStep.raise_error(status_error(500)),
        ModelStep.raise_error(status_error(429, **{"retry-after": "7"})),
        END,
        model_settings=fast(),
    )

    result = await Runner.run(shop.agent, "go", ports=Ports(clock=clock))

    assert result.final_output == "end"
    assert clock.waits == [1.0, 7.0]
    assert result.state.turn == 1


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (status_error(400), 1),
        (status_error(401), 1),
        (status_error(429, **{"retry-after": "600"}), 1),
        (status_error(503), 3),
    ],
)
async def test_a_failure_that_stays_ends_the_run_which_can_be_resumed(
    clock: FakeClock, error: Exception, asked: int
) -> None:
    steps = [ModelStep.raise_error(error)] * asked
    shop = Shop(*steps, END, model_settings=fast())

    with pytest.raises(ModelCallError) as failed:
        await Runner.run(shop.agent, "go", ports=Ports(clock=clock))
    assert failed.value.attempts == asked
    assert failed.value.run_state is not None
    result = await Runner.run(shop.agent, failed.value.run_state)

    assert result.final_output == "end"


async def test_a_stream_that_breaks_off_is_withdrawn_and_asked_again(
    clock: FakeClock,
) -> None:
    shop = Shop(ModelStep.stream([]), END, model_settings=fast())
    journal = InMemoryJournal()
    stream = Runner.run_streamed(
        shop.agent, "go", ports=Ports(clock=clock, journal=journal)
    )

    events = [event async for event in stream.stream_events()]

    attempts = [e.attempt for e in events if e.type == "turn_started_stream_event"]
    assert attempts == [1, 2]
    assert stream.final_output == "end"
    assert [e.kind for e in journal.entries] == ["retry", "item", "response"]


async def test_a_streamed_run_tells_what_happens_in_order() -> None:
    shop = Shop([refund("c1")], END)
    stream = Runner.run_streamed(shop.agent, "go")
    first = [getattr(e, "name", e.type) async for e in stream.stream_events()]
    state = stream.to_state()
    state.approve(state.get_interruptions()[0])
    stream = Runner.run_streamed(shop.agent, state)
    second = [getattr(e, "name", e.type) async for e in stream]

    def told(names: list[str]) -> list[str]:
        return [name for name in names if name != "raw_response_event"]

    assert stream.is_complete
    assert told(first) == [
        "agent_updated_stream_event",
        "turn_started_stream_event",
        "tool_called",
        "approval_requested",
    ]
    assert told(second) == [
        "agent_updated_stream_event",
        "approval_resolved",
        "tool_output",
        "turn_started_stream_event",
        "message_output_created",
    ]


async def test_a_stream_raises_what_ended_the_run() -> None:
    shop = Shop([look("c1")], END)
    stream = Runner.run_streamed(shop.agent, "go", max_turns=1)

    with pytest.raises(MaxTurnsExceeded):
        [event async for event in stream.stream_events()]


async def test_a_decision_while_a_sibling_runs_starts_its_call_at_once() -> None:
    held, running = asyncio.Event(), asyncio.Event()
    shop = Shop([refund("c1"), function_call("hold", {}, call_id="c2")], END)

    @function_tool
    async def hold() -> str:
        running.set()
        await held.wait()
        return "held"

    @function_tool(needs_approval=True)
    async def refund_(order: str) -> str:
        held.set()
        return "refunded"

    refund_.name = "refund"
    shop.agent.tools = [refund_, hold]
    gate = InMemoryGate()
    ports = Ports(gate=gate, journal=InMemoryJournal())
    task = asyncio.create_task(Runner.run(shop.agent, "go", ports=ports))
    await running.wait()

    gate.decide("c1", APPROVE)
    async with asyncio.timeout(60):
        result = await task

    assert result.final_output == "end"


async def test_a_stop_cuts_the_model_and_lets_started_tools_end() -> None:
    started, release = asyncio.Event(), asyncio.Event()

    @function_tool
    async def slow() -> str:
        started.set()
        await release.wait()
        return "done"

    journal = InMemoryJournal()
    model = ScriptedModel(steps=[[function_call("slow", {}, call_id="c1")], END])
    agent: Agent[Any] = Agent(name="A", tools=[slow], model=model)
    stream = Runner.run_streamed(agent, "go", ports=Ports(journal=journal))
    await started.wait()

    stream.stop()
    for _ in range(20):  # until the stop has been noticed
        await asyncio.sleep(0)
    release.set()
    with pytest.raises(RunStopped):
        [event async for event in stream.stream_events()]

    assert journal.entries[-1].payload["raw"]["output"] == "done"
    assert len(model.calls) == 1


async def test_an_approval_that_comes_with_the_stop_starts_nothing() -> None:
    release, running = asyncio.Event(), asyncio.Event()

    @function_tool
    async def hold() -> str:
        running.set()
        await release.wait()
        return "held"

    shop = Shop([refund("c1"), function_call("hold", {}, call_id="c2")], END)
    shop.agent.tools.append(hold)
    gate = InMemoryGate()
    ports = Ports(gate=gate, journal=InMemoryJournal())
    stream = Runner.run_streamed(shop.agent, "go", ports=ports)
    await running.wait()

    gate.decide("c1", APPROVE)
    stream.stop()
    release.set()
    with pytest.raises(RunStopped):
        [event async for event in stream.stream_events()]

    assert shop.done == []


async def test_a_stop_that_the_claim_tells_of_gives_siblings_their_grace_only() -> None:
    running = asyncio.Event()

    @function_tool
    async def hang() -> str:
        running.set()
        await asyncio.get_running_loop().create_future()
        return ""

    class Stopped(InMemoryJournal):
        async def claim(self, state: RunState[Any], call: Call) -> Claim:
            if call.tool == "hang":
                return await super().claim(state, call)
            await running.wait()
            raise RunStopped("The run was stopped.")

    shop = Shop([function_call("hang", {}, call_id="c1"), look("c2")], END)
    shop.agent.tools.append(hang)
    ports = Ports(journal=Stopped())
    stream = Runner.run_streamed(shop.agent, "go", ports=ports, stop_grace_s=0.01)

    async with asyncio.timeout(60):
        with pytest.raises(RunStopped):
            [event async for event in stream.stream_events()]

    assert shop.done == []


async def test_a_stop_gives_a_hanging_tool_its_grace_and_no_more() -> None:
    started = asyncio.Event()

    @function_tool
    async def hang() -> str:
        started.set()
        await asyncio.get_running_loop().create_future()
        return ""

    journal = InMemoryJournal()
    model = ScriptedModel(steps=[[function_call("hang", {}, call_id="c1")]])
    agent: Agent[Any] = Agent(name="A", tools=[hang], model=model)
    stream = Runner.run_streamed(
        agent, "go", ports=Ports(journal=journal), stop_grace_s=0.01
    )
    await started.wait()

    stream.stop()
    with pytest.raises(RunStopped):
        [event async for event in stream.stream_events()]

    assert journal.entries[-1].payload["outcome"] == "unknown"


async def test_one_saved_state_resumed_twice_runs_its_tool_once() -> None:
    shop = Shop([refund("c1")], END, END)
    state = await paused(shop)
    state.approve(state.get_interruptions()[0])
    saved = state.to_string()
    ports = Ports(journal=InMemoryJournal())

    for _ in range(2):
        state = await RunState.from_string(shop.agent, saved)
        result = await Runner.run(shop.agent, state, ports=ports)
        assert result.final_output == "end"

    assert shop.done == ["refund 1"]


async def test_a_state_does_not_start_a_body_twice() -> None:
    shop = Shop([refund("c1")], END)
    state = await paused(shop)
    call: Call = state.get_interruptions()[0].call
    state.mark_started(call)
    state.approve(state.get_interruptions()[0])

    with pytest.raises(UserError, match="attach a journal"):
        await Runner.run(shop.agent, state)

    assert shop.done == []


async def test_input_added_while_paused_is_read_after_the_outputs() -> None:
    shop = Shop([refund("c1")], END)
    state = await paused(shop)
    state.add_input("And hurry.")
    state.approve(state.get_interruptions()[0])

    await Runner.run(shop.agent, state)

    assert shop.model.last_call is not None
    told = shop.model.last_call.input[-2:]
    assert told[0]["type"] == "function_call_output"
    assert told[1] == {"role": "user", "content": "And hurry."}


async def test_another_agent_cannot_resume_the_state() -> None:
    state = await paused(Shop([refund("c1")]))

    with pytest.raises(UserError, match="root agent"):
        await Runner.run(Agent(name="Other"), state)


async def test_usage_adds_up_over_the_turns() -> None:
    shop = Shop([look("c1")], END)

    result = await Runner.run(shop.agent, "go")

    assert result.usage.requests == 2
    assert len(result.raw_responses) == 2


async def test_instructions_may_be_asked_for() -> None:
    shop = Shop(END, instructions=lambda ctx, agent: f"{agent.name} for {ctx.context}")

    await Runner.run(shop.agent, "go", context="ada")

    assert shop.model.last_call is not None
    assert shop.model.last_call.system_instructions == "Shop for ada"


async def test_always_on_one_tool_says_nothing_about_another() -> None:
    @function_tool(needs_approval=True)
    async def pay(order: str) -> str:
        shop.done.append(f"pay {order}")
        return "paid"

    other = function_call("pay", {"order": "9"}, call_id="c2")
    shop = Shop([refund("c1")], [other], END)
    shop.agent.tools.append(pay)
    state = await paused(shop)

    state.approve(state.get_interruptions()[0], always_approve=True)
    result = await Runner.run(shop.agent, state)

    assert shop.done == ["refund 1"]
    assert [item.tool_name for item in result.interruptions] == ["pay"]


async def test_a_model_that_takes_too_long_is_asked_again(clock: FakeClock) -> None:
    async def hang(call: Any) -> Any:
        await asyncio.get_running_loop().create_future()

    settings = fast()
    settings.timeout = 0.01
    shop = Shop(ModelStep.respond(hang), END, model_settings=settings)

    result = await Runner.run(shop.agent, "go", ports=Ports(clock=clock))

    assert result.final_output == "end"
    assert clock.waits == [1.0]


async def test_a_tool_that_does_not_exist_may_end_the_run() -> None:
    shop = Shop([function_call("fly", {}, call_id="c1")], END)
    config = RunConfig(tool_not_found_behavior="raise_error")

    with pytest.raises(ModelBehaviorError, match="'fly'"):
        await Runner.run(shop.agent, "go", run_config=config)


async def test_a_run_that_has_ended_takes_no_input() -> None:
    shop = Shop(END)
    result = await Runner.run(shop.agent, "go")

    with pytest.raises(UserError, match="has ended"):
        result.to_state().add_input("More.")
