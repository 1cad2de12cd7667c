from __future__ import annotations

import asyncio
import logging
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from channels.layers import get_channel_layer
from django.db import connection
from django.test.utils import CaptureQueriesContext

from runs import timeline
from runs.live import consumers
from runs.live.deltas import DeltaSender
from runs.live.hub import Hub
from runs.live.pokes import GROUP, group_send, poke, set_home
from runs.models import EventKind, Run, RunStatus
from runs.services import record_event

from .cast import (
    Page,
    answer,
    log,
    make_run,
    make_user,
    open_socket,
    run_path,
    say,
    signed_in,
)

pytestmark = pytest.mark.django_db(transaction=True)


def watched_run() -> tuple[Run, Any]:
    """Return a run and the client of its owner."""
    bob = make_user("bob")
    return make_run(bob), signed_in(bob)


def drop_pokes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def lost(group: str, message: dict[str, Any]) -> None:
        """The layer says it took the message."""

    monkeypatch.setattr(get_channel_layer(), "group_send", lost)


async def test_a_burst_arrives_whole_in_order_and_once(hub: Hub) -> None:
    run, client = await sync_to_async(watched_run)()
    socket, page = open_socket(run_path(run), client), Page(run)
    await socket.connect()

    writing = asyncio.ensure_future(
        sync_to_async(say)(run, *(f"message {n}" for n in range(300)))
    )
    await page.read_to(socket, 300)
    await writing

    assert page.appended == list(range(1, 301))
    assert page.replaced == []
    await socket.disconnect()


async def test_what_a_service_logs_comes_on_its_own(hub: Hub) -> None:
    run, client = await sync_to_async(watched_run)()
    socket, page = open_socket(run_path(run), client), Page(run)
    await socket.connect()
    await page.read(socket)

    raw = {"role": "user", "content": "Hello"}
    item = {"type": "input", "agent": "", "raw": raw}
    await sync_to_async(record_event)(run.pk, EventKind.ITEM, item)
    await page.read_to(socket, 1)

    assert page.appended == [1]
    await socket.disconnect()


async def test_history_and_news_do_not_overlap(hub: Hub) -> None:
    run, client = await sync_to_async(watched_run)()
    await sync_to_async(say)(run, *(f"old {n}" for n in range(50)), pokes=False)
    writing = asyncio.ensure_future(
        sync_to_async(say)(run, *(f"new {n}" for n in range(50)))
    )

    socket, page = open_socket(run_path(run), client), Page(run)
    await socket.connect()
    await page.read_to(socket, 100)
    await writing

    assert page.appended == list(range(1, 101))
    await socket.disconnect()


async def test_a_log_longer_than_one_read_arrives_whole(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = timeline.changes
    monkeypatch.setattr(timeline, "changes", lambda pk, after: real(pk, after, limit=7))
    run, client = await sync_to_async(watched_run)()
    await sync_to_async(say)(run, *("again" for _ in range(40)), pokes=False)

    socket, page = open_socket(run_path(run), client), Page(run)
    await socket.connect()
    await page.read_to(socket, 40)

    assert page.appended == list(range(1, 41))
    await socket.disconnect()


async def test_nothing_is_lost_when_every_poke_is(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop_pokes(monkeypatch)
    run, client = await sync_to_async(watched_run)()
    socket, page = open_socket(run_path(run), client), Page(run)
    await socket.connect()
    await page.read(socket)

    await sync_to_async(say)(run, "one", "two")
    await hub.look_around()
    await page.read_to(socket, 2)
    await sync_to_async(say)(run, "three")
    await hub.look_around()
    await page.read_to(socket, 3)

    assert page.appended == [1, 2, 3]
    await socket.disconnect()


async def test_the_clock_looks_around(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runs.live.hub.TICK_S", 0.01)
    await hub.stop()
    drop_pokes(monkeypatch)
    await hub.start()
    run, client = await sync_to_async(watched_run)()
    socket, page = open_socket(run_path(run), client), Page(run)
    await socket.connect()
    await page.read(socket)

    await sync_to_async(say)(run, "one")
    await page.read_to(socket, 1)

    assert page.appended == [1]
    await socket.disconnect()


def queries_to_look_around(hub: Hub) -> int:
    with CaptureQueriesContext(connection) as captured:
        async_to_sync(hub.look_around)()
    return len(captured)


async def test_looking_around_costs_the_same_for_many_sockets(hub: Hub) -> None:
    run, client = await sync_to_async(watched_run)()
    sockets = [open_socket(run_path(run), client) for _ in range(4)]
    for socket in sockets:
        await socket.connect()
        await Page(run).read(socket)

    for_four = await sync_to_async(queries_to_look_around)(hub)
    for socket in sockets[1:]:
        await socket.disconnect()
    for_one = await sync_to_async(queries_to_look_around)(hub)

    # Of sessions, people and the runs' heads, and four of rights: two for all people,
    # two for all of one standing.
    assert for_four == for_one == 7
    await sockets[0].disconnect()


async def test_a_socket_resumes_after_the_seq_it_saw(hub: Hub) -> None:
    run, client = await sync_to_async(watched_run)()
    await sync_to_async(say)(run, "one", "two", "three", "four")

    socket, page = open_socket(run_path(run, after=2), client), Page(run)
    await socket.connect()
    await page.read_to(socket, 4)

    assert page.appended == [3, 4]
    await socket.disconnect()


@pytest.mark.parametrize("after", ["", "-1", "x", "1e3", "9" * 40, "²"])
async def test_a_senseless_after_reads_from_the_start(hub: Hub, after: str) -> None:
    run, client = await sync_to_async(watched_run)()
    await sync_to_async(say)(run, "one")

    socket, page = open_socket(run_path(run, after), client), Page(run)  # type: ignore[arg-type]  # on purpose
    await socket.connect()
    await page.read_to(socket, 1)

    assert page.appended == [1]
    await socket.disconnect()


async def test_a_call_that_changes_is_replaced_in_its_place(hub: Hub) -> None:
    run, client = await sync_to_async(watched_run)()
    raw = {"type": "function_call", "name": "look", "arguments": "{}", "call_id": "c"}
    call = {"type": "tool_call", "agent": "Support", "raw": raw}
    await sync_to_async(log)(run, EventKind.ITEM, call, "c")
    socket, page = open_socket(run_path(run), client), Page(run)
    await socket.connect()
    await page.read_to(socket, 1)

    started = {"status": "started", "attempt": 1}
    await sync_to_async(log)(run, EventKind.EXECUTION, started, "c")
    await hub.look_around()
    await page.read_to(socket, 2)

    assert (page.appended, page.replaced) == ([1], [1])
    await socket.disconnect()


async def test_a_socket_that_does_not_read_is_cut_and_others_go_on(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "SEND_TIMEOUT_S", 0.05)
    run, client = await sync_to_async(watched_run)()
    slow = open_socket(run_path(run), client)
    closed: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "websocket.close":
            closed.set_result(message["code"])
        elif message["type"] == "websocket.send":
            await asyncio.Event().wait()  # a full buffer that nobody empties

    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    inbox.put_nowait({"type": "websocket.connect"})
    serving = asyncio.ensure_future(slow.application(slow.scope, inbox.get, send))
    quick, page = open_socket(run_path(run), client), Page(run)
    await quick.connect()
    await sync_to_async(say)(run, "one")
    await page.read_to(quick, 1)

    assert await asyncio.wait_for(closed, 10) == consumers.COME_BACK
    assert page.appended == [1]
    inbox.put_nowait({"type": "websocket.disconnect", "code": 4000})
    await serving
    await quick.disconnect()


async def test_live_text_reaches_early_and_late_viewers_alike(hub: Hub) -> None:
    run, client = await sync_to_async(watched_run)()
    early, early_page = open_socket(run_path(run), client), Page(run)
    await early.connect()
    sender = DeltaSender(run.pk)

    await sender.text(1, 1, "You will ")
    await early_page.read_until_text(early, "You will ")
    late, late_page = open_socket(run_path(run), client), Page(run)
    await late.connect()
    await late_page.read_until_text(late, "You will ")
    await sender.text(1, 1, "get <b>")
    await early_page.read_until_text(early, "You will get &lt;b&gt;")
    await late_page.read_until_text(late, "You will get &lt;b&gt;")

    await sender.close()
    await early.disconnect()
    await late.disconnect()


async def test_the_stored_message_replaces_the_text(hub: Hub) -> None:
    run, client = await sync_to_async(watched_run)()
    socket, page = open_socket(run_path(run), client), Page(run)
    await socket.connect()
    sender = DeltaSender(run.pk)
    await sender.text(1, 1, "Done")
    await page.read_until_text(socket, "Done")

    await sync_to_async(answer)(run, "Done.", turn=1)
    await page.read_to(socket, 2)

    assert page.text == ""
    assert page.appended == [1]
    late, late_page = open_socket(run_path(run), client), Page(run)
    await late.connect()
    await late_page.read_to(late, 2)
    await late.disconnect()
    assert late_page.text == ""
    await sender.close()
    await socket.disconnect()


async def test_a_new_attempt_withdraws_the_text_of_the_one_before(hub: Hub) -> None:
    run, client = await sync_to_async(watched_run)()
    socket, page = open_socket(run_path(run), client), Page(run)
    await socket.connect()
    sender = DeltaSender(run.pk)
    await sender.text(1, 1, "I wil")
    await page.read_until_text(socket, "I wil")

    await sender.text(1, 2, "You shall")
    await page.read_until_text(socket, "You shall")

    await sender.close()
    await socket.disconnect()


async def test_a_restarted_runner_counts_attempts_anew(hub: Hub) -> None:
    run, client = await sync_to_async(watched_run)()
    socket, page = open_socket(run_path(run), client), Page(run)
    await socket.connect()
    before = DeltaSender(run.pk)
    await before.text(1, 1, "I wil")
    await page.read_until_text(socket, "I wil")
    retry = {"turn": 1, "attempt": 1, "error": "cut"}
    await sync_to_async(log)(run, EventKind.RETRY, retry)
    await hub.look_around()
    await page.read_until_text(socket, "")

    after = DeltaSender(run.pk)
    await after.text(1, 1, "You shall")
    await page.read_until_text(socket, "You shall")

    await before.close()
    await after.close()
    await socket.disconnect()


async def test_live_text_shows_what_cannot_be_seen(hub: Hub) -> None:
    run, client = await sync_to_async(watched_run)()
    socket, page = open_socket(run_path(run), client), Page(run)
    await socket.connect()
    sender = DeltaSender(run.pk)

    await sender.text(1, 1, "a\u202eb\ud800")
    html = await page.read(socket)
    while "U+202E" not in html:
        html = await page.read(socket)

    assert "\u202e" not in html
    await sender.close()
    await socket.disconnect()


async def test_text_whose_beginning_was_missed_is_not_shown(hub: Hub) -> None:
    run, client = await sync_to_async(watched_run)()
    layer = get_channel_layer()
    delta = {"type": "live.delta", "run": str(run.pk), "turn": 1, "attempt": 1}

    await layer.group_send(GROUP, {**delta, "offset": 4, "text": "lost"})
    await layer.group_send(GROUP, {**delta, "attempt": 2, "offset": 0, "text": "new"})
    socket, page = open_socket(run_path(run), client), Page(run)
    await socket.connect()
    await page.read_until_text(socket, "new")
    await layer.group_send(GROUP, {**delta, "attempt": 2, "offset": 9, "text": "gap"})
    await layer.group_send(GROUP, {**delta, "attempt": 3, "offset": 0, "text": "end"})
    await page.read_until_text(socket, "end")

    await socket.disconnect()


async def test_text_of_a_run_that_stands_still_is_forgotten(hub: Hub) -> None:
    run, _ = await sync_to_async(watched_run)()
    message = {"run": str(run.pk), "turn": 1, "attempt": 1, "offset": 0, "text": "a"}
    hub._take({"type": "live.delta", **message})
    assert hub.text_of(run.pk) is not None

    await Run.objects.filter(pk=run.pk).aupdate(status=RunStatus.WAITING)
    await hub.look_around()

    assert hub.text_of(run.pk) is None


async def test_deltas_are_batched_and_their_offsets_fit() -> None:
    layer = get_channel_layer()
    await layer.group_add(GROUP, "test.deltas")
    run = uuid4()
    sender = DeltaSender(run)

    for letter in "abc":
        await sender.text(1, 1, letter)
    await sender.text(1, 2, "d")
    await sender.close()
    got = [await layer.receive("test.deltas") for _ in range(3)]
    await layer.group_discard(GROUP, "test.deltas")

    assert [(m["attempt"], m["offset"], m["text"], m["done"]) for m in got] == [
        (1, 0, "abc", False),
        (2, 0, "d", False),
        (2, 0, "", True),
    ]


async def test_a_broken_layer_is_logged_once_and_not_raised(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: asyncio.Queue[str] = asyncio.Queue()

    async def broken(group: str, message: dict[str, Any]) -> None:
        asked.put_nowait(message["type"])
        raise ValueError("no layer")

    monkeypatch.setattr(get_channel_layer(), "group_send", broken)
    set_home(asyncio.get_running_loop())
    sender = DeltaSender(uuid4())

    with caplog.at_level(logging.WARNING, "runs.live"):
        await sync_to_async(poke)("run:1")
        await sender.text(1, 1, "text")
        await sender.close()
        told = [await asyncio.wait_for(asked.get(), 10) for _ in range(3)]
        monkeypatch.undo()
        await group_send({"type": "live.echo"})
    set_home(None)

    texts = [record.getMessage() for record in caplog.records]
    assert texts == ["The channel layer did not take a message."]
    assert sorted(told) == ["live.delta", "live.delta", "live.poke"]


async def test_a_hub_ends_though_its_layer_hides_the_cancellation(hub: Hub) -> None:
    """A layer that fails as it is cancelled raised its own error instead."""
    other = Hub()

    async def belong() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise OSError("the connection was lost") from None

    other._belong = belong  # type: ignore[method-assign]  # the layer's part of it
    await other.start()
    tasks = list(other._tasks)
    await asyncio.sleep(0)

    await other.stop()

    assert all(task.done() for task in tasks)
