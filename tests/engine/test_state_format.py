"""The state's format: every version for ever, and hostile states (section 5)."""

from __future__ import annotations

import copy
import json
import time
from typing import Any

import pytest

from runs.engine import (
    AgentsException,
    InvalidRunState,
    Runner,
    RunState,
    RunStateVersionError,
    UserError,
    function_tool,
    handoff,
    migrate_state,
    remove_all_tools,
)
from runs.engine.testing import assistant_message, function_call

from .scripted import (
    END,
    Support,
    approved,
    call,
    call_ids,
    fixture,
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


# Version 1.0


async def test_a_paused_state_of_1_0_goes_on() -> None:
    support = Support(END)
    state = await RunState.from_json(support.agent, fixture("state_1_0_paused"))

    # c3 was rejected for good, which covers c2 as well.
    assert state.get_interruptions() == []
    assert state.context.context == {"customer": 7}
    assert [len(answer.output) for answer in state.model_responses] == [3]
    assert [sticky.tool for sticky in state.sticky] == ["refund"]
    result = await Runner.run(support.agent, state)

    assert result.final_output == "end"
    assert support.done == []
    assert support.told() == {
        "c1": "order A1: 20 EUR",
        "c2": "Not A2.",
        "c3": "Not A2.",
    }
    asked = support.model.last_call
    assert asked is not None
    assert asked.input[-1] == {"role": "user", "content": "And say sorry."}


async def test_a_state_of_1_0_does_not_ask_its_input_guardrails_again() -> None:
    from runs.engine import InputGuardrail

    def never(*given: Any) -> Any:
        raise AssertionError(given)

    support = Support(END, input_guardrails=[InputGuardrail(never)])
    state = await RunState.from_json(support.agent, fixture("state_1_0_paused"))

    assert (await approved(support.agent, state)).final_output == "end"


async def test_a_done_state_of_1_0_is_done() -> None:
    support = Support()
    state = await RunState.from_json(support.agent, fixture("state_1_0_done"))

    assert state.is_done
    assert isinstance(state.final_output, str)
    assert state.get_interruptions() == []
    result = await Runner.run(support.agent, state)
    assert result.final_output == state.final_output
    assert support.model.calls == []


@pytest.mark.parametrize("name", ["state_1_0_paused", "state_1_0_done"])
async def test_a_state_of_1_0_is_written_as_the_current_version(name: str) -> None:
    data = fixture(name)
    before = copy.deepcopy(data)

    state = await RunState.from_json(Support().agent, data)

    assert data == before
    written = state.to_json()
    assert written["$schemaVersion"] == "1.1"
    assert (await RunState.from_json(Support().agent, written)).to_json() == written
    assert migrate_state(data)["$schemaVersion"] == "1.1"
    assert data == before


# Version 1.1


async def test_a_parallel_pause_of_1_1_goes_on() -> None:
    support = Support(END)
    state = await RunState.from_json(support.agent, fixture("state_1_1_parallel"))

    assert call_ids(state.get_interruptions()) == ["c2"]
    assert state.sticky[0].tool == "look_up"
    state.approve(waiting(state))
    result = await Runner.run(support.agent, state)

    assert result.final_output == "end"
    # c3 was approved with other arguments, c4 answered by a person.
    assert support.done == ["refund A2 5.0", "refund A9 1.0"]
    assert list(support.told()) == ["c1", "c2", "c3", "c4"]
    assert support.told()["c4"].endswith("by hand")


async def test_a_nested_pause_of_1_1_goes_on() -> None:
    outer, inner = nested_agents()
    model_of(outer).extend([END])
    inner.model.extend([END])
    state = await RunState.from_json(outer, fixture("state_1_1_nested"))

    assert waiting(state).path == ("Boss", "clerk", "Clerk", "refund")
    assert len(state.input_guardrail_results) == 0
    result = await approved(outer, state)

    assert result.final_output == "end"
    assert inner.done == ["refund A1 5.0"]
    assert told(outer) == {"r1": "end"}


async def test_a_pause_behind_a_handoff_of_1_1_goes_on() -> None:
    agent, other = filtered_agents()
    other.model.extend([END])
    state = await RunState.from_json(agent, fixture("state_1_1_handoff"))

    assert state.current_agent is other.agent
    result = await approved(agent, state)

    assert result.final_output == "end"
    assert other.done == ["refund A1 5.0"]
    asked = other.model.last_call
    assert asked is not None
    assert [item.get("type", "message") for item in asked.input] == [
        "message",
        "function_call",
        "function_call_output",
    ]


async def test_a_done_state_of_1_1_is_done() -> None:
    support = Support()
    state = await RunState.from_json(support.agent, fixture("state_1_1_done"))

    assert (state.is_done, state.final_output) == (True, "All done.")
    assert state.usage.requests == 2
    assert state.trace_state is not None
    assert state.server is not None
    assert state.server.conversation_id == "conv_1"
    [given] = state.input_guardrail_results
    assert given.output.output_info == {"words": 1}


@pytest.mark.parametrize("name", ["parallel", "nested", "handoff", "done"])
async def test_a_state_of_1_1_is_written_as_it_was_read(name: str) -> None:
    data = fixture(f"state_1_1_{name}")
    agents = {"nested": nested_agents, "handoff": filtered_agents}
    agent = agents[name]()[0] if name in agents else Support().agent

    state = await RunState.from_json(agent, data)

    assert state.to_json() == data


def nested_agents() -> tuple[Any, Support]:
    inner = Support([refund("c1")], name="Clerk")
    tool = inner.agent.as_tool("clerk", "Does it.")
    outer = scripted([call("clerk", "r1", input="do it")], name="Boss", tools=[tool])
    return outer, inner


def filtered_agents() -> tuple[Any, Support]:
    other = Support([refund("c1")], name="Other")
    own = handoff(other.agent, input_filter=remove_all_tools)
    support = Support(
        [look_up("c0")], [call("transfer_to_other", "h1")], handoffs=[own]
    )
    return support.agent, other


# Versions


@pytest.mark.parametrize(
    "version",
    [
        "1.2",
        "1.10",
        "2.0",
        "1.1.1",
        "1",
        "",
        "x",
        None,
        1.1,
        1,
        [],
        "1.1 ",
        "\u0661.\u0661",
    ],
)
async def test_a_version_nobody_knows_is_named(version: Any) -> None:
    data = fixture("state_1_1_done") | {"$schemaVersion": version}

    with pytest.raises(RunStateVersionError) as error:
        await RunState.from_json(Support().agent, data)

    assert error.value.found == version


async def test_a_state_without_a_version_is_refused() -> None:
    data = fixture("state_1_1_done")
    del data["$schemaVersion"]

    with pytest.raises(UserError):
        await RunState.from_json(Support().agent, data)


# Hostile states


async def hostile(change: Any, name: str = "parallel") -> RunState[Any]:
    data = fixture(f"state_1_1_{name}")
    change(data)
    return await RunState.from_json(Support(END).agent, data)


@pytest.mark.parametrize("key", ["__proto__", "__class__", "constructor", "é\x00"])
async def test_keys_nobody_knows_are_read_over_everywhere(key: str) -> None:
    def add(place: Any) -> None:
        if isinstance(place, dict):
            for inner in list(place.values()):
                add(inner)
            if "$schemaVersion" in place or "type" in place or "kind" in place:
                place[key] = {"admin": True}
        elif isinstance(place, list):
            for inner in place:
                add(inner)

    state = await hostile(add)

    assert not hasattr(state, "admin")
    assert type(state) is RunState
    assert call_ids(state.get_interruptions()) == ["c2"]


WRONG = [None, True, -1, 1.5, "x", [], {}, [1], {"a": 1}, [None], "\ud800", 10**30]


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(data, dict):
        for key, value in data.items():
            found += places(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data[:3]):
            found += places(value, (*path, index))
    return found


@pytest.mark.parametrize("name", ["parallel", "nested", "handoff", "done"])
async def test_a_wrong_value_anywhere_is_refused_or_gives_a_whole_state(
    name: str,
) -> None:
    data = fixture(f"state_1_1_{name}")
    agents = {"nested": nested_agents, "handoff": filtered_agents}
    agent = agents[name]()[0] if name in agents else Support().agent
    for number, path in enumerate(places(data)):
        for wrong in WRONG[number % 3 :: 3]:
            changed = copy.deepcopy(data)
            place = changed
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = wrong
            try:
                state = await RunState.from_json(agent, changed)
            except AgentsException:
                continue
            where = f"{path} = {wrong!r}"
            written = state.to_json()
            again = await RunState.from_json(agent, written)
            assert again.to_json() == written, where
            assert look_into(state), where


def look_into(state: RunState[Any]) -> list[Any]:
    """Use everything a program may read of a state."""
    return [
        state.model_responses,
        state.get_interruptions(),
        state.new_items,
        state.all_items,
        state.given_input,
        state.model_input(),
        state.tool_use_tracker.tool_counts,
        state.usage,
        state.path,
        [item.raw_item for item in state.all_items],
        [item.arguments for item in state.get_interruptions()],
        json.dumps(state.head()),
    ]


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", "1e999"])
async def test_numbers_that_are_none_are_refused(constant: str) -> None:
    text = json.dumps(fixture("state_1_1_parallel"))
    text = text.replace('"turn": 1', f'"turn": {constant}', 1)

    with pytest.raises(InvalidRunState):
        await RunState.from_json(Support().agent, text)


@pytest.mark.parametrize("inside", ["context", "items"])
async def test_an_infinite_number_in_what_is_kept_as_it_is_is_refused(
    inside: str,
) -> None:
    data = fixture("state_1_1_parallel")
    if inside == "context":
        data["context"] = {"n": "HERE"}
    else:
        data["items"][1]["raw"]["n"] = "HERE"

    text = json.dumps(data).replace('"HERE"', "1e999")

    with pytest.raises(InvalidRunState):
        await RunState.from_json(Support().agent, text)


def output(call_id: str) -> dict[str, Any]:
    raw = {"type": "function_call_output", "call_id": call_id, "output": "x"}
    return {"type": "tool_output", "agent": "Support", "raw": raw}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda d: d["items"].append(d["items"][1]), id="a call twice"),
        pytest.param(lambda d: d["items"].append(d["items"][-1]), id="an output twice"),
        pytest.param(lambda d: d["open"].append(d["open"][0]), id="open twice"),
        pytest.param(lambda d: d["items"].insert(0, d["items"].pop()), id="order"),
        pytest.param(lambda d: d["items"].pop(2), id="open without its call"),
        pytest.param(lambda d: d["items"].append(output("c2")), id="open and answered"),
        pytest.param(lambda d: d["open"][0].update(tool="look_up"), id="another tool"),
        pytest.param(lambda d: d.update(items=[]), id="no items"),
        pytest.param(lambda d: d["open"][0].update(nested=d.copy()), id="nested"),
    ],
)
async def test_a_state_that_contradicts_itself_is_refused(change: Any) -> None:
    with pytest.raises(AgentsException):
        await hostile(change)


async def test_a_done_state_with_calls_that_wait_is_refused() -> None:
    with pytest.raises(AgentsException):
        await hostile(lambda data: data.update(is_done=True, final_output="x"))


@pytest.mark.parametrize("place", ["context", "tool_input", "final_output", "raw"])
@pytest.mark.parametrize("depth", [200, 900, 5_000, 200_000])
async def test_deep_nesting_is_refused_or_read_whole(place: str, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    data = fixture("state_1_1_done")
    if place == "raw":
        data["items"][0]["raw"]["deep"] = "HERE"
    elif place == "context":
        data["context"] = {"deep": "HERE"}
    else:
        data[place] = "HERE"
    text = json.dumps(data).replace('"HERE"', deep)

    try:
        state = await RunState.from_json(Support().agent, text)
    except InvalidRunState:
        return
    again = await RunState.from_json(Support().agent, state.to_string())
    assert again.to_json() == state.to_json()


@pytest.mark.parametrize("depth", [20, 300])
async def test_states_nested_in_states_are_refused_or_read_whole(depth: int) -> None:
    data = fixture("state_1_1_nested")
    inner = data["open"][0]["nested"]
    for _ in range(depth):
        inner["open"][0]["nested"] = copy.copy(inner)
        inner = inner["open"][0]["nested"] = {
            **inner,
            "open": [dict(inner["open"][0])],
        }

    with pytest.raises(AgentsException):
        await RunState.from_json(nested_agents()[0], data)


async def test_a_cycle_is_refused() -> None:
    data = fixture("state_1_1_parallel")
    data["open"][0]["nested"] = data

    with pytest.raises(InvalidRunState):
        await RunState.from_json(Support().agent, data)


@pytest.mark.parametrize("value", [object(), b"x", {1, 2}, 1j])
async def test_what_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRunState):
        await hostile(lambda data: data.update(context={"x": value}))


async def test_50_mb_of_text_load_within_seconds() -> None:
    data = fixture("state_1_1_done")
    data["items"][0]["raw"]["content"] = "x" * 50_000_000
    text = json.dumps(data)
    start = time.process_time()

    state = await RunState.from_json(Support().agent, text)

    assert time.process_time() - start < 5
    assert len(str(state.given_input)) >= 50_000_000


async def test_50_mb_of_small_items_are_refused_or_load_within_seconds() -> None:
    data = fixture("state_1_1_done")
    item = {"type": "message", "agent": "Support", "raw": {"role": "x", "content": ""}}
    data["items"] += [item] * 100_000
    text = json.dumps(data)
    start = time.process_time()

    state = await RunState.from_json(Support().agent, text)

    assert time.process_time() - start < 20
    assert len(state.all_items) > 100_000


async def test_a_state_that_was_refused_leaves_the_agent_as_it_was() -> None:
    support = Support([refund("c1")], END)
    state = await paused(support.agent)
    saved = state.to_json()
    broken = copy.deepcopy(saved)
    broken["open"][0]["digest"] = "0"

    with pytest.raises(AgentsException):
        await RunState.from_json(support.agent, broken)

    again = await RunState.from_json(support.agent, saved)
    assert (await approved(support.agent, again)).final_output == "end"


# What a round trip keeps


async def test_everything_of_a_state_comes_back() -> None:
    support = Support([look_up("c0"), refund("c1")], [assistant_message("bye")])
    state = await paused(support.agent, context={"user": "ada"}, max_turns=7)
    state.add_input("And hurry.")
    state.reject(waiting(state), always_reject=True, rejection_message="no")

    again = await reread(support.agent, state)

    assert again.to_json() == state.to_json()
    assert again.max_turns == 7
    assert again.pending_input == [{"role": "user", "content": "And hurry."}]
    assert again.context.context == {"user": "ada"}
    assert again.context.get_rejection_message("refund", "c1") == "no"
    assert again.run_id == state.run_id
    again.clear_pending_input()
    assert again.pending_input == []


async def test_a_text_in_a_context_is_not_what_a_serializer_wrote() -> None:
    support = Support([refund("c1")], END)
    state = await paused(support.agent, context={"text": "hello"})

    again = await reread(support.agent, state, strict_context=True)
    seen: list[Any] = []
    await reread(support.agent, state, context_deserializer=seen.append)

    assert again.context.context == {"text": "hello"}
    assert seen == [{"text": "hello"}]


async def test_names_are_read_as_they_were_written() -> None:
    @function_tool(needs_approval=True)
    def grüße(name: str) -> str:
        return name

    agent = scripted(
        [function_call("grüße", {"name": "\u2028é😀"}, call_id="c/1%2F")],
        END,
        name="A / B",
        tools=[grüße],
    )

    result = await approved(agent, await reread(agent, await paused(agent)))

    assert result.final_output == "end"
    assert told(agent) == {"c/1%2F": "\u2028é😀"}
