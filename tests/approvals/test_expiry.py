"""What nobody decides in time: rejected by nobody, never approved, by one of many."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from django.utils import timezone

from approvals.models import (
    ApprovalRequest,
    AuditEntry,
    Decision,
    RequestStatus,
    Vote,
)
from approvals.services import (
    AlreadyDecided,
    NotAllowed,
    Stale,
    decide,
    expire_due,
    expiry,
)
from runs.engine import Call, ClaimRefused, Review, VerdictKind
from runs.models import Run, RunStatus
from runs.services import lease as leases
from runs.services import steps, stop_run
from tests.factories import ada, make_user, pending, say
from tests.runs.test_steps import UNGATED, append, held_run, make_call, proposed

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def expiring(**changes: Any) -> Call:
    return make_call(review=Review(expires_after=HOUR, **changes))


def expire(now: datetime | None = None, up_since: datetime | None = None) -> int:
    """What a process that has been up for a day expires, in two hours' time."""
    now = now or timezone.now() + 2 * HOUR
    let_time_pass()
    return expire_due(now, up_since=up_since or now - timedelta(days=1))


def let_time_pass() -> None:
    """Requests that expire have been due for a while by the clock on the wall."""
    ApprovalRequest.objects.filter(expires_at__gt=timezone.now()).update(
        expires_at=timezone.now() - MINUTE
    )


def test_a_request_expires_when_its_tool_says() -> None:
    before = timezone.now()

    _, _, request = proposed(expiring())

    assert request.expires_at is not None
    assert before + HOUR <= request.expires_at <= timezone.now() + HOUR


def test_a_request_of_a_tool_that_says_nothing_never_expires() -> None:
    proposed(make_call())

    assert expire() == 0
    assert ApprovalRequest.objects.get().is_pending


def test_what_is_not_due_yet_does_not_expire() -> None:
    now = timezone.now()
    proposed(expiring())

    assert expire_due(now, up_since=now - HOUR) == 0
    assert ApprovalRequest.objects.get().is_pending


def test_nobody_decides_nothing_before_its_time() -> None:
    _, _, request = proposed(expiring())

    with pytest.raises(NotAllowed):
        decide(request.pk, verdict="reject", by=None, digest_seen=request.digest)

    assert ApprovalRequest.objects.get().is_pending


def test_an_expired_request_is_a_rejection_by_nobody_and_wakes_its_run() -> None:
    run, lease, request = proposed(expiring())
    leases.park(lease)

    assert expire() == 1

    request.refresh_from_db()
    run.refresh_from_db()
    decision = request.decision
    assert request.status == RequestStatus.EXPIRED
    assert (decision.verdict, decision.actor, decision.rule) == ("reject", None, None)
    assert decision.actor_name == "Placet"
    assert (request.votes, Vote.objects.count()) == (0, 0)
    assert run.status == RunStatus.QUEUED
    entry = AuditEntry.objects.get(action="decide")
    assert (entry.actor, entry.object_id) == ("Placet", str(request.pk))
    event = run.events.filter(kind="request").latest("seq")
    assert event.data == {"request": str(request.pk), "status": "expired", "by": ""}


def test_the_model_is_told_and_the_call_never_runs() -> None:
    call = expiring()
    _, lease, _ = proposed(call)
    expire()

    verdict = steps.verdicts(lease, [call]).verdicts["c1"]

    assert verdict.kind is VerdictKind.REJECT
    assert verdict.message == "Nobody decided this call in time; it was not run."
    with pytest.raises(ClaimRefused):
        steps.claim_call(lease, call)


@pytest.mark.parametrize("verdict", ["approve", "answer"])
def test_nobody_never_approves_and_never_answers(verdict: str) -> None:
    _, _, request = proposed(expiring())
    let_time_pass()
    if verdict == "answer":
        ApprovalRequest.objects.update(kind=ApprovalRequest.Kind.RECONCILE)

    with pytest.raises(NotAllowed):
        decide(
            request.pk,
            verdict=verdict,
            by=None,
            digest_seen=request.digest,
            output="done",
        )

    assert ApprovalRequest.objects.get().is_pending


def test_nobody_decides_only_what_was_seen() -> None:
    _, _, request = proposed(expiring())
    let_time_pass()

    with pytest.raises(Stale):
        decide(request.pk, verdict="reject", by=None, digest_seen="0" * 64)

    assert not Decision.objects.exists()


def test_a_forged_approval_of_an_expired_request_approves_nothing() -> None:
    call = expiring()
    _, lease, _ = proposed(call)
    expire()
    Decision.objects.update(verdict="approve")

    assert steps.verdicts(lease, [call]).verdicts == {}
    with pytest.raises(ClaimRefused):
        steps.claim_call(lease, call)


def test_one_vote_of_two_does_not_keep_a_request_from_expiring() -> None:
    _, _, request = proposed(expiring(approvals=2))
    say("approve", request, ada())

    assert expire() == 1

    request.refresh_from_db()
    assert request.status == RequestStatus.EXPIRED


def test_a_decision_that_came_first_stands() -> None:
    _, _, request = proposed(expiring())
    say("approve", request, ada())

    assert expire() == 0
    with pytest.raises(AlreadyDecided):
        decide(request.pk, verdict="reject", by=None, digest_seen=request.digest)

    request.refresh_from_db()
    assert request.status == RequestStatus.APPROVED


def test_who_comes_after_the_expiry_is_told_so() -> None:
    _, _, request = proposed(expiring())
    expire()

    with pytest.raises(AlreadyDecided, match="already expired"):
        say("approve", request, ada())


def test_whether_a_call_happened_does_not_expire() -> None:
    _, lease = held_run()
    doubtful = make_call(gated=False, review=Review(expires_after=HOUR))
    steps.claim_call(lease, doubtful)
    steps.claim_call(lease, doubtful)
    request = ApprovalRequest.objects.get()
    assert request.expires_at is None

    ApprovalRequest.objects.update(expires_at=timezone.now() - MINUTE)

    assert expire() == 0
    assert ApprovalRequest.objects.get().is_pending


def test_a_stopped_runs_requests_are_cancelled_and_do_not_expire() -> None:
    run, lease, request = proposed(expiring())
    leases.park(lease)
    stop_run(run.pk, by=None)

    assert expire() == 0

    request.refresh_from_db()
    assert request.status == RequestStatus.CANCELLED


def test_what_fell_due_while_all_was_down_is_given_a_minute() -> None:
    start = timezone.now()
    _, _, request = proposed(expiring())
    ApprovalRequest.objects.update(expires_at=start - MINUTE)

    assert expire_due(start + timedelta(seconds=59), up_since=start) == 0
    say("approve", request, ada())  # which is what the minute is for

    request.refresh_from_db()
    assert request.status == RequestStatus.APPROVED


def test_after_that_minute_it_expires() -> None:
    start = timezone.now()
    proposed(expiring())
    ApprovalRequest.objects.update(expires_at=start - MINUTE)

    assert expire_due(start + MINUTE, up_since=start) == 1


def test_what_falls_due_after_the_start_expires_at_its_time() -> None:
    start = timezone.now() - timedelta(seconds=20)
    proposed(expiring())
    ApprovalRequest.objects.update(expires_at=start + timedelta(seconds=10))

    assert expire_due(timezone.now(), up_since=start) == 1


def test_many_expire_in_bounded_batches_and_each_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(expiry, "EXPIRED_AT_ONCE", 2)
    run, lease = held_run()
    review = Review(expires_after=HOUR)
    calls = [make_call(key=f"c{n}", call_id=f"c{n}", review=review) for n in range(3)]
    append(run, lease, calls)

    assert [expire(), expire(), expire()] == [2, 1, 0]


def test_one_that_cannot_be_written_does_not_hold_up_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, _, stuck = proposed(expiring())
    _, _, other = proposed(expiring())
    decide_one = decide

    def decide_or_fail(request_id: Any, **said: Any) -> ApprovalRequest:
        if request_id == stuck.pk:
            raise DatabaseError("the run is locked")
        return decide_one(request_id, **said)

    monkeypatch.setattr(expiry, "decide", decide_or_fail)

    assert expire() == 1
    other.refresh_from_db()
    assert other.status == RequestStatus.EXPIRED
    told = [getattr(record, "request_id", "") for record in caplog.records]
    assert str(stuck.pk) in told


def test_an_expiry_does_not_release_a_rule_from_asking() -> None:
    run, lease, request = proposed(expiring())
    expire()
    append(run, lease, [make_call('{"order_id": "2"}', key="c2")])
    say("approve", pending(run)[0], make_user("carl", "reviewers"), always=True)

    append(run, lease, [make_call(key="c3")])

    assert [asked.call_key for asked in pending(run)] == ["c3"]
    assert request.digest == pending(run)[0].digest


def test_an_ungated_call_asks_nobody_and_nothing_expires() -> None:
    run, lease = held_run()
    append(run, lease, [])
    steps.claim_call(lease, UNGATED)

    assert expire() == 0
    assert Run.objects.get(pk=run.pk).status == RunStatus.RUNNING
