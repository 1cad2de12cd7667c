"""Wake-ups between processes, on PostgreSQL: put there by a commit, done by a loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from approvals.models import ApprovalRequest
from runs.dispatch import embedded
from runs.models import Conversation, Run, RunStatus, Worker
from runs.services import lease as leases
from runs.services import workers
from tests import elsewhere, servers
from tests.factories import ada, until

from .test_steps import make_call, proposed

if servers.ON_POSTGRESQL:
    from procrastinate.contrib.django import connector_params

    from runs.dispatch import announcements
    from runs.dispatch import procrastinate as jobs

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]
PARAMETERS = "runs.dispatch.procrastinate.connector_params"
ME, ANOTHER = "1-me", "2-another"
LISTENING = (
    "SELECT pid FROM pg_stat_activity"
    " WHERE query LIKE 'LISTEN%' AND datname = current_database()"
)


def rows(sql: str, *values: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)
        return cursor.fetchall() if cursor.description else []


def waiting_jobs() -> list[tuple[Any, ...]]:
    return rows(
        "SELECT args ->> 'run_id', scheduled_at FROM procrastinate_jobs"
        " WHERE task_name = 'runs.look_at' ORDER BY id"
    )


def all_jobs() -> int:
    """Count the looks; the periodic job comes and goes as it likes."""
    return len(waiting_jobs())


def backends() -> list[int]:
    """Return the processes of the server that serve the connections for jobs."""
    return [
        pid
        for (pid,) in rows(
            "SELECT pid FROM pg_stat_activity"
            " WHERE application_name = %s AND datname = current_database()",
            jobs.APPLICATION_NAME,
        )
    ]


def end_backend(pid: int) -> None:
    """Cut the connection that this process of the server serves."""
    maintenance = servers.database_url("postgres")
    with psycopg.connect(maintenance, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


@pytest.fixture
def told() -> Iterator[list[UUID]]:
    """The runs that a runner of this process was told to look at."""
    heard: list[UUID] = []

    def listener(run_id: UUID, at: Any) -> None:
        if at is None:  # what is for later is for the sweeper
            heard.append(run_id)

    embedded.listen(listener)
    yield heard
    embedded.forget(listener)


@pytest.fixture
async def listening(told: list[UUID]) -> AsyncIterator[asyncio.Event]:
    """A loop that does jobs, and has been seen to do one; its end is in order."""
    stop = asyncio.Event()
    task = asyncio.create_task(jobs.hear(ME, stop))
    await deferred(first := uuid4())
    await until_told(told, first)
    yield stop
    stop.set()
    await asyncio.wait_for(task, 20)


async def deferred(run_id: UUID) -> None:
    """Put a job there as another process would: this one is told by the job alone."""
    await sync_to_async(jobs.look_at.defer)(run_id=str(run_id))


async def until_told(told: list[UUID], run_id: UUID) -> None:
    await until(lambda: run_id in told, "The job")


def test_nothing_is_missing_in_the_settings_or_migrations() -> None:
    call_command("check", fail_level="WARNING")
    call_command("makemigrations", check_changes=True, dry_run=True)


def test_a_wake_up_is_a_job_once_its_transaction_commits() -> None:
    run_id = uuid4()

    with transaction.atomic():
        jobs.wake(run_id)

    assert waiting_jobs() == [(str(run_id), None)]


def test_a_wake_up_is_undone_with_its_transaction(told: list[UUID]) -> None:
    def fail() -> None:
        with transaction.atomic():
            jobs.wake(uuid4())
            raise ValueError("the decision was not possible")

    with pytest.raises(ValueError, match="not possible"):
        fail()

    assert waiting_jobs() == []
    assert told == []


def test_a_wake_up_on_a_lost_connection_is_told_as_any_lost_database() -> None:
    def wake_on_a_lost_connection() -> None:
        with transaction.atomic():
            [(pid,)] = rows("SELECT pg_backend_pid()")
            end_backend(pid)
            jobs.wake(uuid4())

    with pytest.raises(OperationalError, match="could not be stored"):
        wake_on_a_lost_connection()


def test_a_wake_up_for_later_waits_until_then(told: list[UUID]) -> None:
    run_id, later = uuid4(), timezone.now() + timedelta(hours=1)

    jobs.wake(run_id, at=later)

    assert waiting_jobs() == [(str(run_id), later)]
    assert told == []


async def test_a_job_nobody_heard_of_is_found_and_gone_when_it_is_done(
    told: list[UUID], listening: asyncio.Event
) -> None:
    run_id = uuid4()

    await deferred(run_id)

    await until_told(told, run_id)
    await until(lambda: all_jobs() == 0, "The end of the job")


@pytest.fixture
async def hearing(
    told: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[None]:
    """A runner that lives, and hears only of what is announced to it."""
    monkeypatch.setattr(jobs, "POLL_S", 3600.0)
    await sync_to_async(workers.enter)(ME, concurrency=1)
    stop = asyncio.Event()
    task = asyncio.create_task(jobs.hear(ME, stop))
    await until(lambda: rows(LISTENING), "The listener")
    yield
    stop.set()
    await asyncio.wait_for(task, 20)


@transaction.atomic
def announced(*run_ids: UUID) -> None:
    for run_id in run_ids:
        announcements.announce(run_id)


async def test_a_commit_tells_a_runner_that_lives(
    told: list[UUID], hearing: None
) -> None:
    run_id = uuid4()

    await sync_to_async(announced)(run_id)

    await until_told(told, run_id)


async def test_what_is_not_committed_is_not_announced(
    told: list[UUID], hearing: None
) -> None:
    undone, done = uuid4(), uuid4()

    def fail() -> None:
        with transaction.atomic():
            announcements.announce(undone)
            raise ValueError("the decision was not possible")

    with pytest.raises(ValueError, match="not possible"):
        await sync_to_async(fail)()
    await sync_to_async(announced)(done)

    await until_told(told, done)
    assert told == [done]


async def test_whoever_holds_a_run_is_told_of_it(
    told: list[UUID], hearing: None
) -> None:
    await sync_to_async(workers.enter)(ANOTHER, concurrency=1)
    theirs = [await sync_to_async(held_by)(ANOTHER) for _ in range(5)]
    mine = [await sync_to_async(held_by)(ME) for _ in range(5)]

    await sync_to_async(announced)(*theirs, *mine)

    await until_told(told, mine[-1])
    assert told == mine


def held_by(name: str) -> UUID:
    now = timezone.now()
    talk = Conversation.objects.create(agent_key="x", created_at=now, updated_at=now)
    return Run.objects.create(
        conversation=talk,
        agent_key="x",
        status=RunStatus.RUNNING,
        lease_owner=name,
        created_at=now,
        updated_at=now,
    ).pk


async def test_of_two_runners_always_the_same_is_told_of_a_run(
    told: list[UUID], hearing: None
) -> None:
    await sync_to_async(workers.enter)(ANOTHER, concurrency=1)
    run_ids, last = [uuid4() for _ in range(20)], await sync_to_async(held_by)(ME)

    for _ in range(3):
        await sync_to_async(announced)(*run_ids)
    await sync_to_async(announced)(last)

    await until_told(told, last)
    times = {run_id: told.count(run_id) for run_id in run_ids}
    assert set(times.values()) == {0, 3}


async def test_who_has_left_or_is_silent_is_not_told(
    told: list[UUID], hearing: None
) -> None:
    def others() -> UUID:
        for name in ("3-left", "4-silent"):
            workers.enter(name, concurrency=1)
        workers.leave("3-left")
        long_ago = timezone.now() - timedelta(minutes=2)
        Worker.objects.filter(name="4-silent").update(seen_at=long_ago)
        return held_by("4-silent")

    run_ids = [uuid4() for _ in range(20)] + [await sync_to_async(others)()]

    await sync_to_async(announced)(*run_ids)

    await until_told(told, run_ids[-1])
    assert told == run_ids


def test_a_runner_that_is_seen_to_be_dead_is_told_of_nothing_more() -> None:
    workers.enter(ME, concurrency=1)

    leases.expire(ME)

    [worker] = Worker.objects.all()
    assert worker.seen_at <= timezone.now() - settings.PLACET_LEASE


async def test_a_listener_that_nobody_answers_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def is_silent(*_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(announcements, "ANSWER_S", 0.1)
    monkeypatch.setattr(psycopg.AsyncConnection, "execute", is_silent)
    hearing = asyncio.create_task(
        announcements.receive(ME, jobs._parameters(), lambda _: None)
    )

    given_up, _ = await asyncio.wait({hearing}, timeout=20)

    assert given_up
    assert isinstance(hearing.exception(), TimeoutError)


def test_with_no_runner_alive_a_wake_up_is_a_job_only() -> None:
    run_id = uuid4()

    with transaction.atomic():
        jobs.wake(run_id)

    assert waiting_jobs() == [(str(run_id), None)]


async def test_what_is_no_run_is_not_passed_on(told: list[UUID], hearing: None) -> None:
    run_id = uuid4()

    await sync_to_async(rows)("SELECT pg_notify(%s, 'no run')", f"placet_{ME}")
    await sync_to_async(announced)(run_id)

    await until_told(told, run_id)
    assert told == [run_id]


async def test_a_lost_listener_is_made_anew(
    told: list[UUID], hearing: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "RETRY_S", 0.01)
    [(pid,)] = await sync_to_async(rows)(LISTENING)
    await sync_to_async(end_backend)(pid)
    await until(lambda: rows(LISTENING), "The listener")
    run_id = uuid4()

    await sync_to_async(announced)(run_id)

    await until_told(told, run_id)


async def test_a_job_that_fell_due_is_done(
    told: list[UUID], listening: asyncio.Event
) -> None:
    run_id = uuid4()

    soon = timezone.now() + timedelta(milliseconds=300)
    await sync_to_async(jobs.wake)(run_id, soon)

    await until_told(told, run_id)
    assert timezone.now() >= soon


async def test_a_verdict_in_another_process_reaches_the_runner_of_this_one(
    told: list[UUID], listening: asyncio.Event
) -> None:
    run, request = await sync_to_async(waiting)()
    await until(lambda: all_jobs() == 0, "The job of its start")
    told.clear()

    decide = ["decide", str(request.pk), "approve", "--as", "ada"]
    await sync_to_async(elsewhere.manage)(*decide)

    await until_told(told, run.pk)


def waiting() -> tuple[Run, ApprovalRequest]:
    """Return a run with an open request that ada may decide."""
    ada()
    run, _, request = proposed(make_call())
    return run, request


async def test_lost_connections_are_made_anew(
    told: list[UUID], listening: asyncio.Event
) -> None:
    cut = await sync_to_async(backends)()
    await sync_to_async(rows)(
        "SELECT pg_terminate_backend(pid) FROM unnest(%s) AS pid", cut
    )
    run_id = uuid4()

    await deferred(run_id)

    await until_told(told, run_id)
    assert len(cut) >= 2


async def test_a_database_that_does_not_answer_is_asked_again(
    told: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "RETRY_S", 0.01)
    monkeypatch.setattr(jobs, "CONNECT_S", 1.0)
    asked = asyncio.Event()

    def away() -> dict[str, Any]:
        asked.set()
        return {**connector_params(), "port": 1}

    monkeypatch.setattr(PARAMETERS, away)
    stop, run_id = asyncio.Event(), uuid4()
    task = asyncio.create_task(jobs.hear(ME, stop))
    await asyncio.wait_for(asked.wait(), 20)
    await deferred(run_id)

    monkeypatch.setattr(PARAMETERS, connector_params)  # it is back

    await until_told(told, run_id)
    stop.set()
    await asyncio.wait_for(task, 20)


async def test_the_job_of_a_process_that_died_is_done_by_another(
    told: list[UUID], listening: asyncio.Event
) -> None:
    run_id = uuid4()

    def left() -> None:
        rows(
            "INSERT INTO procrastinate_workers (last_heartbeat)"
            " VALUES (now() - interval '1 hour')"
        )
        rows(
            "INSERT INTO procrastinate_jobs"
            " (queue_name, task_name, args, status, worker_id)"
            " SELECT 'runs', 'runs.look_at', jsonb_build_object('run_id', %s), 'doing',"
            " max(id) FILTER (WHERE last_heartbeat < now() - interval '1 minute')"
            " FROM procrastinate_workers",
            str(run_id),
        )

    await sync_to_async(left)()

    await until_told(told, run_id)
    await until(lambda: all_jobs() == 0, "The end of the job")


async def test_the_end_leaves_no_task_connection_or_worker(told: list[UUID]) -> None:
    before, stop = asyncio.all_tasks(), asyncio.Event()
    task = asyncio.create_task(jobs.hear(ME, stop))
    await deferred(run_id := uuid4())
    await until_told(told, run_id)

    stop.set()
    await asyncio.wait_for(task, 20)

    assert asyncio.all_tasks() == before
    await until(lambda: not backends(), "The end of the connections")
    assert await sync_to_async(rows)("SELECT id FROM procrastinate_workers") == []


async def test_what_marks_a_job_does_not_wait_for_the_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Without what the tests' own settings say of it.
    monkeypatch.setattr(PARAMETERS, lambda: {**connector_params(), "options": ""})

    async with jobs.connected() as app:
        found = await app.connector.execute_query_one_async("SHOW synchronous_commit")

    assert found == {"synchronous_commit": "off"}
