"""Run states of programs of their own, on the app's database."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import IntegrityError
from django.utils import timezone

from runs.engine import (
    Agent,
    InvalidRunState,
    Runner,
    RunState,
    UserError,
    function_tool,
)
from runs.engine.helpers import ContextSerializer, new_state_key, run_agent
from runs.engine.testing import ScriptedModel, assistant_message, function_call
from runs.models import SavedState
from runs.services import saved_states
from runs.state_store import RunStateStore, cleanup_old_states

pytestmark = pytest.mark.django_db(transaction=True)


@function_tool(needs_approval=True)
def refund(order: str) -> str:
    return f"refunded {order}"


def refunding() -> Agent[Any]:
    call = function_call("refund", {"order": "41"}, call_id="c1")
    steps: list[Any] = [[call], [assistant_message("Done.")]]
    return Agent(name="A", tools=[refund], model=ScriptedModel(steps=steps))


async def paused(agent: Agent[Any], **options: Any) -> RunState[Any]:
    return (await Runner.run(agent, "Refund 41", **options)).to_state()


async def test_a_saved_state_is_loaded_and_goes_on() -> None:
    agent = refunding()
    state = await paused(agent)
    await RunStateStore(agent, "s1").save(state)

    loaded = await RunStateStore(agent=agent, session_id="s1").load()

    assert loaded.to_json() == state.to_json()
    for interruption in loaded.get_interruptions():
        loaded.approve(interruption)
    result = await run_agent(agent, loaded)
    assert result.final_output == "Done."


async def test_there_is_one_state_a_session_the_newest() -> None:
    agent = refunding()
    store, other = RunStateStore(agent, "s1"), RunStateStore(agent)
    first, second = await paused(agent), await paused(refunding())

    await store.save(first)
    await store.save(second)
    await other.save(first)

    assert (await store.load()).run_id == second.run_id
    assert (await other.load()).run_id == first.run_id
    assert await SavedState.objects.acount() == 2
    assert other.session_id != RunStateStore(agent).session_id


async def test_a_state_that_was_never_saved_is_not_found() -> None:
    with pytest.raises(FileNotFoundError, match="s1"):
        await RunStateStore(refunding(), "s1").load()


async def test_clear_takes_out_of_use_and_deletes_nothing() -> None:
    agent = refunding()
    store = RunStateStore(agent, "s1")
    await store.save(await paused(agent))

    await store.clear()
    await store.clear()

    with pytest.raises(FileNotFoundError):
        await store.load()
    row = await SavedState.objects.aget()
    assert not row.is_active
    assert row.state
    await store.save(await paused(refunding()))
    assert await SavedState.objects.acount() == 2
    assert (await store.load()).get_interruptions()


async def test_saving_at_once_leaves_one_state() -> None:
    agent = refunding()
    state = await paused(agent)

    await asyncio.gather(*(RunStateStore(agent, "s1").save(state) for _ in range(8)))

    assert await SavedState.objects.acount() == 1


def test_the_second_of_two_first_saves_replaces_the_first() -> None:
    def write(place: str) -> str:
        # Another process saves between our look and our insert.
        if not SavedState.objects.exists():
            saved_states.save("s1", "A", lambda place: "first")
        return f"second in {place}"

    saved_states.save("s1", "A", write)

    row = SavedState.objects.get()
    assert row.state == f"second in runs.savedstate:{row.pk}:s1"


def test_a_save_that_is_always_too_late_says_so() -> None:
    def write(place: str) -> str:
        SavedState.objects.filter(is_active=True).update(is_active=False)
        SavedState.objects.create(
            key="s1", agent="A", created_at=timezone.now(), updated_at=timezone.now()
        )
        return "late"

    with pytest.raises(IntegrityError, match="too often"):
        saved_states.save("s1", "A", write)


async def test_a_closed_store_says_so() -> None:
    store = RunStateStore(refunding(), "s1")
    await store.close()
    await store.close()

    with pytest.raises(UserError, match="closed"):
        await store.load()


@pytest.mark.parametrize("session_id", ["", "x" * 201, "nul \x00", "\ud800", 5])
def test_an_id_that_cannot_be_stored_is_refused(session_id: Any) -> None:
    with pytest.raises(UserError):
        RunStateStore(refunding(), session_id)


async def test_only_states_are_saved() -> None:
    with pytest.raises(TypeError, match="to_state"):
        await RunStateStore(refunding(), "s1").save({"$schemaVersion": "1.0"})  # type: ignore[arg-type]  # what a program gets wrong


async def test_a_broken_row_is_a_named_error() -> None:
    agent = refunding()
    store = RunStateStore(agent, "s1")
    await store.save(await paused(agent))
    await SavedState.objects.aupdate(state="{cut")

    with pytest.raises(InvalidRunState):
        await store.load()


@dataclass
class Customer:
    name: str


async def test_a_context_comes_back_as_what_it_was() -> None:
    agent, contexts = refunding(), ContextSerializer(Customer)
    store = RunStateStore(
        agent,
        "s1",
        context_serializer=contexts.serialize,
        context_deserializer=contexts.deserialize,
    )
    await store.save(await paused(agent, context=Customer("Ada")))

    assert (await store.load()).context.context == Customer("Ada")


async def test_a_strict_store_refuses_a_context_it_cannot_give_back() -> None:
    agent = refunding()
    store = RunStateStore(agent, "s1", strict_context=True)

    with pytest.raises(UserError, match="context_serializer"):
        await store.save(await paused(agent, context=Customer("Ada")))

    assert await SavedState.objects.acount() == 0


async def test_an_encrypted_state_belongs_to_its_row_and_key() -> None:
    agent, key = refunding(), new_state_key()
    store = RunStateStore(agent, "s1", encryption_key=key)
    other = RunStateStore(agent, "s2", encryption_key=key)
    state = await paused(agent)
    await store.save(state)
    await other.save(state)
    row = await SavedState.objects.aget(key="s1")

    assert "refund" not in row.state
    assert (await store.load()).to_json() == state.to_json()
    with pytest.raises(InvalidRunState):
        await RunStateStore(agent, "s1", encryption_key=new_state_key()).load()
    with pytest.raises(InvalidRunState, match="encryption_key"):
        await RunStateStore(agent, "s1").load()
    await SavedState.objects.filter(key="s2").aupdate(state=row.state)
    with pytest.raises(InvalidRunState):
        await other.load()


async def test_a_cleared_text_does_not_come_back_in_a_later_row() -> None:
    agent, key = refunding(), new_state_key()
    store = RunStateStore(agent, "s1", encryption_key=key)
    await store.save(await paused(agent))
    await store.clear()
    old = (await SavedState.objects.aget()).state
    await store.save(await paused(refunding()))

    await SavedState.objects.filter(is_active=True).aupdate(state=old)

    with pytest.raises(InvalidRunState):
        await store.load()


async def test_a_store_with_a_key_refuses_a_plain_state() -> None:
    agent = refunding()
    await RunStateStore(agent, "s1").save(await paused(agent))

    with pytest.raises(InvalidRunState, match="not encrypted"):
        await RunStateStore(agent, "s1", encryption_key=new_state_key()).load()


async def test_old_states_are_cleaned_up() -> None:
    agent = refunding()
    state = await paused(agent)
    for name in ("old", "new", "cleared"):
        await RunStateStore(agent, name).save(state)
    await RunStateStore(agent, "cleared").clear()
    long_ago = timezone.now() - timedelta(days=31)
    await SavedState.objects.exclude(key="new").aupdate(updated_at=long_ago)

    assert await cleanup_old_states(days=32) == 0
    assert await cleanup_old_states() == 2

    assert (await SavedState.objects.aget()).key == "new"


@pytest.mark.parametrize("zone", [None, UTC])
async def test_a_store_deletes_its_own_old_states(zone: Any) -> None:
    agent = refunding()
    state = await paused(agent)
    store = RunStateStore(agent, "s1")
    await store.save(state)
    await RunStateStore(agent, "s2").save(state)
    # Without a zone, as datetime.now() of an example is.
    now = datetime.now(zone)

    assert await store.delete_before(now - timedelta(days=1)) == 0
    assert await store.delete_before(now + timedelta(seconds=1)) == 1

    left = sync_to_async(lambda: SavedState.objects.get().key)
    assert await left() == "s2"
