from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from approvals import services, topics
from approvals.models import ApprovalRequest, Attention, Look
from approvals.services import decide
from runs.live.consumers import SIGNED_OUT
from runs.live.hub import Hub
from runs.live.pokes import poke
from runs.models import Run

from .cast import (
    TIMEOUT_S,
    Page,
    change_request,
    make_request,
    make_run,
    make_user,
    open_socket,
    run_path,
    say,
    signed_in,
)

pytestmark = pytest.mark.django_db(transaction=True)

QUEUE = "/ws/queue/"
HOUR = timedelta(hours=1)


class Cast:
    """bob owns a run, ada decides, carl follows, eve is a stranger."""

    def __init__(self) -> None:
        self.bob = make_user("bob", "start_run")
        self.ada = make_user(
            "ada", "decide_request", "view_approvalrequest", "follow_run"
        )
        self.carl = make_user("carl", "follow_run")
        self.eve = make_user("eve")
        self.run = make_run(self.bob)


async def cast() -> Cast:
    return await sync_to_async(Cast)()


async def visitor(user: User) -> Client:
    return await sync_to_async(signed_in)(user)


async def closed_with(socket: WebsocketCommunicator) -> int:
    """Return the close code, whatever news comes before it."""
    while True:
        message = await socket.receive_output(TIMEOUT_S)
        if message["type"] == "websocket.close":
            return int(message["code"])


async def test_a_socket_without_a_session_is_refused_before_accept(hub: Hub) -> None:
    people = await cast()

    for path in (run_path(people.run), QUEUE):
        assert (await open_socket(path).connect())[0] is False


@pytest.mark.parametrize(
    ("name", "sees_run", "sees_queue"),
    [
        ("bob", True, False),
        ("ada", True, True),
        ("carl", True, False),
        ("eve", False, False),
    ],
)
async def test_who_may_open_which_socket(
    hub: Hub, name: str, sees_run: bool, sees_queue: bool
) -> None:
    people = await cast()
    client = await visitor(getattr(people, name))

    run, queue = open_socket(run_path(people.run), client), open_socket(QUEUE, client)

    assert (await run.connect())[0] is sees_run
    assert (await queue.connect())[0] is sees_queue
    await run.disconnect()
    await queue.disconnect()


async def test_a_socket_from_another_origin_is_refused(hub: Hub) -> None:
    people = await cast()
    client = await visitor(people.bob)

    socket = open_socket(run_path(people.run), client, origin="https://evil.example")

    assert (await socket.connect())[0] is False


async def test_a_socket_to_no_address_is_refused(hub: Hub) -> None:
    people = await cast()
    client = await visitor(people.ada)

    for path in ("/ws/nothing/", f"/ws/runs/{uuid4()}/", "/"):
        assert (await open_socket(path, client).connect())[0] is False


async def test_what_a_browser_sends_changes_nothing(hub: Hub) -> None:
    people = await cast()
    socket = open_socket(run_path(people.run), await visitor(people.bob))
    page = Page(people.run)
    await socket.connect(TIMEOUT_S)

    await socket.send_to(text_data='{"verdict": "approve"}')
    await socket.send_to(bytes_data=b"\xff")
    await sync_to_async(say)(people.run, "still here")
    await page.read_to(socket, 1)

    assert page.appended == [1]
    await socket.disconnect()


async def test_signing_out_closes_the_sockets_of_that_session_only(hub: Hub) -> None:
    people = await cast()
    here, elsewhere = await visitor(people.ada), await visitor(people.ada)
    sockets = [open_socket(run_path(people.run), here), open_socket(QUEUE, here)]
    other, page = open_socket(run_path(people.run), elsewhere), Page(people.run)
    for socket in (*sockets, other):
        await socket.connect(TIMEOUT_S)

    await sync_to_async(here.post)(reverse("sign_out"))

    assert [await closed_with(socket) for socket in sockets] == [SIGNED_OUT] * 2
    await sync_to_async(say)(people.run, "one")
    await page.read_to(other, 1)
    await other.disconnect()


def end_session(client: Client, user: User) -> None:
    client.session.delete()


def let_session_expire(client: Client, user: User) -> None:
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))


def change_password(client: Client, user: User) -> None:
    user.set_password("another")
    user.save()


def deactivate(client: Client, user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


@pytest.mark.parametrize(
    "end", [end_session, let_session_expire, change_password, deactivate]
)
async def test_a_session_that_ends_unheard_closes_its_sockets(
    hub: Hub, end: Any
) -> None:
    people = await cast()
    client = await visitor(people.bob)
    socket = open_socket(run_path(people.run), client)
    await socket.connect(TIMEOUT_S)

    await sync_to_async(end)(client, people.bob)
    await hub.look_around()

    assert await closed_with(socket) == SIGNED_OUT


async def test_a_right_that_is_taken_away_ends_the_news(hub: Hub) -> None:
    people = await cast()
    client = await visitor(people.ada)
    run, queue = open_socket(run_path(people.run), client), open_socket(QUEUE, client)
    await run.connect()
    await queue.connect()

    await sync_to_async(people.ada.user_permissions.clear)()
    await hub.look_around()
    await sync_to_async(say)(people.run, "secret")
    await sync_to_async(poke)(topics.QUEUE)

    assert await closed_with(run) == SIGNED_OUT
    assert await closed_with(queue) == SIGNED_OUT


async def queue_of(
    people: Cast, *, after: datetime | None = None, view: str = "all"
) -> tuple[WebsocketCommunicator, str]:
    """Return ada's socket and the news it brings first; her page is of `after`."""
    asked = urlencode({"after": (after or timezone.now()).isoformat(), "view": view})
    socket = open_socket(f"{QUEUE}?{asked}", await visitor(people.ada))
    await socket.connect(TIMEOUT_S)
    return socket, await socket.receive_from(TIMEOUT_S)


def new_in(html: str) -> list[str]:
    """Return the ids of what the page shall count as new."""
    found = re.search(r'data-new="([^"]*)"', html)
    assert found, html
    return found[1].split()


def row_id(request: ApprovalRequest) -> str:
    return f'id="request-{request.pk}"'


def request_for(run: Run, call_key: str) -> ApprovalRequest:
    request = make_request(run, call_key)
    poke(topics.QUEUE)
    return request


async def test_a_socket_brings_what_changed_since_its_page_was_made(hub: Hub) -> None:
    """Also where other sockets of the same standing have had it long ago."""
    people = await cast()
    old = await sync_to_async(make_request)(people.run, "call_1")
    await ApprovalRequest.objects.aupdate(updated_at=old.updated_at - HOUR)
    first, _ = await queue_of(people)
    new = await sync_to_async(request_for)(people.run, "call_2")
    await first.receive_from(TIMEOUT_S)

    second, html = await queue_of(people, after=timezone.now() - HOUR / 2)

    assert row_id(new) in html
    assert row_id(old) not in html
    assert new_in(html) == [str(new.pk)]
    await first.disconnect()
    await second.disconnect()


@pytest.mark.parametrize("query", ["", "?after=never", "?after=2026-01-01T00:00:00"])
async def test_a_page_of_unknown_age_is_told_to_fetch_the_list(
    hub: Hub, query: str
) -> None:
    people = await cast()
    await sync_to_async(make_request)(people.run, "call_1")
    socket = open_socket(QUEUE + query, await visitor(people.ada))
    await socket.connect(TIMEOUT_S)

    html = await socket.receive_from(TIMEOUT_S)

    assert "data-whole" in html
    assert 'id="request-' not in html
    await socket.disconnect()


async def test_more_changes_than_are_worth_sending_are_fetched_as_a_list(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("approvals.live.MANY", 2)
    people = await cast()
    socket, _ = await queue_of(people)

    for number in range(3):
        await sync_to_async(make_request)(people.run, f"call_{number}")
    await sync_to_async(poke)(topics.QUEUE)
    html = await socket.receive_from(TIMEOUT_S)

    assert "data-whole" in html
    assert 'id="request-' not in html
    await socket.disconnect()


async def test_a_new_request_comes_as_a_row_that_is_new(hub: Hub) -> None:
    people = await cast()
    old = await sync_to_async(make_request)(people.run, "call_1")
    socket, _ = await queue_of(people)

    new = await sync_to_async(request_for)(people.run, "call_2")
    html = await socket.receive_from(TIMEOUT_S)

    assert row_id(new) in html
    assert row_id(old) not in html
    assert new_in(html) == [str(new.pk)]
    assert 'id="pending-count"' in html
    await socket.disconnect()


async def test_what_is_not_in_the_view_is_not_new_there(hub: Hub) -> None:
    people = await cast()
    await sync_to_async(make_request)(people.run, "call_1")
    socket, _ = await queue_of(people, view="high")

    low = await sync_to_async(request_for)(people.run, "call_2")
    html = await socket.receive_from(TIMEOUT_S)

    assert row_id(low) in html
    assert new_in(html) == []
    await socket.disconnect()


async def test_who_looks_and_who_claims_comes_as_a_row_and_goes_by_itself(
    hub: Hub,
) -> None:
    people = await cast()
    request = await sync_to_async(make_request)(people.run)
    await ApprovalRequest.objects.aupdate(updated_at=request.updated_at - HOUR)
    socket, _ = await queue_of(people)

    await sync_to_async(services.look)(request.pk, by=people.bob)
    looking = await socket.receive_from(TIMEOUT_S)
    await sync_to_async(services.claim)(request.pk, by=people.ada)
    claimed = await socket.receive_from(TIMEOUT_S)
    long_ago = timezone.now() - HOUR
    await Look.objects.aupdate(seen_at=long_ago)
    await Attention.objects.aupdate(claimed_until=long_ago)
    for feed in hub._feeds.values():
        feed._lapses = dict.fromkeys(feed._lapses, long_ago)  # type: ignore[attr-defined]
    await hub.look_around()
    over = await socket.receive_from(TIMEOUT_S)

    assert 'data-who="bob"' in looking
    assert "claimed by ada" in claimed
    assert row_id(request) in over
    assert 'data-who="bob"' not in over
    assert "claimed by" not in over
    await socket.disconnect()


async def test_a_look_that_goes_on_is_told_once(hub: Hub) -> None:
    people = await cast()
    request = await sync_to_async(make_request)(people.run)
    socket, _ = await queue_of(people)
    await sync_to_async(services.look)(request.pk, by=people.bob)
    await socket.receive_from(TIMEOUT_S)

    await sync_to_async(services.look)(request.pk, by=people.bob)
    await hub.look_around()

    assert await socket.receive_nothing(0.2)
    await socket.disconnect()


async def test_a_decided_request_changes_in_its_place(hub: Hub) -> None:
    people = await cast()
    request = await sync_to_async(make_request)(people.run)
    socket, _ = await queue_of(people)

    await sync_to_async(change_request)(request, "cancelled")
    html = await socket.receive_from(TIMEOUT_S)

    assert row_id(request) in html
    assert new_in(html) == []
    await socket.disconnect()


async def test_a_verdict_reaches_the_queue_on_its_own(hub: Hub) -> None:
    people = await cast()
    request = await sync_to_async(make_request)(people.run)
    socket, _ = await queue_of(people)

    await sync_to_async(decide)(
        request.pk, verdict="reject", by=people.ada, digest_seen=request.digest
    )
    html = await socket.receive_from(TIMEOUT_S)

    assert row_id(request) in html
    assert "Rejected by ada" in html
    await socket.disconnect()


async def test_a_row_comes_once_for_each_change(hub: Hub) -> None:
    people = await cast()
    await sync_to_async(make_request)(people.run, "call_0")
    socket, _ = await queue_of(people)

    first = await sync_to_async(request_for)(people.run, "call_1")
    one = await socket.receive_from(TIMEOUT_S)
    second = await sync_to_async(request_for)(people.run, "call_2")
    two = await socket.receive_from(TIMEOUT_S)

    assert (one.count(row_id(first)), one.count(row_id(second))) == (1, 0)
    assert (two.count(row_id(first)), two.count(row_id(second))) == (0, 1)
    await socket.disconnect()


async def test_the_queue_misses_nothing_without_pokes(hub: Hub) -> None:
    people = await cast()
    await sync_to_async(make_request)(people.run, "call_0")
    socket, _ = await queue_of(people)

    request = await sync_to_async(make_request)(people.run, "call_1")
    await hub.look_around()
    html = await socket.receive_from(TIMEOUT_S)

    assert row_id(request) in html
    await socket.disconnect()


async def test_a_request_that_commits_late_is_not_skipped(hub: Hub) -> None:
    people = await cast()
    await sync_to_async(make_request)(people.run, "call_0")
    socket, _ = await queue_of(people)

    late = await sync_to_async(make_request)(people.run, "call_1")
    await ApprovalRequest.objects.filter(pk=late.pk).aupdate(
        updated_at=late.updated_at - timedelta(seconds=5)
    )
    await sync_to_async(poke)(topics.QUEUE)
    html = await socket.receive_from(TIMEOUT_S)

    assert row_id(late) in html
    await socket.disconnect()
