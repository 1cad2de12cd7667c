"""Helpers around a run: in one call, and keeping its state."""

from __future__ import annotations

import builtins
import logging
from dataclasses import dataclass, field
from typing import Any

import pytest

from runs.engine import (
    Agent,
    InvalidRunState,
    MaxTurnsExceeded,
    Runner,
    RunResult,
    RunResultStreaming,
    RunState,
    UserError,
    function_tool,
)
from runs.engine.helpers import (
    ContextSerializer,
    decrypt_state,
    default_result_processor,
    encrypt_state,
    load_state_with_migration,
    new_state_key,
    run_agent,
    state_problems,
    validate_state,
)
from runs.engine.testing import ScriptedModel, assistant_message, function_call

HELLO = [{"role": "user", "content": "Hello"}]


@function_tool(needs_approval=True)
def refund(order: str) -> str:
    return f"refunded {order}"


@function_tool
def look() -> str:
    return "seen"


def answering(*texts: str) -> Agent[Any]:
    steps = [[assistant_message(text)] for text in texts]
    return Agent(name="A", model=ScriptedModel(steps=steps))


def refunding() -> Agent[Any]:
    call = function_call("refund", {"order": "41"}, call_id="c1")
    steps: list[Any] = [[call], [assistant_message("Done.")]]
    return Agent(name="A", tools=[refund], model=ScriptedModel(steps=steps))


async def paused(agent: Agent[Any], **options: Any) -> RunState[Any]:
    return (await Runner.run(agent, "Refund 41", **options)).to_state()


# Running


@pytest.mark.parametrize("given", [HELLO, "Hello"])
async def test_run_agent_gives_the_result(given: Any) -> None:
    result = await run_agent(answering("Hi."), given, None, False)

    assert isinstance(result, RunResult)
    assert result.final_output == "Hi."


async def test_run_agent_streams_to_the_end() -> None:
    result = await run_agent(answering("Hi."), HELLO, None, True)

    assert isinstance(result, RunResultStreaming)
    assert result.is_complete
    assert result.final_output == "Hi."


async def test_run_agent_without_a_processor_returns_while_it_runs() -> None:
    result = await run_agent(
        answering("Hi."), HELLO, stream=True, result_processor=None
    )

    assert not result.is_complete
    assert await default_result_processor(result) is result
    assert result.is_complete


async def test_run_agent_gives_what_the_processor_gives() -> None:
    async def kinds(result: Any) -> list[str]:
        return [event.type async for event in result.stream_events()]

    given = await run_agent(answering("Hi."), HELLO, None, True, kinds)

    assert "run_item_stream_event" in given


async def test_run_agent_resumes_a_state() -> None:
    agent = refunding()
    result = await run_agent(agent, HELLO)
    state = result.to_state()
    state.approve(state.get_interruptions()[0])

    assert (await run_agent(agent, state)).final_output == "Done."


@pytest.mark.parametrize("stream", [False, True])
async def test_run_agent_logs_and_raises(
    stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    call = function_call("look", {}, call_id="c1")
    agent = Agent(name="A", tools=[look], model=ScriptedModel(steps=[[call]]))

    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(MaxTurnsExceeded) as raised,
    ):
        await run_agent(agent, "secret words", None, stream, max_turns=1)

    assert raised.value.run_state is not None
    (record,) = caplog.records
    assert record.__dict__["error"] == "MaxTurnsExceeded"
    assert "secret" not in caplog.text


# Contexts


@dataclass
class Customer:
    name: str
    orders: list[int] = field(default_factory=list)


async def test_a_context_comes_back_as_what_it_was() -> None:
    agent, contexts = refunding(), ContextSerializer(Customer)
    state = await paused(agent, context=Customer("Ada", [41]))

    text = state.to_string(context_serializer=contexts.serialize)
    read = await RunState.from_string(
        agent, text, context_deserializer=contexts.deserialize
    )

    assert read.context.context == Customer("Ada", [41])


@pytest.mark.parametrize("context", [{"name": 5}, None, object()])
def test_a_context_of_another_type_is_refused(context: Any) -> None:
    with pytest.raises(UserError, match="Customer"):
        ContextSerializer(Customer).serialize(context)


def test_a_context_that_no_longer_fits_is_refused() -> None:
    with pytest.raises(UserError, match="Customer"):
        ContextSerializer(Customer).deserialize({"orders": []})


def test_a_context_that_is_no_object_is_refused() -> None:
    with pytest.raises(UserError, match="JSON object"):
        ContextSerializer(int).serialize(5)


# Reading back


async def test_a_stored_state_is_read_from_text_and_dict() -> None:
    agent = refunding()
    state = await paused(agent)

    for stored in (state.to_string(), state.to_json()):
        read = await load_state_with_migration(stored, agent)
        assert read.to_json() == state.to_json()


@pytest.mark.parametrize("stored", ["{cut", "[]", "5", "[" * 100_000, {}])
async def test_what_is_no_state_is_not_read(stored: Any) -> None:
    with pytest.raises((InvalidRunState, UserError)):
        await load_state_with_migration(stored, refunding())


async def test_validate_says_whether_a_state_can_go_on() -> None:
    agent = refunding()
    state = await paused(agent)
    newer = {**state.to_json(), "$schemaVersion": "99.0"}

    assert validate_state(state)
    assert validate_state(state.to_string())
    assert not validate_state(newer)
    assert not validate_state("{cut")
    assert "99.0" in state_problems(newer)[0]


async def test_validate_refuses_what_has_ended_or_has_no_turns_left() -> None:
    ended = (await Runner.run(answering("Hi."), "Hello")).to_state()
    agent = refunding()
    spent = await paused(agent, max_turns=1)

    assert "ended" in state_problems(ended)[0]
    assert "1 turns" in state_problems(spent.to_json())[0]


# Secrecy


async def test_an_encrypted_state_comes_back() -> None:
    agent, key = refunding(), new_state_key()
    state = await paused(agent)

    encrypted = encrypt_state(state, key, bound_to="row 1")
    read = await decrypt_state(encrypted, key, agent, bound_to="row 1")

    assert "refund" not in encrypted
    assert encrypt_state(state, key) != encrypt_state(state, key)
    assert read.to_json() == state.to_json()


async def test_an_encrypted_state_is_read_with_its_key_in_its_place_unchanged() -> None:
    agent, key = refunding(), new_state_key()
    encrypted = encrypt_state(await paused(agent), key, bound_to="row 1")
    middle = len(encrypted) // 2
    flipped = "B" if encrypted[middle] == "A" else "A"

    for text, used, place in (
        (encrypted, new_state_key(), "row 1"),
        (encrypted, key, "row 2"),
        (encrypted[:middle] + flipped + encrypted[middle + 1 :], key, "row 1"),
        (encrypted[:-8], key, "row 1"),
        (encrypted[:10], key, "row 1"),
        (encrypted[:8] + "ä", key, "row 1"),
        ('{"agent": "A"}', key, "row 1"),
    ):
        with pytest.raises(InvalidRunState):
            await decrypt_state(text, used, agent, bound_to=place)


@pytest.mark.parametrize("key", ["password", "", b"short", new_state_key() + "AA", "ä"])
async def test_what_is_no_key_is_refused(key: Any) -> None:
    with pytest.raises(UserError, match="new_state_key"):
        encrypt_state(await paused(refunding()), key)


async def test_encryption_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def without_cryptography(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("cryptography"):
            raise ImportError(name)
        return load(name, *args, **options)

    state = await paused(refunding())
    monkeypatch.setattr(builtins, "__import__", without_cryptography)

    with pytest.raises(UserError, match="encryption"):
        encrypt_state(state, new_state_key())
