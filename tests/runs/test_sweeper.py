"""What the sweeper of any process finds: lost holders, lost wake-ups, what is due."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.db.models import F
from django.utils import timezone

from approvals.models import ApprovalRequest, RequestStatus
from approvals.services import expire_due
from runs import sweeper
from runs.dispatch import embedded
from runs.engine import LeaseLost, Review
from runs.models import Conversation, Run, RunStatus
from runs.services import due, steps
from runs.services import lease as leases
from runs.sweeper import Sweeper
from tests.factories import ada, say, start

from .test_steps import append, held_run, make_call, proposed, take

SECOND = timedelta(seconds=1)
HOLD = Review(hold=timedelta(minutes=5))
EXPIRES = Review(expires_after=timedelta(hours=1))

pytestmark = pytest.mark.django_db


@pytest.fixture
def woken(
    django_capture_on_commit_callbacks: Any,
) -> Iterator[Callable[[Sweeper], list[UUID]]]:
    """Return a function that makes a pass and gives the runs it told of."""
    told: list[UUID] = []

    def listener(run_id: UUID, at: datetime | None) -> None:
        told.append(run_id)

    def look(sweeping: Sweeper) -> list[UUID]:
        told.clear()
        with django_capture_on_commit_callbacks(execute=True):
            sweeping.look()
        return list(told)

    embedded.listen(listener)
    yield look
    embedded.forget(listener)


Look = Callable[[Sweeper], list[UUID]]


def let_go(run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(lease_expires_at=timezone.now() - SECOND)


def waiting_until(moment: datetime) -> Run:
    """A run whose only call is held until `moment`."""
    run, lease, request = proposed(make_call(review=HOLD))
    steps.verdicts(lease, [make_call()])
    leases.park(lease)
    say("approve", request, ada())
    request.decision.__class__.objects.update(release_at=moment)
    Run.objects.filter(pk=run.pk).update(wake_at=moment)
    return run


def test_a_run_whose_holder_is_gone_is_queued_and_told_of(woken: Look) -> None:
    run, lease = held_run()
    let_go(run)

    assert woken(Sweeper()) == [run.pk]

    run.refresh_from_db()
    assert (run.status, run.lease_owner) == (RunStatus.QUEUED, "")
    assert run.lease_expires_at is None
    assert run.events.latest("seq").data["status"] == "queued"
    with pytest.raises(LeaseLost):
        append(run, lease)
    assert take(run, "another").epoch == lease.epoch + 1


def test_a_run_whose_holder_lives_is_left_alone(woken: Look) -> None:
    run, lease = held_run()

    assert woken(Sweeper()) == []

    append(run, lease)


def test_a_run_held_by_this_very_process_is_left_to_its_heartbeat(woken: Look) -> None:
    run, lease = held_run()
    let_go(run)

    assert woken(Sweeper(lambda: [run.pk])) == []

    append(run, lease)


def test_a_lease_renewed_between_the_look_and_the_writing_is_kept() -> None:
    run, lease = held_run()
    let_go(run)
    found = due.abandoned_ids(timezone.now())
    leases.renew(lease.owner, [run.pk])

    assert found == [run.pk]
    assert due.free(run.pk) is False
    append(run, lease)


def test_a_waiting_run_is_queued_when_its_moment_has_come(woken: Look) -> None:
    run = waiting_until(timezone.now() - SECOND)
    wakes = Run.objects.get(pk=run.pk).wakes

    assert woken(Sweeper()) == [run.pk]

    run.refresh_from_db()
    assert (run.status, run.wake_at) == (RunStatus.QUEUED, None)
    assert run.wakes == wakes + 1
    assert woken(Sweeper()) == []


def test_a_run_waits_until_its_moment(woken: Look) -> None:
    run = waiting_until(timezone.now() + timedelta(minutes=1))

    assert woken(Sweeper()) == []

    run.refresh_from_db()
    assert run.status == RunStatus.WAITING


def test_a_moment_put_off_since_the_look_is_not_taken_for_come() -> None:
    run = waiting_until(timezone.now() - SECOND)
    found = due.due_ids(timezone.now())
    Run.objects.update(wake_at=timezone.now() + SECOND * 60)

    assert found == [run.pk]
    assert due.wake_due(run.pk) is False
    assert Run.objects.get().status == RunStatus.WAITING


def test_a_run_that_nobody_takes_is_told_of_again_at_a_bounded_rate(
    woken: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due, "TOLD_AGAIN", 2)
    runs = [start() for _ in range(3)]
    old = timezone.now() - timedelta(seconds=10)
    for age, run in enumerate(runs):
        Run.objects.filter(pk=run.pk).update(updated_at=old - age * SECOND)
    sweeping = Sweeper()

    assert woken(sweeping) == [runs[2].pk, runs[1].pk]
    assert woken(sweeping) == []
    monkeypatch.setattr(sweeper, "TELL_EVERY", timedelta(0))
    assert woken(sweeping) == [runs[2].pk, runs[1].pk]

    assert not Run.objects.exclude(status=RunStatus.QUEUED).exists()


def test_a_run_just_queued_is_not_told_of_again(woken: Look) -> None:
    start()

    assert woken(Sweeper()) == []


def test_requests_that_fall_due_while_it_looks_expire_at_their_time() -> None:
    proposed(make_call(review=EXPIRES))
    sweeping = Sweeper()
    sweeping.look()
    ApprovalRequest.objects.update(expires_at=timezone.now())

    sweeping.look()

    assert ApprovalRequest.objects.get().status == RequestStatus.EXPIRED


def test_requests_that_fell_due_before_the_start_are_given_a_while() -> None:
    proposed(make_call(review=EXPIRES))
    ApprovalRequest.objects.update(expires_at=timezone.now() - SECOND)
    sweeping = Sweeper()

    sweeping.look()
    sweeping.look()
    assert ApprovalRequest.objects.get().is_pending
    sweeping._up_since = timezone.now() - timedelta(seconds=61)
    sweeping.look()

    assert ApprovalRequest.objects.get().status == RequestStatus.EXPIRED


def test_a_process_that_was_away_gives_people_a_while_again() -> None:
    proposed(make_call(review=EXPIRES))
    sweeping = Sweeper()
    sweeping.look()
    away = timedelta(minutes=10)
    sweeping._looked_at = sweeping._up_since = timezone.now() - away
    ApprovalRequest.objects.update(expires_at=timezone.now() - SECOND)

    sweeping.look()

    assert ApprovalRequest.objects.get().is_pending


def test_what_fails_does_not_keep_the_rest_from_being_found(
    woken: Look, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(now: datetime, **_: Any) -> list[UUID]:
        raise RuntimeError("broken")

    monkeypatch.setattr(due, "abandoned_ids", fails)
    run = waiting_until(timezone.now() - SECOND)

    assert woken(Sweeper()) == [run.pk]

    assert "could not look" in caplog.text


def test_a_pass_is_six_queries_on_small_indexes_however_many_runs_wait() -> None:
    make_waiting(300)
    asked: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        asked.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        Sweeper().look()

    assert len(asked) == 6
    if connection.vendor == "sqlite":
        used = {index_of(sql, params) for sql, params in asked}
        # `run_working` holds the running ones, and of those there are few.
        used -= {"run_open", "run_working"}
        assert used == {"run_due", "run_queued", "request_due", "request_to_escalate"}


def make_waiting(count: int) -> None:
    """Runs that wait for people, each with a request that is not due."""
    run, lease, request = proposed(make_call(review=EXPIRES))
    leases.park(lease)
    run.refresh_from_db()
    now = timezone.now()
    for _ in range(count):
        talk = Conversation.objects.create(
            agent_key="shop", created_at=now, updated_at=now
        )
        run.pk, run.conversation, run._state.adding = None, talk, True
        run.id = Run._meta.get_field("id").get_default()
        run.save(force_insert=True)
        request.id = ApprovalRequest._meta.get_field("id").get_default()
        request.run = run
        request.save(force_insert=True)


def index_of(sql: str, params: Any) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}", params)
        plan = "; ".join(row[-1] for row in cursor.fetchall())
    found = re.search(r"USING (?:COVERING )?INDEX (\w+)", plan)
    assert found, plan
    return found[1]


# As a thread of its own


@pytest.mark.django_db(transaction=True)
def test_it_looks_at_once_when_the_moment_of_a_run_told_of_has_come(
    settings: Any,
) -> None:
    settings.PLACET_SWEEP_EVERY = timedelta(hours=1)
    run, lease, request = proposed(make_call(review=HOLD))
    leases.park(lease)
    reviewer = ada()
    ApprovalRequest.objects.update(hold=timedelta(seconds=0.3))
    queued = threading.Event()

    def listener(run_id: UUID, at: datetime | None) -> None:
        if run_id == run.pk and at is None:
            queued.set()

    sweeping = Sweeper()
    sweeping.start()
    embedded.listen(listener)
    try:
        say("approve", request, reviewer)
        assert queued.wait(20)
    finally:
        embedded.forget(listener)
        sweeping.stop()

    run.refresh_from_db()
    assert run.status == RunStatus.QUEUED
    assert timezone.now() >= request.decision.release_at


@pytest.mark.django_db(transaction=True)
def test_it_minds_the_next_moment_after_one_has_come(settings: Any) -> None:
    settings.PLACET_SWEEP_EVERY = timedelta(hours=1)
    first = waiting_until(timezone.now() + timedelta(seconds=0.2))
    second, lease = held_run()
    lease.released_at = timezone.now() + timedelta(seconds=0.4)
    leases.park(lease)
    queued: list[UUID] = []
    both = threading.Event()

    def listener(run_id: UUID, at: datetime | None) -> None:
        queued.append(run_id)
        if len(queued) == 2:
            both.set()

    sweeping = Sweeper()  # it was not there when the runs were parked
    embedded.listen(listener)
    sweeping.start()
    try:
        assert both.wait(20)
    finally:
        embedded.forget(listener)
        sweeping.stop()

    assert queued == [first.pk, second.pk]


@pytest.mark.django_db(transaction=True)
def test_many_sweepers_at_once_do_each_thing_once() -> None:
    runs = []
    for _ in range(20):
        run, _, _ = proposed(make_call(review=EXPIRES))
        runs.append(run)
    now = timezone.now()
    ApprovalRequest.objects.update(expires_at=now - SECOND)
    Run.objects.update(lease_expires_at=now - SECOND)
    wakes = dict(Run.objects.values_list("pk", "wakes"))
    line = threading.Barrier(4)
    expired: list[int] = []

    def sweep() -> None:
        line.wait()
        Sweeper().look()
        expired.append(expire_due(now, up_since=now - timedelta(days=1)))
        connection.close()

    threads = [threading.Thread(target=sweep) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(expired) == 20
    # Once freed, once told of the expiry.
    assert dict(Run.objects.values_list("pk", "wakes")) == {
        pk: count + 2 for pk, count in wakes.items()
    }
    assert not Run.objects.exclude(last_seq=F("last_seq")).exists()
