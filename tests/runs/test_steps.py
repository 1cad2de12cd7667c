"""The guards of a held run: gate, digest, claim, lease, stop, one commit."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from approvals.gate import DatabaseGate
from approvals.models import ApprovalRequest, RequestStatus
from approvals.services import decide
from runs import codec, services
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
from runs.models import Run, RunEvent, RunStatus, ToolExecution
from runs.services import lease as leases
from runs.services import steps
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
        assert ToolExecution.objects.get().attempt == attempt


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
