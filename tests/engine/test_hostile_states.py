"""Broken and doctored states: a named error, or a state that runs clean."""

from __future__ import annotations

import asyncio
import copy
import functools
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runs.engine import Agent, AgentsException, InvalidRunState, Runner, RunState
from runs.engine.testing import ScriptedModel, assistant_message

from .hostile_runs import World, decide, left_tasks

HOSTILE: list[Any] = [
    None, True, -1, 0, 10**30, 2**63, 1.5, "", "x", "\ud800", "a/b", "%2F", [], {},
    [None], {"__proto__": {}}, {"__class__": "x"}, "approve", "function_call",
    {"type": "function_call"}, {"kind": "approve"},
]  # fmt: skip

Change = tuple[str, int, int, Any]
"""What is done, where in the document, where from, and a value."""

changes = st.lists(
    st.tuples(
        st.sampled_from(["delete", "set", "double", "move", "reverse"]),
        st.integers(0, 10**6),
        st.integers(0, 10**6),
        st.sampled_from(HOSTILE),
    ),
    min_size=1,
    max_size=3,
)


@functools.cache
def stored() -> tuple[str, ...]:
    """Return a run as it is stored: paused at two depths, decided, and ended."""

    async def make() -> tuple[str, ...]:
        world = World()
        paused = await Runner.run(world.root, "go")
        state = decide(paused.to_state())
        decided = state.to_string()
        ended = await Runner.run(world.root, state)
        return paused.to_state().to_string(), decided, ended.to_state().to_string()

    return asyncio.run(make())


def places(node: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value in `node`."""
    keys = node if isinstance(node, dict) else range(len(node))
    for key in keys:
        yield (*above, key)
        if isinstance(node[key], dict | list):
            yield from places(node[key], (*above, key))


def at(document: Any, way: Sequence[Any]) -> Any:
    return functools.reduce(lambda inside, part: inside[part], way, document)


def damaged(document: Any, made: list[Change]) -> Any:
    for what, where, whence, value in made:
        every = list(places(document))
        if not every:
            return document
        *way, key = every[where % len(every)]
        node = at(document, way)
        if what == "delete":
            del node[key]
        elif what == "set":
            node[key] = copy.deepcopy(value)
        elif what == "double" and isinstance(node, list):
            node.insert(key, copy.deepcopy(node[key]))
        elif what == "double":
            node[f"{key} "] = copy.deepcopy(node[key])
        elif what == "move":
            source = every[whence % len(every)]
            found = functools.reduce(
                lambda inside, part: inside[part], source, document
            )
            node[key] = copy.deepcopy(found)
        elif isinstance(node[key], list):
            node[key].reverse()
    return document


async def load_and_run(world: World, document: Any) -> None:
    world.done.clear()
    try:
        state = await RunState.from_json(world.root, document)
    except AgentsException:
        return
    # What was read can be written, read again and looked at.
    written = json.dumps(state.to_json())
    again = await RunState.from_json(world.root, json.loads(written))
    assert json.dumps(again.to_json()) == written
    looked_at = (
        state.new_items, state.given_input, state.model_responses, state.model_input(),
        state.tool_use_tracker.total_calls, state.get_interruptions(),
    )  # fmt: skip
    assert all(part is not None for part in looked_at)
    # It runs to an end or a named error, and nothing runs twice.
    state.max_turns = 8
    try:
        async with asyncio.timeout(60):
            for _ in range(4):
                result = await Runner.run(world.root, decide(state))
                if result.state.is_done:
                    break
                state = result.to_state()
    except AgentsException:
        pass
    assert max(world.done.values(), default=0) <= 1
    assert left_tasks() == []


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(which=st.integers(0, 2), made=changes)
def test_any_damage_gives_a_named_error_or_a_state_that_runs(
    which: int, made: list[Change]
) -> None:
    document = damaged(json.loads(stored()[which]), made)

    asyncio.run(load_and_run(shared_world(), document))


@functools.cache
def shared_world() -> World:
    return World()


def simple() -> Agent[Any]:
    return Agent(name="A", model=ScriptedModel([[assistant_message("end")]]))


async def simple_document() -> dict[str, Any]:
    result = await Runner.run(simple(), "go")
    return result.to_state().to_json()


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity"])
async def test_a_number_that_json_cannot_write_is_refused(number: str) -> None:
    document = await simple_document()
    document["items"][0]["raw"]["content"] = "HERE"
    text = json.dumps(document).replace('"HERE"', number)

    with pytest.raises(InvalidRunState, match="not JSON"):
        await RunState.from_string(simple(), text)


@pytest.mark.parametrize("depth", [150, 400, 900, 100_000])
async def test_a_deep_state_is_refused_or_can_be_written_again(depth: int) -> None:
    document = await simple_document()
    document["items"][0]["raw"]["content"] = "HERE"
    text = json.dumps(document).replace('"HERE"', "[" * depth + "]" * depth)

    try:
        state = await RunState.from_string(simple(), text)
    except InvalidRunState:
        return

    assert json.loads(state.to_string()) == json.loads(text)


async def test_a_small_view_cannot_grow_into_a_huge_state() -> None:
    document = await simple_document()
    last = len(document["items"]) - 1
    shown = [[0, last]] * 200_000
    document["view"] = {"at": last + 1, "base": [], "shown": shown, "listed": []}

    with pytest.raises(InvalidRunState, match="view"):
        await RunState.from_json(simple(), document)
