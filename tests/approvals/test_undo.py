"""Verdicts that are held: they count later, and until then can be taken back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.utils import timezone

from approvals import audit
from approvals.models import (
    ApprovalRequest,
    AuditEntry,
    Decision,
    RequestStatus,
    Rule,
)
from approvals.policies import why_not_undo
from approvals.services import (
    NotAllowed,
    NotUndoable,
    decide,
    deny_orphans,
    undo,
)
from approvals.terms import Terms
from runs.engine import Call, ClaimRefused, ClaimStatus, Review
from runs.models import Run, RunStatus, ToolExecution
from runs.services import lease as leases
from runs.services import resume_run, send_message, steps, stop_run
from runs.services.lease import Lease
from tests.factories import ada, bob, eve, make_user, pending, say
from tests.runs.test_steps import append, held_run, make_call, proposed, take

pytestmark = pytest.mark.django_db

HOLD = timedelta(minutes=5)


def carl() -> User:
    return make_user("carl", "reviewers")


def held_call(**changes: Any) -> Call:
    review = Review(hold=HOLD, **changes.pop("review", {}))
    return make_call(review=review, **changes)


def held(
    verdict: str = "approve", **said: Any
) -> tuple[Run, Lease, ApprovalRequest, User]:
    """A run with one call, whose verdict by ada is held."""
    run, lease, request = proposed(held_call())
    reviewer = ada()
    say(verdict, request, reviewer, **said)
    request.refresh_from_db()
    return run, lease, request, reviewer


def release() -> None:
    Decision.objects.update(release_at=timezone.now())


# Hold


@pytest.mark.parametrize("verdict", ["approve", "reject"])
def test_a_verdict_is_released_after_the_tools_hold(verdict: str) -> None:
    before = timezone.now()

    held(verdict)

    decision = Decision.objects.get()
    assert decision.release_at == decision.created_at + HOLD
    assert decision.created_at >= before


def test_without_a_hold_a_verdict_counts_at_once() -> None:
    _, _, request = proposed(make_call())
    say("approve", request, ada())

    decision = Decision.objects.get()
    assert decision.release_at == decision.created_at


@pytest.mark.parametrize("verdict", ["approve", "reject"])
def test_a_held_verdict_is_none_yet(verdict: str) -> None:
    _, lease, _, _ = held(verdict)
    at = Decision.objects.get().release_at

    decided = steps.verdicts(lease, [held_call()])
    assert (decided.verdicts, decided.released_at) == ({}, at)
    release()
    decided = steps.verdicts(lease, [held_call()])

    assert decided.verdicts["c1"].kind == verdict
    assert (decided.released_at, decided.was_held) == (None, True)


def test_an_answer_is_held_too() -> None:
    _, lease = held_run()
    call = held_call(gated=False)
    steps.claim_call(lease, call)
    steps.claim_call(lease, call)
    say("answer", ApprovalRequest.objects.get(), ada(), output="It went through.")

    assert steps.verdicts(lease, [call]).verdicts == {}
    release()

    assert steps.verdicts(lease, [call]).verdicts["c1"].message == "It went through."


def test_a_call_is_not_claimed_before_its_approval_counts() -> None:
    _, lease, _, _ = held()

    assert steps.claim_call(lease, held_call()).status is ClaimStatus.HELD
    assert not ToolExecution.objects.exists()
    release()

    assert steps.claim_call(lease, held_call()).status is ClaimStatus.GRANTED


def test_a_waiting_run_is_not_queued_before_the_verdict_counts() -> None:
    run, lease, request = proposed(held_call())
    leases.park(lease)

    say("approve", request, ada())

    run.refresh_from_db()
    assert run.status == RunStatus.WAITING
    assert run.wake_at == Decision.objects.get().release_at


def test_a_run_parks_until_the_first_of_its_held_verdicts_counts() -> None:
    run, lease = held_run()
    calls = [held_call(key=f"c{n}", call_id=f"c{n}") for n in (1, 2)]
    append(run, lease, calls)
    reviewer = ada()
    for request in pending(run):
        say("approve", request, reviewer)
    first = Decision.objects.order_by("release_at")[0].release_at

    steps.verdicts(lease, calls)
    assert leases.park(lease) is True

    run.refresh_from_db()
    assert (run.status, run.lease_owner, run.wake_at) == (RunStatus.WAITING, "", first)


def test_a_verdict_that_comes_before_the_parking_is_looked_at_first() -> None:
    run, lease, request = proposed(held_call())
    steps.verdicts(lease, [held_call()])
    say("approve", request, ada())

    assert leases.park(lease) is False

    steps.verdicts(lease, [held_call()])
    assert leases.park(lease) is True
    run.refresh_from_db()
    assert run.wake_at is not None


def test_an_ordinary_wait_has_no_moment() -> None:
    run, lease, _ = proposed(make_call())
    Run.objects.update(wake_at=timezone.now())

    steps.verdicts(lease, [make_call()])
    leases.park(lease)

    run.refresh_from_db()
    assert run.wake_at is None


def test_a_taken_run_knows_what_is_held() -> None:
    run, lease, request = proposed(held_call())
    leases.park(lease)
    say("approve", request, ada())
    Run.objects.update(status=RunStatus.QUEUED)
    run.refresh_from_db()
    seen = steps.Seen(
        agent_key=run.agent_key,
        epoch=run.lease_epoch,
        head=run.head,
        definition=run.definition,
        requester="",
        calls=[held_call()],
        undecided=[],
    )

    begun = steps.begin(run.pk, "worker", seen)

    assert begun is not None
    assert (begun.verdicts, begun.claims) == ({}, {})
    assert begun.lease.released_at == Decision.objects.get().release_at


# Undo


@pytest.mark.parametrize("verdict", ["approve", "reject"])
def test_an_undone_verdict_is_none_and_the_call_is_asked_about_anew(
    verdict: str,
) -> None:
    run, lease, request, reviewer = held(verdict)

    again = undo(request.pk, by=reviewer)

    request.refresh_from_db()
    assert request.status == RequestStatus.UNDONE
    assert Decision.objects.get().request == request
    assert pending(run) == [again]
    same = ("call_key", "digest", "call", "summary", "votes_needed", "hold", "kind")
    for name in same:
        assert getattr(again, name) == getattr(request, name)
    assert (again.revision, again.votes, again.decided_at) == (2, 0, None)
    release()
    assert steps.verdicts(lease, [held_call()]).verdicts == {}
    with pytest.raises(ClaimRefused):
        steps.claim_call(lease, held_call())


def test_what_was_undone_can_be_decided_again() -> None:
    _, lease, request, reviewer = held("reject")
    again = undo(request.pk, by=reviewer)

    say("approve", again, reviewer)
    release()

    assert steps.claim_call(lease, held_call()).status is ClaimStatus.GRANTED


def test_an_undo_is_in_the_audit_trail_and_the_log() -> None:
    run, _, request, _ = held(reason="fine")
    other = carl()

    again = undo(request.pk, by=other)

    entries = AuditEntry.objects.order_by("seq").values_list("action", "actor")
    assert list(entries)[-2:] == [("undo", "carl"), ("request", "Placet")]
    assert audit.broken_link(run.pk) is None
    told = [event.data for event in run.events.filter(kind="request").order_by("seq")]
    assert told[-2:] == [
        {"request": str(request.pk), "status": "undone", "by": "carl"},
        {"request": str(again.pk), "status": "pending", "by": ""},
    ]


def test_after_the_release_there_is_no_undo() -> None:
    _, _, request, reviewer = held()
    release()

    with pytest.raises(NotUndoable, match="too late"):
        undo(request.pk, by=reviewer)

    request.refresh_from_db()
    assert request.status == RequestStatus.APPROVED


def test_a_call_that_started_by_another_clock_is_not_undone() -> None:
    _, lease, request, reviewer = held()
    at = Decision.objects.get().release_at
    release()
    steps.claim_call(lease, held_call())
    Decision.objects.update(release_at=at)

    with pytest.raises(NotUndoable):
        undo(request.pk, by=reviewer)


@pytest.mark.parametrize("times", [0, 2])
def test_only_a_verdict_is_undone_and_only_once(times: int) -> None:
    _, _, request = proposed(held_call())
    reviewer = ada()
    if times:
        say("approve", request, reviewer)
        undo(request.pk, by=reviewer)

    with pytest.raises(NotUndoable):
        undo(request.pk, by=reviewer)

    assert ApprovalRequest.objects.filter(status=RequestStatus.PENDING).count() == 1


@pytest.mark.parametrize(
    ("who", "reason"),
    [
        ("operator", "not a reviewer"),
        ("stranger", "not a reviewer"),
        ("speaker", "written to this run"),
        ("requester", "started this run"),
        ("other group", "finance"),
    ],
)
def test_who_may_not_decide_may_not_undo_what_others_decided(
    who: str, reason: str
) -> None:
    run, _, request, _ = held()
    people = {"operator": bob, "stranger": eve}
    person = people[who]() if who in people else carl()
    if who == "speaker":
        send_message(run.conversation_id, "Undo it.", by=person)
    if who == "requester":
        Run.objects.update(requester=person)
    if who == "other group":
        ApprovalRequest.objects.update(reviewers="finance")

    with pytest.raises(NotAllowed, match=reason):
        undo(request.pk, by=person)

    request.refresh_from_db()
    assert request.status == RequestStatus.APPROVED
    assert why_not_undo(person, request, timezone.now())


def test_whoever_decided_undoes_it_also_without_the_right_by_now() -> None:
    _, _, request, reviewer = held()
    reviewer.groups.clear()

    undo(request.pk, by=reviewer)

    request.refresh_from_db()
    assert request.status == RequestStatus.UNDONE


def test_whoever_is_gone_undoes_nothing() -> None:
    _, _, request, reviewer = held()
    User.objects.update(is_active=False)

    with pytest.raises((NotAllowed, NotUndoable)):
        undo(request.pk, by=reviewer)


def test_two_votes_begin_anew_after_an_undo() -> None:
    _, _, request = proposed(held_call(review={"approvals": 2}))
    first, second = ada(), carl()
    say("approve", request, first)
    say("approve", request, second)

    again = undo(request.pk, by=first)
    say("approve", again, second)

    again.refresh_from_db()
    assert (again.is_pending, again.votes) == (True, 1)


def test_a_reopened_request_has_its_whole_time_again() -> None:
    call = held_call(review={"expires_after": timedelta(hours=1)})
    _, _, request = proposed(call)
    reviewer = ada()
    say("approve", request, reviewer)
    ApprovalRequest.objects.update(
        created_at=timezone.now() - timedelta(minutes=50),
        expires_at=timezone.now() + timedelta(minutes=10),
    )

    again = undo(request.pk, by=reviewer)

    assert again.expires_at is not None
    left = again.expires_at - again.created_at
    assert abs(left - timedelta(hours=1)) < timedelta(seconds=1)


def test_a_call_in_doubt_is_asked_about_as_such_again() -> None:
    _, lease = held_run()
    call = held_call(gated=False)
    steps.claim_call(lease, call)
    steps.claim_call(lease, call)
    request, reviewer = ApprovalRequest.objects.get(), ada()
    say("answer", request, reviewer, output="It went through.")

    again = undo(request.pk, by=reviewer)

    assert (again.kind, again.evidence) == (request.kind, request.evidence)
    assert steps.claim_call(lease, call).status is ClaimStatus.IN_DOUBT
    assert ApprovalRequest.objects.filter(status=RequestStatus.PENDING).count() == 1


def test_an_admins_clean_up_of_a_held_call_can_be_undone_by_a_reviewer() -> None:
    _, _, request = proposed(held_call())
    deny_orphans([request.pk], by=make_user("root", is_superuser=True))

    undo(request.pk, by=ada())

    request.refresh_from_db()
    assert request.status == RequestStatus.UNDONE


# What ends the run ends the undo


def stop_parked(run: Run, lease: Lease) -> None:
    leases.park(lease)
    leases.park(lease)
    stop_run(run.pk, by=None)


def stop_working(run: Run, lease: Lease) -> None:
    stop_run(run.pk, by=None)


def fail(run: Run, lease: Lease) -> None:
    leases.finish(lease, RunStatus.FAILED, error="broken")


@pytest.mark.parametrize("verdict", ["approve", "reject"])
@pytest.mark.parametrize("end", [stop_parked, stop_working, fail])
def test_a_run_that_ends_leaves_nothing_to_undo(end: Any, verdict: str) -> None:
    run, lease, request, reviewer = held(verdict)
    end(run, lease)

    with pytest.raises(NotUndoable):
        undo(request.pk, by=reviewer)

    assert pending(run) == []


def test_a_failed_run_that_goes_on_asks_about_what_was_held() -> None:
    run, lease, _, _ = held("reject")
    leases.finish(lease, RunStatus.FAILED, error="broken")
    resume_run(run.pk, by=None)

    append(run, take(run), [held_call()])

    assert [asked.revision for asked in pending(run)] == [2]


# Rules


def covered(run: Run) -> QuerySet[ApprovalRequest]:
    return run.requests.filter(decision__rule__isnull=False)


def test_undoing_always_takes_the_rule_and_what_it_decided_with_it() -> None:
    run, lease, request = proposed(held_call())
    append(run, lease, [held_call(key="c2", arguments='{"order_id": "2"}')])
    append(run, lease, [held_call(key="c3", tool="pay_out")])
    reviewer = ada()
    say("approve", request, reviewer, always=True)
    assert [asked.call_key for asked in covered(run)] == ["c2"]

    undo(request.pk, by=reviewer)

    rule = Rule.objects.get()
    assert rule.revoked_at is not None
    assert "revoke" in AuditEntry.objects.values_list("action", flat=True)
    assert covered(run).get().status == RequestStatus.UNDONE
    assert sorted(asked.call_key for asked in pending(run)) == ["c1", "c2", "c3"]
    append(run, lease, [held_call(key="c4", arguments='{"order_id": "4"}')])
    assert "c4" in [asked.call_key for asked in pending(run)]


def test_undoing_always_leaves_what_has_counted_already() -> None:
    run, lease, request = proposed(held_call())
    append(run, lease, [held_call(key="c2", arguments='{"order_id": "2"}')])
    reviewer = ada()
    say("approve", request, reviewer, always=True)
    Decision.objects.filter(rule__isnull=False).update(release_at=timezone.now())

    undo(request.pk, by=reviewer)

    assert covered(run).get().status == RequestStatus.APPROVED
    assert [asked.call_key for asked in pending(run)] == ["c1"]


def test_what_a_rule_decided_is_undone_alone_and_the_rule_stays() -> None:
    run, lease, request = proposed(held_call())
    reviewer = ada()
    say("approve", request, reviewer, always=True)
    append(run, lease, [held_call(key="c2", arguments='{"order_id": "2"}')])

    undo(covered(run).get().pk, by=carl())

    assert [asked.call_key for asked in pending(run)] == ["c2"]
    assert Rule.objects.get().revoked_at is None


def test_no_rule_gives_a_verdict_again_that_was_undone() -> None:
    run, lease, request = proposed(held_call())
    reviewer = ada()
    say("reject", request, reviewer, always=True)
    second = held_call(key="c2", arguments='{"order_id": "2"}')
    append(run, lease, [second])
    undo(covered(run).get().pk, by=reviewer)
    leases.finish(lease, RunStatus.FAILED, error="broken")
    Rule.objects.update(revoked_at=None)
    resume_run(run.pk, by=None)

    append(run, take(run), [second])

    assert [(asked.call_key, asked.revision) for asked in pending(run)] == [("c2", 3)]


def test_a_rule_gives_no_verdict_by_undo() -> None:
    run, _, request = proposed(held_call())
    say("approve", request, ada(), always=True)
    again = undo(request.pk, by=User.objects.get())

    with pytest.raises(NotAllowed):
        decide(
            again.pk,
            verdict="approve",
            by=Rule.objects.get(),
            digest_seen=again.digest,
        )

    assert pending(run) == [again]


def test_undoing_always_undoes_what_the_rule_decided_in_other_runs() -> None:
    _, _, request = proposed(held_call())
    reviewer = ada()
    say("approve", request, reviewer, always=Terms(scope=Rule.Scope.AGENT))
    other, lease = held_run()
    append(other, lease, [held_call()])
    second = covered(other).get()
    assert second.status == RequestStatus.APPROVED

    undo(request.pk, by=reviewer)

    second.refresh_from_db()
    assert second.status == RequestStatus.UNDONE
    assert [(it.call_key, it.revision) for it in pending(other)] == [("c1", 2)]
    assert audit.broken_link(other.pk) is None
    with pytest.raises(ClaimRefused):
        steps.claim_call(lease, held_call())


def test_what_was_undone_is_not_decided_by_a_rule_in_a_fork() -> None:
    _, _, request = proposed(held_call())
    say("approve", request, ada(), always=Terms(scope=Rule.Scope.AGENT))
    other, lease = held_run()
    append(other, lease, [held_call()])
    undo(covered(other).get().pk, by=carl())
    assert Rule.objects.get().revoked_at is None
    fork, lease = held_run()
    Run.objects.filter(pk=fork.pk).update(parent=other)

    append(fork, lease, [held_call()])

    assert [it.call_key for it in pending(fork)] == ["c1"]
