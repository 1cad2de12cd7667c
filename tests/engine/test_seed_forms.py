"""The forms the seed documents use, each beside the SDK's: ENGINE.md section 4."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from runs.engine import (
    Agent,
    MaxTurnsExceeded,
    NoOpTrace,
    RunConfig,
    Runner,
    RunState,
    RunStateVersionError,
    SessionSettings,
    SQLiteSession,
    Usage,
    UserError,
    default_result_processor,
    migrate_state,
    run_agent,
    set_agent_registry,
)
from runs.engine.state.migrate import version_pair
from runs.engine.testing import ModelStep, assistant_message

from .scripted import (
    END,
    Support,
    approved,
    call_ids,
    look_up,
    paused,
    refund,
    reread,
    scripted,
    waiting,
)

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture
def registry() -> Iterator[dict[str, Agent[Any]]]:
    agents: dict[str, Agent[Any]] = {}
    set_agent_registry(agents.get)
    yield agents
    set_agent_registry(None)


# Reading a state


@pytest.mark.parametrize("form", ["dict", "text"])
@pytest.mark.parametrize("named", [True, False])
async def test_from_json_takes_a_dict_or_a_text_with_or_without_its_agent(
    form: str, named: bool, registry: dict[str, Agent[Any]]
) -> None:
    support = Support([refund("c1")], END)
    registry["Support"] = support.agent
    state = await paused(support.agent)
    data: Any = state.to_json() if form == "dict" else state.to_string()

    given = (support.agent, data) if named else (data,)
    again = await RunState.from_json(*given)

    assert again.to_json() == state.to_json()


async def test_a_state_of_an_agent_that_no_registry_knows_is_refused(
    registry: dict[str, Agent[Any]],
) -> None:
    data = (await paused(Support([refund("c1")]).agent)).to_json()

    with pytest.raises(UserError, match="set_agent_registry"):
        await RunState.from_json(data)


async def test_a_state_with_something_else_for_its_agent_is_refused() -> None:
    data = (await paused(Support([refund("c1")]).agent)).to_json()

    with pytest.raises(UserError, match="root agent first"):
        await RunState.from_json(data, data)


async def test_to_json_is_a_dict_and_to_string_its_text() -> None:
    state = await paused(Support([refund("c1")]).agent)

    assert isinstance(state.to_json(), dict)
    assert json.loads(state.to_string()) == state.to_json()
    assert '\n  "$schemaVersion"' in state.to_string()


# Context serializers


@dataclass
class Customer:
    name: str


def as_text(customer: Customer) -> str:
    return json.dumps({"n": customer.name})


def of_text(text: str) -> Customer:
    return Customer(json.loads(text)["n"])


def as_mapping(customer: Customer) -> dict[str, Any]:
    return {"n": customer.name}


def of_mapping(data: Any) -> Customer:
    return Customer(data["n"])


@pytest.mark.parametrize(
    ("write", "read"), [(as_text, of_text), (as_mapping, of_mapping)]
)
async def test_serializers_given_to_the_run_are_remembered(
    write: Any, read: Any
) -> None:
    support = Support([refund("c1")], END)
    state = await paused(
        support.agent, context=Customer("ada"), context_serializer=write
    )

    text = state.to_string(strict_context=True)
    again = await RunState.from_string(support.agent, text, context_deserializer=read)

    assert again.context.context == Customer("ada")


async def test_a_deserializer_given_on_resume_reads_what_the_state_stored() -> None:
    seen: list[Any] = []
    support = Support([refund("c1")], END)

    def instructions(ctx: Any, agent: Any) -> str:
        seen.append(ctx.context)
        return ""

    support.agent.instructions = instructions
    state = await paused(
        support.agent, context=Customer("ada"), context_serializer=as_text
    )

    await approved(
        support.agent,
        await reread(support.agent, state),
        context_deserializer=of_text,
    )

    assert seen == [Customer("ada"), Customer("ada")]


async def test_a_deserializer_does_not_read_a_context_that_was_given() -> None:
    def never(stored: Any) -> Any:
        raise AssertionError(stored)

    support = Support([refund("c1")], END)
    state = await paused(support.agent, context={"n": "x"}, context_deserializer=never)
    result = await approved(
        support.agent, state, context={"n": "y"}, context_deserializer=never
    )

    assert result.context_wrapper.context == {"n": "y"}


# Decisions and what waits


async def test_the_states_context_decides() -> None:
    support = Support([refund("c1"), refund("c2")], END)
    state = await paused(support.agent)
    first, second = state.get_interruptions()

    state.context.approve_tool(first)
    state.context.reject_tool(second, rejection_message="no")

    assert state.context.is_tool_approved("refund", "c1") is True
    assert state.context.is_tool_approved("refund", "c2") is False
    assert state.context.get_rejection_message("refund", "c2") == "no"
    assert (await Runner.run(support.agent, state)).final_output == "end"
    assert support.done == ["refund A1 5.0"]


async def test_a_context_of_no_run_decides_nothing() -> None:
    from runs.engine import RunContextWrapper

    state = await paused(Support([refund("c1")]).agent)

    with pytest.raises(RuntimeError, match="does not belong to a run"):
        RunContextWrapper(context=None).approve_tool(waiting(state))


async def test_an_interruption_has_its_arguments_under_both_names() -> None:
    state = await paused(Support([refund("c1")]).agent)
    item = waiting(state)

    assert item.tool_arguments == item.arguments
    assert json.loads(str(item.arguments)) == {"order_id": "A1", "amount_eur": 5.0}
    assert (item.tool_name, item.name, item.call_id) == ("refund", "refund", "c1")


# Looking into a state


async def test_a_state_can_be_looked_into() -> None:
    support = Support([look_up("c0"), look_up("c1")], [refund("c2")], END)
    state = await reread(support.agent, await paused(support.agent))

    assert state.agent is support.agent
    assert [item.type for item in state.all_items] == [
        "input_item",
        "tool_call_item",
        "tool_call_item",
        "tool_call_output_item",
        "tool_call_output_item",
        "tool_call_item",
    ]
    assert state.new_items == state.all_items[1:]
    assert [len(answer.output) for answer in state.model_responses] == [2, 1]
    assert state.usage.requests == 2
    assert state.tool_use_tracker.tool_counts == {"look_up": 2, "refund": 1}
    assert state.tool_use_tracker.total_calls == 3
    assert state.get_tool_use_tracker_snapshot() == {
        "Support": ["look_up", "look_up", "refund"]
    }
    assert state.input_guardrail_results == state.output_guardrail_results == []
    assert call_ids(state.get_interruptions()) == ["c2"]


async def test_what_is_looked_at_changes_nothing_in_the_state() -> None:
    support = Support([refund("c1")], END)
    state = await paused(support.agent)

    state.all_items.clear()
    state.new_items.clear()
    state.model_input().clear()
    state.get_interruptions().clear()
    state.get_interruptions()[0].raw["arguments"] = "{}"
    state.get_tool_use_tracker_snapshot().clear()
    state.get_tool_use_tracker_snapshot()["Support"].clear()

    assert await reread(support.agent, state)
    await approved(support.agent, state)
    assert support.done == ["refund A1 5.0"]


async def test_the_tool_use_of_a_state_may_be_set() -> None:
    support = Support([refund("c1")], END)
    state = await paused(support.agent)

    state.set_tool_use_tracker_snapshot({"Support": ["x", "x"]})

    again = await reread(support.agent, state)
    assert again.tool_use_tracker.tool_counts == {"x": 2}


# Errors and turns


async def test_an_exceeded_run_has_its_state_under_both_names() -> None:
    support = Support([look_up("c1")], END)

    with pytest.raises(MaxTurnsExceeded) as error:
        await Runner.run(support.agent, "go", max_turns=1)

    assert error.value.state is error.value.run_state is not None
    assert error.value.run_data is not None
    result = await Runner.run(support.agent, error.value.run_state, max_turns=20)
    assert result.final_output == "end"


async def test_max_turns_of_none_knows_no_limit() -> None:
    support = Support(*[[look_up(f"c{n}")] for n in range(30)], END)

    result = await Runner.run(support.agent, "go", max_turns=None)

    assert (result.final_output, result.max_turns) == ("end", None)


@pytest.mark.parametrize("turns", [0, -1, "3", 2.5])
async def test_turns_that_are_no_number_of_turns_are_refused(turns: Any) -> None:
    with pytest.raises(UserError, match="max_turns"):
        await Runner.run(scripted(END), "go", max_turns=turns)


@pytest.mark.parametrize(
    ("older", "newer"), [("1.9", "1.10"), ("1.10", "2.0"), ("9.9", "10.0")]
)
def test_versions_compare_as_pairs_of_numbers(older: str, newer: str) -> None:
    assert version_pair(older) < version_pair(newer)


def test_a_newer_version_is_a_users_error_with_both_versions() -> None:
    with pytest.raises(UserError) as error:
        migrate_state({"$schemaVersion": "99.1"})

    assert isinstance(error.value, RunStateVersionError)
    assert (error.value.found, error.value.supported) == ("99.1", "1.1")


@pytest.mark.parametrize(
    "handler",
    [
        lambda data: f"{type(data.error).__name__} of {data.run_data.last_agent.name}",
        lambda ctx, error: f"{type(error).__name__} of Support",
    ],
)
async def test_error_handlers_take_one_argument_or_two(handler: Any) -> None:
    support = Support([look_up("c1")])

    result = await Runner.run(
        support.agent, "go", max_turns=1, error_handlers={"max_turns": handler}
    )

    assert result.final_output == "MaxTurnsExceeded of Support"


# Results


async def test_a_result_has_its_trace_and_its_usage_under_the_seeds_names() -> None:
    usage = Usage(requests=1, input_tokens=3, output_tokens=4, total_tokens=7)
    agent = scripted(ModelStep(output=[assistant_message("end")], usage=usage))

    result = await Runner.run(agent, "go", run_config={"trace_id": "trace_" + "1" * 32})

    assert result.trace is not None
    assert result.trace.trace_id == "trace_" + "1" * 32
    assert result.usage is result.context_wrapper.usage
    assert (result.usage.request_tokens, result.usage.response_tokens) == (3, 4)
    assert result.output == result.final_output == "end"


async def test_the_trace_of_a_result_without_tracing_says_nothing() -> None:
    result = await Runner.run(
        scripted(END), "go", run_config=RunConfig(tracing_disabled=True)
    )

    assert isinstance(result.trace, NoOpTrace)


async def test_a_streaming_result_is_its_own_events() -> None:
    stream = Runner.run_streamed(scripted(END), "go")

    names = [getattr(event, "name", event.type) async for event in stream]

    assert names[-1] == "message_output_created"
    assert stream.final_output == "end"


# Sessions


async def test_a_session_needs_no_id_and_takes_its_path_by_name(tmp_path: Any) -> None:
    session = SQLiteSession(db_path=tmp_path / "s.db")

    await Runner.run(scripted(END), "go", session=session)

    assert len(await session.get_items()) == 2
    session.close()


@pytest.mark.parametrize(
    "settings",
    [SessionSettings(max_items=1), SessionSettings(limit=1)],
)
async def test_session_settings_limit_what_a_run_reads(settings: Any) -> None:
    agent = scripted(END, END)
    config, session = RunConfig(), SQLiteSession("s")
    await session.add_items(
        [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
        ]
    )

    await Runner.run(
        agent, "three", session=session, session_settings=settings, run_config=config
    )

    assert [item["content"] for item in agent.model.last_call.input] == [  # type: ignore[union-attr]
        "two",
        "three",
    ]
    assert config.session_settings is None


def test_session_settings_refuse_names_they_do_not_know() -> None:
    with pytest.raises(TypeError, match="nonsense"):
        SessionSettings(**{"nonsense": 1})


@pytest.mark.parametrize(
    "server",
    [
        {"conversation_id": "conv_1"},
        {"previous_response_id": "resp_1"},
        {"auto_previous_response_id": True},
    ],
)
async def test_a_session_and_a_servers_conversation_exclude_each_other(
    server: dict[str, Any],
) -> None:
    with pytest.raises(UserError, match="give one of them"):
        await Runner.run(scripted(END), "go", session=SQLiteSession("s"), **server)


# What is refused


async def test_a_sandbox_is_refused_clearly() -> None:
    with pytest.raises(UserError, match="sandbox"):
        RunConfig(sandbox=object())
    with pytest.raises(UserError, match="sandbox"):
        await Runner.run(scripted(END), "go", run_config={"sandbox": object()})
    with pytest.raises(TypeError, match="RunConfig"):
        await Runner.run(scripted(END), "go", run_config=object())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given", [None, 7, {"role": "user"}, b"go", object(), [7], ["go"], [None]]
)
async def test_what_is_no_input_is_refused_at_once(given: Any) -> None:
    agent = scripted(END)

    with pytest.raises((UserError, TypeError)):
        await Runner.run(agent, given)
    with pytest.raises((UserError, TypeError)):
        Runner.run_streamed(agent, given)


async def test_what_is_no_agent_is_refused_at_once() -> None:
    with pytest.raises((UserError, TypeError)):
        await Runner.run("Support", "go")  # type: ignore[arg-type]


async def test_deciding_on_something_that_is_no_item_is_refused() -> None:
    state = await paused(Support([refund("c1")]).agent)

    with pytest.raises(TypeError, match="get_interruptions"):
        state.approve("c1")  # type: ignore[arg-type]


# Helpers


async def test_run_agent_runs_pauses_and_goes_on() -> None:
    support = Support([refund("c1")], END)

    result = await run_agent(support.agent, "go", None, False)
    state = result.to_state()
    state.approve(waiting(state))
    result = await run_agent(support.agent, state, None, True, default_result_processor)

    assert result.output == "end"
    assert support.done == ["refund A1 5.0"]
