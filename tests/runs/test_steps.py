"""The guards of a held run: gate, digest, claim, lease, stop, one commit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db.models import Model
from django.utils import timezone

from approvals.gate import DatabaseGate
from approvals.models import (
    ApprovalRequest,
    AuditEntry,
    Decision,
    RequestStatus,
    Rule,
    Vote,
)
from approvals.services import decide
from runs import codec, services
from runs.dispatch import embedded
from runs.engine import (
    Call,
    ClaimRefused,
    ClaimStatus,
    LeaseLost,
    LogEntry,
    Outcome,
    OutcomeKind,
    Review,
    RunStopped,
    call_digest,
)
from runs.models import Conversation, Run, RunEvent, RunStatus, ToolExecution
from runs.services import lease as leases
from runs.services import rows, steps
from runs.services.lease import Lease
from tests.factories import ada, pending, say, start

pytestmark = pytest.mark.django_db

DONE = Outcome(kind=OutcomeKind.SUCCEEDED, output="done")


def make_call(
    arguments: str = '{"order_id": "1"}', *, gated: bool = True, **changes: Any
) -> Call:
    call = Call(
        key="c1",
        call_id="c1",
        tool="refund",
        agent_path="Shop",
        arguments=arguments,
        schema_hash="s",
        digest="",
        gated=gated,
        why="Every call of this tool needs approval.",
    )
    call = dataclasses.replace(call, **changes)
    digest = call_digest(
        tool=call.tool,
        schema_hash=call.schema_hash,
        agent_path=call.agent_path,
        arguments=call.arguments,
    )
    return dataclasses.replace(call, digest=digest)


UNGATED = make_call(gated=False)


def take(run: Run, owner: str = "worker") -> Lease:
    lease = leases.take(run.pk, owner)
    assert lease is not None
    return lease


def held_run() -> tuple[Run, Lease]:
    run = start()
    return run, take(run)


def head_of(run: Run) -> dict[str, Any]:
    head: dict[str, Any] = codec.loads(run.head)
    return head


def append(
    run: Run, lease: Lease, gated: Sequence[Call] = (), what: str = "hello"
) -> None:
    entry = LogEntry(kind="item", payload={"type": "message", "raw": {"text": what}})
    steps.append_step(lease, [entry], head_of(run), gated=gated)


def proposed(call: Call) -> tuple[Run, Lease, ApprovalRequest]:
    run, lease = held_run()
    append(run, lease, [call])
    [request] = pending(run)
    return run, lease, request


def lose(run: Run) -> Lease:
    """Let the lease run out and another worker take the run."""
    Run.objects.filter(pk=run.pk).update(
        lease_expires_at=timezone.now() - timedelta(seconds=1)
    )
    return take(run, "another")


# 1 and 2: gate and digest at the effect


def test_a_gated_call_without_a_decision_is_not_claimed() -> None:
    _, lease, _ = proposed(make_call())

    with pytest.raises(ClaimRefused):
        steps.claim_call(lease, make_call())

    assert not ToolExecution.objects.exists()


@pytest.mark.parametrize(
    "status", [s for s in RequestStatus if s != RequestStatus.APPROVED]
)
def test_only_an_approved_request_permits_a_claim(status: str) -> None:
    _, lease, request = proposed(make_call())
    say("approve", request, ada())
    ApprovalRequest.objects.filter(pk=request.pk).update(status=status)

    with pytest.raises(ClaimRefused):
        steps.claim_call(lease, make_call())


def test_a_rejected_call_is_not_claimed() -> None:
    _, lease, request = proposed(make_call())
    say("reject", request, ada())

    with pytest.raises(ClaimRefused):
        steps.claim_call(lease, make_call())


def test_an_approval_permits_exactly_its_call() -> None:
    _, lease, request = proposed(make_call())
    say("approve", request, ada())

    for other in (
        make_call('{"order_id": "2"}'),
        make_call(tool="ship"),
        make_call(agent_path="Other"),
        make_call(schema_hash="t"),
        dataclasses.replace(make_call('{"order_id": "2"}'), digest=request.digest),
        dataclasses.replace(make_call(), key="c2"),
    ):
        with pytest.raises(ClaimRefused):
            steps.claim_call(lease, other)
    claim = steps.claim_call(lease, make_call())

    assert claim.status is ClaimStatus.GRANTED
    execution = ToolExecution.objects.get()
    assert execution.permitted_by == request.decision.pk


@pytest.mark.parametrize(
    ("model", "change"),
    [
        (ApprovalRequest, {"digest": "0" * 64}),
        (Decision, {"digest": "0" * 64}),
        (Decision, {"verdict": "reject"}),
    ],
)
def test_a_request_and_its_decision_must_both_approve(
    model: Any, change: dict[str, str]
) -> None:
    _, lease, request = proposed(make_call())
    say("approve", request, ada())
    model.objects.update(**change)

    with pytest.raises(ClaimRefused):
        steps.claim_call(lease, make_call())


def test_an_approval_that_is_not_released_yet_holds_the_call() -> None:
    _, lease, request = proposed(make_call())
    say("approve", request, ada())
    Decision.objects.update(release_at=timezone.now() + timedelta(hours=1))

    assert steps.claim_call(lease, make_call()).status is ClaimStatus.HELD
    assert not ToolExecution.objects.exists()


def test_a_verdict_on_another_call_is_none_on_this_one() -> None:
    _, lease, request = proposed(make_call())
    say("reject", request, ada())

    other = make_call('{"order_id": "2"}')
    assert steps.verdicts(lease, [other]).verdicts == {}
    assert list(steps.verdicts(lease, [make_call()]).verdicts) == ["c1"]


@pytest.mark.parametrize(
    "status", ["pending", "superseded", "expired", "cancelled", "undone", "rejected"]
)
def test_only_a_decided_request_gives_a_verdict(status: str) -> None:
    _, lease, request = proposed(make_call())
    say("approve", request, ada())
    ApprovalRequest.objects.update(status=status)

    assert steps.verdicts(lease, [make_call()]).verdicts == {}


def test_an_approval_of_another_run_permits_nothing() -> None:
    _, _, request = proposed(make_call())
    say("approve", request, ada())
    _, other_lease = held_run()

    with pytest.raises(ClaimRefused):
        steps.claim_call(other_lease, make_call())


# 4: claim before effect


def test_a_call_claimed_and_not_recorded_is_in_doubt_and_put_to_a_person() -> None:
    run, lease, request = proposed(make_call())
    say("approve", request, ada())
    steps.claim_call(lease, make_call())
    lease = lose(run)

    claim = steps.claim_call(lease, make_call())

    assert claim.status is ClaimStatus.IN_DOUBT
    assert ToolExecution.objects.get().status == ToolExecution.Status.UNKNOWN
    [asked] = pending(run)
    assert asked.kind == ApprovalRequest.Kind.RECONCILE
    assert asked.revision == 2
    assert steps.claim_call(lease, make_call()).status is ClaimStatus.IN_DOUBT
    assert pending(run) == [asked]


def test_running_again_takes_a_fresh_decision_each_time() -> None:
    reviewer = ada()
    run, lease, request = proposed(make_call())
    say("approve", request, reviewer)
    steps.claim_call(lease, make_call())
    for attempt in (2, 3):
        lease = lose(run)
        assert steps.claim_call(lease, make_call()).status is ClaimStatus.IN_DOUBT
        [asked] = pending(run)
        say("approve", asked, reviewer)

        assert steps.claim_call(lease, make_call()).status is ClaimStatus.GRANTED
        execution = ToolExecution.objects.get()
        assert (execution.attempt, execution.epoch) == (attempt, lease.epoch)


def test_a_call_in_doubt_is_asked_about_again_when_its_failed_run_goes_on() -> None:
    run, lease = held_run()
    call = make_call(gated=False)
    steps.claim_call(lease, call)
    lease = lose(run)
    steps.claim_call(lease, call)
    [first] = pending(run)
    leases.finish(lease, RunStatus.FAILED, error="broken")
    services.resume_run(run.pk, by=None)

    assert steps.claim_call(take(run), call).status is ClaimStatus.IN_DOUBT

    [again] = pending(run)
    assert (again.kind, again.revision) == (first.kind, first.revision + 1)


def test_an_ungated_call_that_may_not_be_repeated_is_put_to_a_person_too() -> None:
    run, lease = held_run()
    call = make_call(gated=False)
    steps.claim_call(lease, call)
    lease = lose(run)

    assert steps.claim_call(lease, call).status is ClaimStatus.IN_DOUBT
    assert [request.kind for request in pending(run)] == ["reconcile"]


def test_an_idempotent_call_runs_again_with_the_same_key() -> None:
    call = make_call(review=Review(idempotent=True))
    run, lease, request = proposed(call)
    say("approve", request, ada())
    first = steps.claim_call(lease, call)
    lease = lose(run)

    second = steps.claim_call(lease, call)

    assert second.status is ClaimStatus.GRANTED
    assert second.idempotency_key == first.idempotency_key
    assert pending(run) == []


def test_a_recorded_call_is_never_granted_again() -> None:
    run, lease = held_run()
    call = make_call(gated=False)
    steps.claim_call(lease, call)
    steps.record_outcome(lease, call, DONE, [], head_of(run))

    claim = steps.claim_call(lease, call)

    assert (claim.status, claim.outcome) == (ClaimStatus.DONE, DONE)


# 5: lease and epoch


def test_one_worker_holds_a_run() -> None:
    run, _ = held_run()

    assert leases.take(run.pk, "another") is None


def test_every_write_of_an_older_epoch_is_refused() -> None:
    run, lease = held_run()
    call = make_call(gated=False)
    steps.claim_call(lease, call)
    lose(run)
    before = Run.objects.values().get(pk=run.pk)

    for write in (
        lambda: steps.begin_turn(lease),
        lambda: append(run, lease),
        lambda: steps.claim_call(lease, call),
        lambda: steps.verdicts(lease, [call]),
        lambda: steps.propose(lease, [call]),
        lambda: leases.park(lease),
        lambda: leases.release(lease),
        lambda: leases.finish(lease, RunStatus.COMPLETED),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert Run.objects.values().get(pk=run.pk) == before


def test_a_run_that_was_parked_takes_no_write_of_its_last_holder() -> None:
    run, lease = held_run()
    leases.park(lease)

    with pytest.raises(LeaseLost):
        append(run, lease)


def test_a_late_outcome_is_kept_as_evidence_and_changes_nothing_else() -> None:
    run, lease = held_run()
    call = make_call(gated=False)
    steps.claim_call(lease, call)
    lose(run)

    with pytest.raises(LeaseLost):
        steps.record_outcome(lease, call, DONE, [], head_of(run))

    execution = ToolExecution.objects.get()
    assert execution.status == ToolExecution.Status.STARTED
    assert codec.loads(execution.evidence) == {"kind": "succeeded", "output": "done"}


def test_a_renewed_lease_is_not_taken() -> None:
    run, lease = held_run()
    soon = timezone.now() + timedelta(seconds=1)
    Run.objects.filter(pk=run.pk).update(lease_expires_at=soon)

    leases.renew(lease.owner, [run.pk])

    run.refresh_from_db()
    assert run.lease_expires_at is not None
    assert run.lease_expires_at > soon + timedelta(seconds=5)


def test_a_lease_is_renewed_and_freed_under_its_owners_name_only() -> None:
    run, _ = held_run()
    before = Run.objects.values("lease_expires_at").get(pk=run.pk)

    leases.renew("another", [run.pk])
    leases.expire("another")

    assert Run.objects.values("lease_expires_at").get(pk=run.pk) == before


def test_the_run_of_a_dead_worker_is_free_at_once() -> None:
    run, lease = held_run()

    leases.expire(lease.owner)

    assert leases.runnable_ids(5) == [run.pk]


def test_a_run_that_is_released_wakes_a_worker(
    django_capture_on_commit_callbacks: Any,
) -> None:
    run, lease = held_run()
    woken: list[tuple[UUID, datetime | None]] = []

    def listener(run_id: UUID, at: datetime | None) -> None:
        woken.append((run_id, at))

    embedded.listen(listener)

    with django_capture_on_commit_callbacks(execute=True):
        leases.release(lease)
    embedded.forget(listener)

    assert woken == [(run.pk, None)]


def test_a_wake_up_whose_news_was_read_does_not_keep_the_run() -> None:
    run, lease = held_run()
    services.wake(run.pk)

    steps.verdicts(lease, [make_call()])

    assert leases.park(lease) is True


def test_a_message_that_came_after_the_turn_began_stays_unread() -> None:
    run, lease = held_run()
    services.send_message(run.conversation_id, "one", by=None)
    assert steps.begin_turn(lease) == ["one"]
    services.send_message(run.conversation_id, "two", by=None)

    steps.append_step(lease, [], head_of(run), messages_read=1)

    assert steps.begin_turn(lease) == ["two"]


def test_a_run_taken_from_its_worker_refuses_that_workers_writes() -> None:
    run, lease = held_run()

    services.requeue_run(run.pk, by=None)
    again = take(run, "another")

    assert again.epoch > lease.epoch + 1
    with pytest.raises(LeaseLost):
        append(run, lease)


def test_a_wake_up_while_held_keeps_the_run_from_being_parked() -> None:
    run, lease = held_run()
    services.wake(run.pk)

    assert leases.park(lease) is False
    assert leases.park(lease) is True
    run.refresh_from_db()
    assert run.status == RunStatus.WAITING


def test_a_wake_up_queues_a_waiting_run() -> None:
    run, lease = held_run()
    leases.park(lease)

    services.wake(run.pk)

    run.refresh_from_db()
    assert run.status == RunStatus.QUEUED


# 6: one step, one transaction


def test_a_step_that_fails_half_way_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, lease = held_run()
    rows = RunEvent.objects.filter(run=run).count()
    before = Run.objects.values("head", "last_seq", "turn").get(pk=run.pk)

    def fail(self: DatabaseGate, run: Run, calls: Sequence[Call]) -> None:
        raise ConnectionError("the disk is gone")

    monkeypatch.setattr(DatabaseGate, "propose", fail)
    with pytest.raises(ConnectionError):
        append(run, lease, [make_call()])

    assert RunEvent.objects.filter(run=run).count() == rows
    assert Run.objects.values("head", "last_seq", "turn").get(pk=run.pk) == before


WRITTEN: tuple[type[Model], ...] = (
    Conversation,
    Run,
    RunEvent,
    ToolExecution,
    ApprovalRequest,
    Decision,
    Vote,
    Rule,
    AuditEntry,
)


def everything() -> list[Any]:
    """Every row that a step may write."""
    return [list(model._default_manager.order_by("pk").values()) for model in WRITTEN]


def queued_run() -> tuple[Run, Lease]:
    run, lease = held_run()
    leases.release(lease)
    return run, lease


def waiting_run() -> tuple[Run, Lease]:
    run, lease = held_run()
    leases.park(lease)
    return run, lease


def failed_run() -> tuple[Run, Lease]:
    run, lease = held_run()
    leases.finish(lease, RunStatus.FAILED, error="broken")
    return run, lease


def claimed_run() -> tuple[Run, Lease]:
    run, lease = held_run()
    steps.claim_call(lease, UNGATED)
    return run, lease


SAID = LogEntry(kind="guardrail", payload={})

STEPS: dict[
    str, tuple[Callable[[], tuple[Run, Lease]], Callable[[Run, Lease], Any]]
] = {
    "start": (held_run, lambda run, lease: start()),
    "take": (queued_run, lambda run, lease: leases.take(run.pk, "worker")),
    "park": (held_run, lambda run, lease: leases.park(lease)),
    "release": (held_run, lambda run, lease: leases.release(lease)),
    "finish": (held_run, lambda run, lease: leases.finish(lease, RunStatus.COMPLETED)),
    "claim": (held_run, lambda run, lease: steps.claim_call(lease, UNGATED)),
    "record": (
        claimed_run,
        lambda run, lease: steps.record_outcome(
            lease, UNGATED, DONE, [SAID], head_of(run)
        ),
    ),
    "stop": (held_run, lambda run, lease: services.stop_run(run.pk, by=None)),
    "stop waiting": (
        waiting_run,
        lambda run, lease: services.stop_run(run.pk, by=None),
    ),
    "resume": (failed_run, lambda run, lease: services.resume_run(run.pk, by=None)),
    "requeue": (held_run, lambda run, lease: services.requeue_run(run.pk, by=None)),
    "message": (
        held_run,
        lambda run, lease: services.send_message(run.conversation_id, "x", by=None),
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_that_cannot_be_logged_did_not_happen(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, step = STEPS[name]
    run, lease = begin()
    before = everything()

    def fail(*args: Any) -> int:
        raise ConnectionError("the disk is gone")

    monkeypatch.setattr(rows, "insert_events", fail)
    with pytest.raises(ConnectionError):
        step(run, lease)

    assert everything() == before


def test_a_verdict_that_cannot_be_logged_was_not_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, _, request = proposed(make_call())
    reviewer = ada()
    before = everything()

    def fail(*args: Any) -> int:
        raise ConnectionError("the disk is gone")

    monkeypatch.setattr(rows, "insert_events", fail)
    with pytest.raises(ConnectionError):
        say("approve", request, reviewer, always=True)

    assert everything() == before


def test_the_log_has_no_gap_whoever_writes() -> None:
    run, lease, request = proposed(make_call())
    say("approve", request, ada())
    append(run, lease, what="more")
    steps.claim_call(lease, make_call())

    seqs = RunEvent.objects.filter(run=run).values_list("seq", flat=True)

    run.refresh_from_db()
    assert list(seqs) == list(range(1, run.last_seq + 1))


# 9: silence is not consent


@pytest.mark.parametrize("said", [None, "", "yes", "true", "APPROVE", "approved", 1])
def test_nothing_but_approve_approves(said: Any) -> None:
    from approvals.services import InvalidDecision

    _, lease, request = proposed(make_call())
    with pytest.raises(InvalidDecision):
        decide(request.pk, verdict=said, by=ada(), digest_seen=request.digest)

    request.refresh_from_db()
    assert request.is_pending
    with pytest.raises(ClaimRefused):
        steps.claim_call(lease, make_call())


# 13: stop is final


def test_after_a_stop_nothing_is_claimed_and_no_model_asked() -> None:
    run, lease, request = proposed(make_call())
    say("approve", request, ada())

    services.stop_run(run.pk, by=None)

    for write in (
        lambda: steps.claim_call(lease, make_call()),
        lambda: steps.begin_turn(lease),
        lambda: append(run, lease),
    ):
        with pytest.raises(RunStopped):
            write()


def test_a_started_call_still_records_its_outcome_after_a_stop() -> None:
    run, lease = held_run()
    call = make_call(gated=False)
    steps.claim_call(lease, call)
    services.stop_run(run.pk, by=None)

    steps.record_outcome(lease, call, DONE, [], head_of(run))
    leases.finish(lease, RunStatus.COMPLETED)

    run.refresh_from_db()
    assert run.status == RunStatus.CANCELLED
    assert ToolExecution.objects.get().status == ToolExecution.Status.SUCCEEDED


def test_a_stopped_run_is_not_parked() -> None:
    run, lease = held_run()
    services.stop_run(run.pk, by=None)

    assert [leases.park(lease), leases.park(lease)] == [False, False]


@pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.COMPLETED])
def test_only_a_run_that_completed_hands_its_unread_messages_on(status: str) -> None:
    run, lease = held_run()
    services.send_message(run.conversation_id, "And hurry.", by=None)

    leases.finish(lease, RunStatus(status))

    unread = [each.pending_messages for each in Run.objects.order_by("id")]
    handed_on = status == RunStatus.COMPLETED
    assert unread == ([[], []] if handed_on else [["And hurry."]])


def test_only_a_failed_run_that_came_last_is_resumed() -> None:
    run, lease = held_run()
    leases.finish(lease, RunStatus.COMPLETED)
    with pytest.raises(services.NotResumable):
        services.resume_run(run.pk, by=None)
    Run.objects.update(status=RunStatus.FAILED)
    services.send_message(run.conversation_id, "Go on.", by=None)
    Run.objects.exclude(pk=run.pk).update(status=RunStatus.COMPLETED)

    with pytest.raises(services.ConversationBusy):
        services.resume_run(run.pk, by=None)


def test_stopping_a_waiting_run_ends_it_and_cancels_its_requests() -> None:
    run, lease, request = proposed(make_call())
    leases.park(lease)

    services.stop_run(run.pk, by=None)

    run.refresh_from_db()
    request.refresh_from_db()
    assert run.status == RunStatus.CANCELLED
    assert request.status == RequestStatus.CANCELLED
    with pytest.raises(services.NotOpen):
        services.stop_run(run.pk, by=None)


def test_a_run_that_ends_leaves_no_request_open_and_no_call_started() -> None:
    _, lease, request = proposed(make_call())
    steps.claim_call(lease, dataclasses.replace(make_call(gated=False), key="c9"))

    leases.finish(lease, RunStatus.FAILED, error="broken")

    request.refresh_from_db()
    assert request.status == RequestStatus.CANCELLED
    assert ToolExecution.objects.get().status == ToolExecution.Status.UNKNOWN
