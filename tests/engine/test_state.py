"""A state as JSON: round trips, versions, and hostile input."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runs.engine import (
    Agent,
    AgentsException,
    InvalidRunState,
    ModelBehaviorError,
    Runner,
    RunState,
    RunStateVersionError,
    UserError,
    function_tool,
    tool_namespace,
)
from runs.engine.testing import ScriptedModel, assistant_message, function_call


@function_tool(needs_approval=True)
def pay(eur: int) -> str:
    """Pay."""
    return f"paid {eur}"


@function_tool
def look(what: str) -> str:
    """Look."""
    return what


def agent(name: str = "Till", tools: Any = (pay, look)) -> Agent[Any]:
    model = ScriptedModel(
        steps=[
            [
                function_call("look", {"what": "x"}, call_id="c0"),
                function_call("pay", {"eur": 5}, call_id="c1"),
            ],
            [assistant_message("end")],
        ]
    )
    return Agent(name=name, tools=list(tools), model=model)


async def saved(context: Any = None) -> dict[str, Any]:
    result = await Runner.run(agent(), "go", context=context)
    return result.to_state().to_json()


async def read(data: Any, by: Agent[Any] | None = None, **options: Any) -> Any:
    return await RunState.from_json(by or agent(), data, **options)


async def test_a_round_trip_gives_an_equal_state() -> None:
    data = await saved({"user": "ada"})

    state = await read(data)

    assert state.to_json() == data
    assert json.loads(state.to_string()) == data
    assert [item.call_id for item in state.get_interruptions()] == ["c1"]
    assert state.context.context == {"user": "ada"}
    assert state.usage.requests == 1
    [response] = state.model_responses
    assert [item.name for item in response.output] == ["look", "pay"]


async def test_decisions_survive_the_round_trip() -> None:
    state = await read(await saved())
    state.reject(
        state.get_interruptions()[0], always_reject=True, rejection_message="no"
    )

    again = await read(state.to_json())

    assert again.get_interruptions() == []
    assert again.to_json() == state.to_json()


async def test_writing_shares_nothing_with_the_state() -> None:
    state = await read(await saved())
    written = state.to_json()

    written["items"][0]["raw"]["content"] = "changed"

    assert state.original_input == [{"role": "user", "content": "go"}]


@pytest.mark.parametrize(
    "version", ["0.9", "1.2", "1.10", "2.0", "99.0", "", None, 1, "1", "x.y"]
)
async def test_a_version_this_engine_does_not_know_is_named(version: Any) -> None:
    data = await saved()
    data["$schemaVersion"] = version

    with pytest.raises(RunStateVersionError) as error:
        await read(data)

    assert isinstance(error.value, UserError)
    assert error.value.found == version


@pytest.mark.parametrize("cut", [0, 1, 50, -1])
async def test_a_truncated_state_gives_a_clear_error(cut: int) -> None:
    text = json.dumps(await saved())

    with pytest.raises(InvalidRunState, match="not JSON"):
        await read(text[:cut])


@pytest.mark.parametrize("text", ["null", "[]", "7", '"state"', '{"turn": NaN}'])
async def test_what_is_no_json_object_gives_a_clear_error(text: str) -> None:
    with pytest.raises(InvalidRunState):
        await read(text)


async def test_a_call_that_a_rule_gated_stays_gated_in_a_saved_state() -> None:
    @function_tool(name_override="pay", needs_approval=lambda ctx, args, call: True)
    def pay_if_asked(eur: int) -> str:
        paid.append(eur)
        return "paid"

    paid: list[int] = []
    tools = [pay_if_asked, look]
    result = await Runner.run(agent(tools=tools), "go")

    state = await read(result.to_state().to_json(), agent(tools=tools))
    again = await Runner.run(agent(tools=tools), state)

    assert [item.call_id for item in again.interruptions] == ["c1"]
    assert paid == []


async def test_a_call_cannot_be_ungated_in_a_saved_state() -> None:
    data = await saved()
    data["open"][0]["gated"] = False

    state = await read(data)

    assert [item.call_id for item in state.get_interruptions()] == ["c1"]


async def test_hostile_keys_load_clean() -> None:
    data = await saved()
    data["__proto__"] = data["__class__"] = {"admin": True}
    data["items"][0]["__class__"] = "os.system"

    state = await read(data)

    assert not hasattr(state, "admin")
    assert "__proto__" not in state.to_json()


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(turn=-1),
        lambda d: d.update(turn="1"),
        lambda d: d.update(turn=float("inf")),
        lambda d: d.update(items={}),
        lambda d: d.update(items=[{"type": "nothing", "agent": "Till"}]),
        lambda d: d.pop("agent"),
        lambda d: d["items"].append(copy.deepcopy(d["items"][1])),
        lambda d: d["items"].append(copy.deepcopy(d["items"][3])),
        lambda d: d["items"].pop(1),
        lambda d: d["items"].pop(2),
        lambda d: d["open"].append(copy.deepcopy(d["open"][0])),
        lambda d: d["open"][0].update(key="other"),
        lambda d: d["open"][0].update(verdict={"kind": "yes"}),
        lambda d: d["open"][0].update(verdict={"kind": ""}),
        lambda d: d["items"][1]["raw"].pop("call_id"),
        lambda d: d["items"][1]["raw"].update(name=7),
    ],
)
async def test_a_broken_state_is_refused_whole(change: Any) -> None:
    data = await saved()
    change(data)

    with pytest.raises(InvalidRunState):
        await read(data)


async def test_a_cycle_is_refused() -> None:
    data = await saved()
    data["context"] = {"self": data}

    with pytest.raises(InvalidRunState):
        await read(data)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["items"][2]["raw"].update(arguments='{"eur": 5000}'),
        lambda d: d["items"][2]["raw"].update(name="look"),
        lambda d: d["open"][0].update(digest="0" * 64),
        lambda d: d["open"][0].update(agent_path="Other"),
    ],
)
async def test_a_call_changed_in_a_saved_state_never_runs(change: Any) -> None:
    state = await read(await saved())
    state.approve(state.get_interruptions()[0])
    data = state.to_json()
    change(data)

    with pytest.raises((ModelBehaviorError, UserError)):
        await read(data)


async def test_changed_code_is_named() -> None:
    data = await saved()

    @function_tool(needs_approval=True, name_override="pay")
    def other_pay(eur: int, to: str) -> str:
        return ""

    with pytest.raises(UserError, match="'Till'"):
        await read(data, agent("Renamed"))
    with pytest.raises(UserError, match="'Inner'"):
        await read({**data, "current_agent": "Inner"})
    with pytest.raises(UserError, match="no longer has"):
        await read(data, agent(tools=[look]))
    with pytest.raises(UserError, match="parameters of 'pay' have changed"):
        await read(data, agent(tools=[other_pay, look]))


@dataclass
class Customer:
    name: str


async def test_a_context_is_written_as_its_author_says() -> None:
    state = await read(await saved(), context_override=Customer("ada"))

    with pytest.warns(UserWarning, match="written as a dict"):
        assert state.to_json()["context"] == {"name": "ada"}
    with pytest.raises(UserError, match="context_serializer"):
        state.to_json(strict_context=True)
    data = state.to_json(context_serializer=lambda c: json.dumps({"n": c.name}))
    again = await read(
        data, context_deserializer=lambda t: Customer(json.loads(t)["n"])
    )
    assert again.context.context == Customer("ada")
    with pytest.raises(UserError, match="mapping"):
        state.to_json(context_serializer=lambda c: 7)
    state.context.context = object()
    with pytest.warns(UserWarning, match="not written"):
        assert state.to_json()["context"] == {}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
async def test_any_damage_gives_a_named_error_or_loads_clean(data: Any) -> None:
    state = await saved()
    place: Any = state
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            break
        place = inner
    place[key] = data.draw(JSON)

    try:
        loaded = await read(state)
    except AgentsException:
        return
    json.dumps(loaded.to_json(), allow_nan=False)


async def test_the_head_stays_small_while_the_run_grows() -> None:
    def steps(n: int) -> list[Any]:
        calls = [
            [function_call("look", {"what": "x" * 50}, call_id=f"c{i}")]
            for i in range(n)
        ]
        return [*calls, [assistant_message("end")]]

    sizes = []
    for turns in (2, 200):
        model = ScriptedModel(steps=steps(turns))
        result = await Runner.run(
            Agent(name="Till", tools=[look], model=model), "go", max_turns=None
        )
        sizes.append(len(json.dumps(result.state.head())))

    assert sizes[1] <= sizes[0] + 20


async def test_a_paused_call_of_a_namespaced_tool_is_found_again() -> None:
    def bank(country: str) -> Any:
        return tool_namespace(name=country, description="A bank.", tools=[pay])

    call = function_call("pay", {"eur": 5}, call_id="c1").model_copy(
        update={"namespace": "south"}
    )
    model = ScriptedModel(steps=[[call], [assistant_message("end")]])
    till = Agent(name="Till", tools=[*bank("north"), *bank("south")], model=model)
    paused = (await Runner.run(till, "go")).to_state()

    state = await read(json.loads(paused.to_string()), by=till)
    state.approve(state.get_interruptions()[0])

    assert (await Runner.run(till, state)).final_output == "end"
    assert state.get_tool_use_tracker_snapshot() == {"Till": ["south.pay"]}


async def test_a_context_that_holds_itself_is_an_error_that_says_so() -> None:
    model = ScriptedModel(steps=[[assistant_message("hi")]])
    agent: Agent[Any] = Agent(name="A", model=model)
    context: dict[str, Any] = {}
    context["me"] = context
    result = await Runner.run(agent, "go", context=context)

    with pytest.raises(UserError, match="context_serializer"):
        result.to_state().to_json()
