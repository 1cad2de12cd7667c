"""A session over a conversation's log."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async

from runs import services
from runs.engine import UserError
from runs.engine.calls import key_of
from runs.engine.sessions import Session, prepare_input
from runs.engine.testing import ScriptedModel, assistant_message, function_call
from runs.executor import Executor
from runs.history import IN_DOUBT, NEVER_RUN, answered
from runs.loading import load
from runs.models import Conversation, Run, RunEvent, RunStatus
from runs.services import log
from runs.services.prune import prune_states
from runs.services.record import open_conversation, record_items
from runs.services.start import latest_run
from runs.session import ConversationSession
from runs.timeline import timeline
from tests.admin.factories import end
from tests.factories import bob, start, until_status
from tests.shop import agents as shop

pytestmark = pytest.mark.django_db(transaction=True)

LONG_AGO_AGE = timedelta(days=60)

ASKED = {"role": "user", "content": "And the refund?"}
SAID = {"type": "message", "role": "assistant", "content": "It is done."}
CALL = {
    "type": "function_call",
    "call_id": "c1",
    "name": "look_up",
    "arguments": "{}",
}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "found"}

opened = sync_to_async(open_conversation)
load_run = sync_to_async(load)


def texts(items: list[Any]) -> list[str]:
    return [str(item.get("content") or item.get("output")) for item in items]


async def test_a_new_conversation_holds_nothing() -> None:
    session = ConversationSession((await opened("shop")).pk)

    assert isinstance(session, Session)
    assert await session.get_items() == []
    await session.add_items([])
    assert await Run.objects.acount() == 0


async def test_what_is_added_is_read_in_order_and_stored_once() -> None:
    conversation = await opened("shop")
    session = ConversationSession(str(conversation.pk))

    await session.add_items([ASKED, CALL, OUTPUT])
    await session.add_items([SAID])

    assert await session.get_items() == [ASKED, CALL, OUTPUT, SAID]
    assert await session.get_items(2) == [OUTPUT, SAID]
    assert await session.get_items(0) == []
    run = await Run.objects.aget()
    assert (run.status, run.trigger) == (RunStatus.COMPLETED, Run.Trigger.SESSION)
    rows = RunEvent.objects.filter(run=run).order_by("seq")
    assert [row.seq async for row in rows] == [1, 2, 3, 4, 5]
    assert run.last_seq == 5
    assert [row.kind async for row in rows] == ["item"] * 3 + ["status", "item"]


async def test_settings_limit_what_is_read() -> None:
    conversation = await opened("shop")
    await ConversationSession(conversation.pk).add_items([ASKED, SAID])

    session = ConversationSession(conversation.pk, session_settings={"limit": 1})

    assert await session.get_items() == [SAID]


async def test_what_the_app_ran_is_read_by_the_session(executor: Executor) -> None:
    shop.use(ScriptedModel(steps=[[assistant_message("Hello!")]]))
    run = await sync_to_async(start)("Hi there")
    await until_status(run, RunStatus.COMPLETED)
    session = ConversationSession(run.conversation_id)
    rows = await RunEvent.objects.acount()

    items = await session.get_items()

    assert items[0] == {"role": "user", "content": "Hi there"}
    assert items[1]["content"][0]["text"] == "Hello!"
    assert await RunEvent.objects.acount() == rows


async def test_what_the_session_added_is_read_by_the_next_run(
    executor: Executor,
) -> None:
    model = ScriptedModel(steps=[[assistant_message("Once more.")]])
    shop.use(model)
    conversation = await opened("shop")
    await ConversationSession(conversation.pk).add_items([ASKED, CALL, OUTPUT, SAID])

    send = sync_to_async(services.send_message)
    run = await send(conversation.pk, "Again?", by=None)
    await until_status(run, RunStatus.COMPLETED)

    again = {"role": "user", "content": "Again?"}
    assert model.last_call is not None
    assert model.last_call.input == [ASKED, CALL, OUTPUT, SAID, again]
    later = await ConversationSession(conversation.pk).get_items()
    assert later[:5] == model.last_call.input
    await ConversationSession(conversation.pk).add_items([ASKED])
    assert await Run.objects.acount() == 3
    assert (await ConversationSession(conversation.pk).get_items())[-1] == ASKED


async def test_the_session_of_a_run_of_the_app_stores_nothing_twice() -> None:
    conversation = await opened("shop")
    await ConversationSession(conversation.pk).add_items([SAID])
    run = await sync_to_async(services.send_message)(conversation.pk, "Go on", by=None)
    rows = await RunEvent.objects.acount()
    session = ConversationSession(conversation.pk, run_id=run.pk)

    prepared = await prepare_input(session, "Go on")
    await session.add_items(prepared.new_items)

    assert prepared.model_input == [SAID, {"role": "user", "content": "Go on"}]
    assert await RunEvent.objects.acount() == rows
    assert (await load_run(run.pk)).state.model_input() == prepared.model_input


async def test_an_unfinished_run_is_read_without_its_open_calls(
    executor: Executor,
) -> None:
    refund = {"order_id": "41", "amount_eur": 5}
    shop.use(ScriptedModel(steps=[[function_call("refund", refund, call_id="c9")]]))
    run = await sync_to_async(start)("Refund 41")
    await until_status(run, RunStatus.WAITING)
    session = ConversationSession(run.conversation_id)

    assert await session.get_items() == [{"role": "user", "content": "Refund 41"}]
    with pytest.raises(services.ConversationBusy):
        await session.add_items([ASKED])
    await sync_to_async(services.stop_run)(run.pk, by=None)
    assert texts(await session.get_items())[-1] in (NEVER_RUN, IN_DOUBT)


@pytest.mark.parametrize(
    ("items", "what"),
    [
        ([ASKED, {"role": "user", "content": float("nan")}], "JSON"),
        ([ASKED, {**CALL, "call_id": ""}], "call_id"),
        ([ASKED, {**CALL, "call_id": "x" * 501}], "call_id"),
        ([ASKED, {**CALL, "call_id": "x\x00"}], "call_id"),
        ([ASKED, OUTPUT], "no such call"),
        ([ASKED, "text"], "item"),
    ],
)
async def test_nothing_is_stored_of_what_no_log_can_keep(
    items: list[Any], what: str
) -> None:
    conversation = await opened("shop")

    with pytest.raises(UserError, match=what):
        await ConversationSession(conversation.pk).add_items(items)

    assert await Run.objects.acount() == 0
    assert await RunEvent.objects.acount() == 0


async def test_an_output_may_follow_its_call_later() -> None:
    session = ConversationSession((await opened("shop")).pk)
    await session.add_items([ASKED, CALL])

    await session.add_items([OUTPUT])

    assert await session.get_items() == [ASKED, CALL, OUTPUT]


async def test_what_was_said_stays_said() -> None:
    session = ConversationSession((await opened("shop")).pk)
    await session.add_items([ASKED])

    with pytest.raises(UserError, match="Open a new conversation"):
        await session.pop_item()
    with pytest.raises(UserError, match="Open a new conversation"):
        await session.clear_session()

    assert await session.get_items() == [ASKED]


async def test_a_conversation_that_is_none_says_so() -> None:
    session = ConversationSession(uuid4())

    with pytest.raises(Conversation.DoesNotExist):
        await session.get_items()
    with pytest.raises(Conversation.DoesNotExist):
        await session.add_items([ASKED])
    with pytest.raises(ValueError, match="UUID"):
        ConversationSession("conv-1")


def test_a_page_shows_what_was_recorded() -> None:
    conversation = open_conversation("shop", title="From a script", owner=bob())

    run = record_items(conversation.pk, [ASKED, CALL, OUTPUT, SAID])

    blocks = timeline(run)
    assert [block.kind for block in blocks] == ["input", "call", "message"]
    assert blocks[1].call is not None
    assert blocks[1].call.output == "found"
    assert blocks[2].text == "It is done."
    assert load(run.pk).state.is_done


def test_recorded_items_are_cleaned_up_as_others() -> None:
    conversation = open_conversation("shop")
    run = record_items(conversation.pk, [ASKED])
    end(run, age=LONG_AGO_AGE)

    assert prune_states(LONG_AGO_AGE / 2) == 1

    later = record_items(conversation.pk, [SAID])
    assert later != run
    assert RunEvent.objects.filter(run=run, kind="item").count() == 0


def test_the_newest_run_is_found_again_after_waiting_for_the_lock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    conversation = open_conversation("shop")
    first = record_items(conversation.pk, [ASKED])
    lock = log.lock
    come: list[Run] = []

    def meanwhile(run_id: Any) -> Run:
        # Another writer's transaction ends just before ours gets the lock.
        if not come:
            come.append(start_after(conversation, first))
        return lock(run_id)

    monkeypatch.setattr(log, "lock", meanwhile)

    assert latest_run(conversation) == come[0]


def start_after(conversation: Conversation, run: Run) -> Run:
    following = Run.objects.get(pk=run.pk)
    following.pk = None
    following.id = Run._meta.get_field("id").get_default()
    following.previous = run
    following.save(force_insert=True)
    return following


def test_a_started_call_is_in_doubt_whatever_its_id() -> None:
    call = {"type": "function_call", "call_id": "a/b%", "name": "pay", "arguments": ""}

    [_, output] = answered([call], {key_of("", "a/b%")})

    assert output["output"] == IN_DOUBT
