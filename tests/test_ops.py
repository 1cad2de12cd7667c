"""The page on how the work stands: who sees it, what it says, what it costs."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from approvals import ops as approvals_ops
from approvals.models import ApprovalRequest
from runs import ops, registry
from runs.models import Conversation, Run, RunStatus, Worker
from tests.factories import ada, bob, eve, make_user, start

pytestmark = pytest.mark.django_db

HTMX = {"hx-request": "true"}


def make_worker(name: str = "w1", **fields: Any) -> Worker:
    now = timezone.now()
    values = {"host": name, "pid": 7, "concurrency": 20, "started_at": now}
    return Worker.objects.create(name=name, **values | {"seen_at": now} | fields)


def make_run(status: RunStatus, **fields: Any) -> Run:
    run = start()
    Run.objects.filter(pk=run.pk).update(status=status, **fields)
    run.refresh_from_db()
    return run


def make_held(owner: str = "w1", *, expires_s: float = 20, **fields: Any) -> Run:
    expires = timezone.now() + timedelta(seconds=expires_s)
    lease = {"lease_owner": owner, "lease_epoch": 3, "lease_expires_at": expires}
    return make_run(RunStatus.RUNNING, **lease | fields)


def make_request(run: Run | None = None, **fields: Any) -> ApprovalRequest:
    now = timezone.now()
    values: dict[str, Any] = {
        "run": run or start(),
        "call_key": uuid4().hex,
        "tool": "refund",
        "agent_path": "Shop",
        "call": "{}",
        "arguments": "{}",
        "schema_hash": "0" * 64,
        "digest": "d" * 64,
        "summary": "Refund order 1042",
        "why": "The tool always asks.",
        "created_at": now,
        "updated_at": now,
    }
    return ApprovalRequest.objects.create(**values | fields)


def page(user: User | None = None) -> str:
    """Return the text of the page, as `user` (an operator) reads it."""
    client = Client()
    client.force_login(user or operator())
    html = client.get("/ops/").content.decode()
    text = re.sub(r"<[^>]+>", " ", html[html.index('<div id="board"') :])
    return re.sub(r"\s+", " ", text)


def operator() -> User:
    return User.objects.filter(username="bob").first() or bob()


# Who sees it


def test_who_sees_every_run_sees_the_page_and_the_way_to_it() -> None:
    for user in (ada(), bob(), make_user("root", is_superuser=True, is_staff=True)):
        client = Client()
        client.force_login(user)

        assert client.get("/ops/").status_code == 200
        assert 'href="/ops/"' in client.get("/").content.decode()


def test_strangers_find_nothing() -> None:
    client = Client()
    assert client.get("/ops/")["Location"] == "/sign-in/?next=/ops/"
    client.force_login(make_user("staff", is_staff=True))
    assert client.get("/ops/").status_code == 404
    client.force_login(eve())
    assert client.get("/ops/").status_code == 404
    assert 'href="/ops/"' not in client.get("/").content.decode()
    assert client.post("/ops/").status_code == 405


def test_a_renewal_brings_the_board_alone() -> None:
    client = Client()
    client.force_login(bob())

    part = client.get("/ops/", headers=HTMX).content.decode()

    assert part.startswith('<div id="board"')
    assert 'hx-trigger="every 5s"' in part
    assert "<h1>" not in part


def test_renewals_end_once_the_reader_is_signed_out_or_may_no_longer() -> None:
    signed_out = Client().get(
        "/ops/", headers={**HTMX, "hx-current-url": "http://testserver/ops/"}
    )
    client = Client()
    client.force_login(eve())
    refused = client.get("/ops/", headers=HTMX)

    assert signed_out.status_code == refused.status_code == 286
    assert signed_out["HX-Redirect"] == "/sign-in/?next=/ops/"
    assert "hx-trigger" not in refused.content.decode()


# What it says


def test_nothing_at_all_says_what_will_be_here() -> None:
    text = page()

    assert "No worker is running" in text
    assert "nothing waits for a worker" in text
    assert text.count("None.") == 3


def test_workers_are_working_silent_or_gone(settings: Any) -> None:
    settings.PLACET_LEASE = timedelta(seconds=30)
    now = timezone.now()
    make_worker("here")
    make_worker("mute", seen_at=now - timedelta(seconds=31))
    make_worker("gone", seen_at=now, left_at=now)
    make_held("here")

    rows = ops.work(now).workers

    told = {row.worker.host: (row.state, row.running) for row in rows}
    assert told == {"here": ("working", 1), "mute": ("silent", 0), "gone": ("left", 0)}
    assert [row.worker.host for row in rows] == ["here", "mute", "gone"]
    assert re.search(r"here 7 Working \d+ s ago 1 of 20", page())


def test_leases_run_out_first_to_last_and_an_expired_one_is_flagged() -> None:
    make_worker("w1")
    later, dead = make_held(expires_s=20), make_held("lost", expires_s=-90)

    rows = ops.work(timezone.now()).leases

    assert [(row.run, row.is_expired) for row in rows] == [(dead, True), (later, False)]
    assert [row.holder and row.holder.host for row in rows] == [None, "w1"]
    text = page()
    assert text.count("expired") == 1
    assert re.search(r"lost 3 expired 1 min ago", text)


def test_runs_are_counted_by_where_they_stand() -> None:
    now = timezone.now()
    oldest = start()
    Run.objects.filter(pk=oldest.pk).update(updated_at=now - timedelta(minutes=9))
    start()
    make_held()
    make_held(stop_requested_at=now)
    make_run(RunStatus.WAITING)
    make_run(RunStatus.FAILED, finished_at=now - timedelta(hours=23))
    make_run(RunStatus.FAILED, finished_at=now - timedelta(hours=25))

    found = ops.work(now)

    assert found.counts == {
        "queued": 2,
        "running": 2,
        "waiting": 1,
        "stopping": 1,
        "failed": 1,
    }
    assert found.queued_since == now - timedelta(minutes=9)
    assert "Queued 2 oldest 9 min ago" in page()


def test_counting_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "COUNT_CAP", 2)
    for _ in range(3):
        start()

    assert "Queued 2+" in page()


def test_agents_show_their_limit_and_what_is_queued(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "_agents", dict(registry._agents))
    registry.register(registry.get("shop").agent, key="shop", max_running=1)
    make_held()
    start()
    Run.objects.filter(pk=start().pk).update(agent_key="removed")

    rows = {row.key: row for row in ops.work(timezone.now()).agents}

    assert (rows["shop"].running, rows["shop"].limit, rows["shop"].queued) == (1, 1, 1)
    assert (rows["removed"].queued, rows["removed"].limit) == (1, None)
    assert "Shop 1 full 1 1" in page()


def test_pending_requests_are_counted_by_age_and_risk() -> None:
    now = timezone.now()
    run = start()
    ages = [timedelta(minutes=1), timedelta(minutes=30), timedelta(hours=5)]
    for age in [*ages, timedelta(days=40)]:
        make_request(run, risk="high", created_at=now - age)
    make_request(run, risk="low", created_at=now - timedelta(days=2))
    make_request(run, status="approved")
    make_request(run, kind="reconcile")

    found = approvals_ops.requests(now)

    assert [(row.label, row.of_risk[1][1], row.total) for row in found.ages] == [
        ("under 5 min", 1, 1),
        ("under 1 h", 1, 1),
        ("under 1 day", 1, 1),
        ("older", 1, 2),
    ]
    assert found.counts == {"pending": 6, "in_doubt": 1}
    assert "older 0 1 0 1 2" in page()


def test_a_call_in_doubt_is_listed_with_the_way_to_it() -> None:
    card = make_request(kind="reconcile", tool="ship", risk="high")
    make_request(kind="reconcile", tool="old", status="answered")
    client = Client()
    client.force_login(bob())

    html = client.get("/ops/").content.decode()

    assert f'href="/requests/{card.pk}/"' in html
    assert "<code>ship</code>" in html
    assert "<code>old</code>" not in html


def test_who_sees_runs_and_no_requests_is_led_to_the_run() -> None:
    card = make_request(kind="reconcile")
    follower = make_user("fay")
    follower.user_permissions.add(Permission.objects.get(codename="follow_run"))
    client = Client()
    client.force_login(follower)

    html = client.get("/ops/").content.decode()

    assert f'href="/runs/{card.run_id}/"' in html
    assert f"/requests/{card.pk}/" not in html


def test_requests_that_nobody_can_decide_are_named() -> None:
    ada()
    make_user("idle", "finance", is_active=False)
    Group.objects.create(name="legal").user_set.add(make_user("lea"))  # may not decide
    now = timezone.now()
    oldest = make_request(reviewers="finance", created_at=now - timedelta(hours=2))
    for reviewers in ("finance", "legal", "nowhere", "reviewers", ""):
        make_request(reviewers=reviewers)

    rows = approvals_ops.requests(now).stuck

    assert {row.group: row.count for row in rows} == {
        "finance": 2,
        "legal": 1,
        "nowhere": 1,
    }
    assert [row.oldest for row in rows if row.group == "finance"] == [oldest]
    assert "The group finance has no active member who may decide: 2" in page()


def test_without_any_reviewer_every_request_is_stuck() -> None:
    make_request()

    assert [row.group for row in approvals_ops.requests(timezone.now()).stuck] == [""]
    assert "There is no active reviewer" in page()


def test_whoever_was_given_the_right_alone_can_decide() -> None:
    make_request(reviewers="finance")
    judge = make_user("judge", "finance")
    judge.user_permissions.add(Permission.objects.get(codename="decide_request"))

    assert approvals_ops.requests(timezone.now()).stuck == []


def test_it_says_what_this_process_works_with(settings: Any) -> None:
    text = page()

    assert "Open sockets 0" in text
    assert "Wake-ups Embedded" in text or "Wake-ups Procrastinate" in text


def test_agent_text_is_inert() -> None:
    hostile = "<b>x</b>\u202eevil"
    make_request(kind="reconcile", tool=hostile, reviewers="<i>none")
    held = make_held(hostile)
    Conversation.objects.filter(pk=held.conversation_id).update(title=hostile)
    client = Client()
    client.force_login(bob())

    html = client.get("/ops/").content.decode()

    assert "<b>x</b>" not in html
    assert "<i>none" not in html
    assert "\u202e" not in html


# What it costs


def test_the_page_asks_the_same_queries_whatever_there_is() -> None:
    client = Client()
    client.force_login(bob())
    counted = []
    for _ in range(3):
        make_worker(uuid4().hex)
        make_held()
        start()
        make_run(RunStatus.FAILED, finished_at=timezone.now())
        make_request(reviewers="nowhere")
        make_request(kind="reconcile")
        with CaptureQueriesContext(connection) as captured:
            assert client.get("/ops/").status_code == 200
        counted.append(len(captured))

    assert len(set(counted)) == 1
    assert counted[0] < 30


def test_its_counts_are_read_from_indexes() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL's plans depend on what it knows of the rows.")
    make_request(reviewers="nowhere")
    start()
    now = timezone.now()
    with CaptureQueriesContext(connection) as captured:
        ops.run_counts(now)
        approvals_ops.requests(now)

    for plan in plans(captured):
        for step in plan:
            if "runs_run" in step or "approvalrequest" in step:
                assert " INDEX " in step
            assert "ORDER BY" not in step or "DISTINCT" in step


def plans(captured: CaptureQueriesContext) -> list[list[str]]:
    found = []
    with connection.cursor() as cursor:
        for query in list(captured.captured_queries):
            cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
            found.append([str(row[-1]) for row in cursor.fetchall()])
    return found
