"""What sockets share, and what they must not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import Group, Permission, User

from approvals import topics
from approvals.live import QueueFeed
from runs import timeline
from runs.live import feeds
from runs.live.feeds import Reader, RunFeed, Step
from runs.live.hub import Hub
from runs.live.pokes import poke, run_topic
from runs.live.standing import standings
from runs.models import EventKind, Run

from .cast import (
    TIMEOUT_S,
    Page,
    log,
    make_request,
    make_run,
    make_user,
    open_socket,
    run_path,
    say,
    signed_in,
)

pytestmark = pytest.mark.django_db(transaction=True)

FOLLOWER = "follow_run"
QUEUE = "/ws/queue/"


def counted(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[Any]:
    """Return the list of the users, if any, that calls of a function were made for."""
    real, calls = getattr(owner, name), []

    def count(*args: Any, **kwargs: Any) -> Any:
        calls.append(kwargs.get("user"))
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, count)
    return calls


async def watching(
    run: Run, *people: User, after: int = 0
) -> list[tuple[WebsocketCommunicator, Page]]:
    """Return an open socket for each, which has had its first message."""
    opened = []
    for person in people:
        client = await sync_to_async(signed_in)(person)
        socket, page = open_socket(run_path(run, after), client), Page(run)
        assert (await socket.connect(TIMEOUT_S))[0]
        await page.read(socket)
        opened.append((socket, page))
    return opened


async def leave(*opened: tuple[WebsocketCommunicator, Page]) -> None:
    for socket, _ in opened:
        await socket.disconnect()


async def people(*names: str, rights: tuple[str, ...] = (FOLLOWER,)) -> list[User]:
    return [await sync_to_async(make_user)(name, *rights) for name in names]


def call(run: Run, key: str) -> None:
    raw = {"type": "function_call", "name": "refund", "arguments": "{}", "call_id": key}
    log(run, EventKind.ITEM, {"type": "tool_call", "agent": "S", "raw": raw}, key)


def ask(run: Run, key: str = "call_1") -> None:
    """Log a call that waits for a decision, and open its request."""
    call(run, key)
    request = make_request(run, key)
    asked = {"request": str(request.pk), "status": "pending"}
    log(run, EventKind.REQUEST, asked, key)


async def test_an_event_is_read_and_rendered_once_for_many_sockets(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await sync_to_async(make_run)()
    opened = await watching(run, *await people("ann", "ben", "cas", "dan"))
    read = counted(monkeypatch, timeline, "changes")
    rendered = counted(monkeypatch, timeline, "render_block")
    headers = counted(monkeypatch, timeline, "render_header")

    await sync_to_async(say)(run, "one")
    for socket, page in opened:
        await page.read_to(socket, 1)

    assert (len(read), len(rendered), len(headers)) == (1, 1, 1)
    await leave(*opened)


async def test_sockets_that_come_back_together_read_once(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await sync_to_async(make_run)()
    await sync_to_async(say)(run, "one", "two", "three")
    everybody = await people("ann", "ben", "cas")
    read = counted(monkeypatch, timeline, "changes")

    opened = await watching(run, *everybody, after=1)

    assert len(read) == 1
    assert [page.appended for _, page in opened] == [[2, 3]] * 3
    await leave(*opened)


async def test_buttons_are_shown_to_those_who_may_press_them(hub: Hub) -> None:
    run = await sync_to_async(make_run)()
    (carl,) = await people("carl")
    (bob,) = await people("bob", rights=(FOLLOWER, "start_run"))
    opened = await watching(run, carl, bob, carl)

    await sync_to_async(say)(run, "one")
    shown = [await page.read(socket) for socket, page in opened]

    assert ["Stop this run" in html for html in shown] == [False, True, False]
    await leave(*opened)


async def test_a_card_says_what_its_reader_may_decide(hub: Hub) -> None:
    bob = await sync_to_async(make_user)("bob", FOLLOWER)
    run = await sync_to_async(make_run)(bob)
    deciding = (FOLLOWER, "decide_request")
    ada, amy = await people("ada", "amy", rights=deciding)
    (carl,) = await people("carl")
    opened = await watching(run, bob, ada, carl, amy)

    await sync_to_async(ask)(run)
    await hub.look_around()
    shown = []
    for socket, page in opened:
        html = ""
        while page.seq < 2:
            html += await page.read(socket)
        shown.append(html)

    # bob sees the card of his run; carl follows runs and sees no requests.
    assert ["Approve" in html for html in shown] == [True, True, False, True]
    assert ["You started this run" in html for html in shown] == [True, *[False] * 3]
    await leave(*opened)


@pytest.mark.parametrize("kind", ["input", "message", "call", "header", "card"])
async def test_what_equals_share_names_none_of_them(hub: Hub, kind: str) -> None:
    def rendered() -> list[str]:
        ann, ben = (make_user(name, FOLLOWER, "start_run") for name in ("ann", "ben"))
        run = make_run()
        raw: dict[str, Any] = {"content": [{"type": "output_text", "text": "Hello"}]}
        if kind == "input":
            say(run, "Hello", pokes=False)
        elif kind == "message":
            log(run, EventKind.ITEM, {"type": "message", "agent": "A", "raw": raw})
        elif kind == "call":
            call(run, "c")
        elif kind == "card":
            ask(run)
        changes = timeline.changes(run.pk, after=0)
        step = Step(run, 0, changes.last_seq, changes.blocks, kind == "header")
        known = standings([ann, ben])
        readers = [Reader.of(run, person, known[person.pk]) for person in (ann, ben)]
        assert step.is_personal is (kind == "card")
        assert (step.render(readers[0]) is step.render(readers[1])) is not (
            step.is_personal
        )
        alone = [
            Step(run, 0, step.last_seq, step.blocks, step.header_changed).render(reader)
            for reader in readers
        ]
        return ["".join(messages) for messages in alone]

    first, second = await sync_to_async(rendered)()

    assert first == second
    assert "ann" not in first


def test_a_standing_is_where_rights_come_from() -> None:
    group = Group.objects.create(name="followers")
    group.permissions.add(Permission.objects.get(codename=FOLLOWER))
    ann, ben = make_user("ann"), make_user("ben")
    cas, dan = make_user("cas", FOLLOWER), make_user("dan")
    eve = User.objects.create_superuser("eve")
    for person in (ann, ben):
        person.groups.add(group)

    found = standings([ann, ben, cas, dan, eve])

    assert found[ann.pk] == found[ben.pk]
    assert len({found[person.pk] for person in (ann, cas, dan, eve)}) == 4


def test_a_group_that_loses_a_right_is_another_standing() -> None:
    group = Group.objects.create(name="followers")
    group.permissions.add(Permission.objects.get(codename=FOLLOWER))
    ann = make_user("ann")
    ann.groups.add(group)

    before = standings([User.objects.get(pk=ann.pk)])[ann.pk]
    group.permissions.clear()
    after = standings([User.objects.get(pk=ann.pk)])[ann.pk]

    assert before != after


def test_people_share_nothing_where_a_backend_of_its_own_tells_them_apart(
    settings: Any,
) -> None:
    backend = "django.contrib.auth.backends.AllowAllUsersModelBackend"
    settings.AUTHENTICATION_BACKENDS = [backend]
    ann, ben = make_user("ann"), make_user("ben")

    found = standings([ann, ben])

    assert found[ann.pk] != found[ben.pk]


async def test_a_right_given_while_watching_shows_at_the_next_event(hub: Hub) -> None:
    run = await sync_to_async(make_run)()
    (carl,) = await people("carl")
    ((socket, page),) = await watching(run, carl)

    await sync_to_async(
        lambda: carl.user_permissions.add(Permission.objects.get(codename="start_run"))
    )()
    await hub.look_around()
    await sync_to_async(say)(run, "one")
    html = await page.read(socket)

    assert "Stop this run" in html
    await socket.disconnect()


async def test_what_comes_while_a_socket_sends_is_one_message(hub: Hub) -> None:
    run = await sync_to_async(make_run)()
    (carl,) = await people("carl")
    ((quick, page),) = await watching(run, carl)
    slow = open_socket(run_path(run), await sync_to_async(signed_in)(carl))
    sent: asyncio.Queue[str] = asyncio.Queue()
    may_go_on = asyncio.Semaphore(0)

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "websocket.send":
            sent.put_nowait(message["text"])
            await may_go_on.acquire()

    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    inbox.put_nowait({"type": "websocket.connect"})
    serving = asyncio.ensure_future(slow.application(slow.scope, inbox.get, send))
    await asyncio.wait_for(sent.get(), TIMEOUT_S)
    for number in range(1, 6):
        await sync_to_async(say)(run, "again")
        await page.read_to(quick, number)
    may_go_on.release()
    html = await asyncio.wait_for(sent.get(), TIMEOUT_S)

    assert [f'id="block-{run.pk}-{seq}"' in html for seq in range(1, 6)] == [True] * 5
    inbox.put_nowait({"type": "websocket.disconnect", "code": 1006})
    await serving
    await quick.disconnect()


async def test_a_feed_keeps_a_bounded_number_of_steps(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "KEPT_STEPS", 3)
    run = await sync_to_async(make_run)()
    ((socket, page),) = await watching(run, *await people("carl"))

    for number in range(1, 8):
        await sync_to_async(say)(run, "again")
        await page.read_to(socket, number)
    feed = hub._feeds[run_topic(run.pk)]

    assert isinstance(feed, RunFeed)
    assert len(feed._steps) == 3
    await socket.disconnect()


async def test_the_last_socket_takes_its_feed_along(hub: Hub) -> None:
    run = await sync_to_async(make_run)()
    opened = await watching(run, *await people("ann", "ben"))

    await leave(opened[0])
    kept = len(hub._feeds)
    await leave(opened[1])

    assert (kept, len(hub._feeds), len(hub._viewers)) == (1, 0, 0)


async def test_the_queue_is_read_once_for_readers_of_the_same_rights(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await sync_to_async(make_run)()
    await sync_to_async(make_request)(run, "call_0")
    everybody = await people("ann", "ben", "cas", rights=("decide_request",))
    sockets = []
    for person in everybody:
        socket = open_socket(QUEUE, await sync_to_async(signed_in)(person))
        await socket.connect(TIMEOUT_S)
        await socket.receive_from(TIMEOUT_S)
        sockets.append(socket)
    read = counted(monkeypatch, QueueFeed, "_read_change")
    rendered = counted(monkeypatch, QueueFeed, "_row")

    request = await sync_to_async(make_request)(run, "call_1")
    await sync_to_async(poke)(topics.QUEUE)
    shown = [await socket.receive_from(TIMEOUT_S) for socket in sockets]

    assert [html.count(f'id="request-{request.pk}"') for html in shown] == [1, 1, 1]
    assert (len(read), len(rendered)) == (1, 1)
    for socket in sockets:
        await socket.disconnect()


async def test_a_row_that_is_committed_while_its_log_is_read_is_not_left_behind(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run's row said that there was more, and nobody read it any more."""
    [ada] = await people("ada")
    run = await sync_to_async(make_run)()
    await sync_to_async(say)(run, "one")
    opened = await watching(run, ada)
    [(socket, page)] = opened
    await page.read_to(socket, 1)
    changes = timeline.changes
    late = iter(["two"])

    def and_then_commit(*args: Any, **kwargs: Any) -> Any:
        found = changes(*args, **kwargs)
        for text in late:
            say(run, text, pokes=False)
        return found

    monkeypatch.setattr(timeline, "changes", and_then_commit)
    await sync_to_async(poke)(run_topic(run.pk))

    await page.read_to(socket, 2)
    await leave(*opened)
