"""The steps of a run that is held: each one transaction, all of it or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.utils import timezone

from .. import codec
from ..engine import (
    Call,
    CallKind,
    Claim,
    ClaimRefused,
    ClaimStatus,
    LeaseLost,
    LogEntry,
    Outcome,
    OutcomeKind,
    Verdict,
)
from ..gate import gate
from ..models import EventKind, Run, ToolExecution
from ..transactions import write
from . import log
from .lease import Lease, held

_EXECUTION_AFTER = {
    OutcomeKind.SUCCEEDED: ToolExecution.Status.SUCCEEDED,
    OutcomeKind.ANSWERED: ToolExecution.Status.SUCCEEDED,
    OutcomeKind.FAILED: ToolExecution.Status.FAILED,
    OutcomeKind.INVALID: ToolExecution.Status.FAILED,
    # Rejected after doubt: a person chose to go on without knowing.
    OutcomeKind.REJECTED: ToolExecution.Status.UNKNOWN,
    OutcomeKind.UNKNOWN: ToolExecution.Status.UNKNOWN,
}


@write
def begin_turn(lease: Lease) -> list[str]:
    """Return the messages people have added, oldest first; they stay stored.

    Raises RunStopped and LeaseLost: the model is not asked then.
    """
    return held(lease).pending_messages


@write
def append_step(
    lease: Lease,
    entries: Sequence[LogEntry],
    head: dict[str, Any],
    *,
    gated: Sequence[Call] = (),
    messages_read: int = 0,
) -> None:
    """Store what has happened, and put the `gated` open calls to people."""
    run = held(lease)
    _store(run, entries, head, messages_read=messages_read)
    gate().propose(run, gated)


@write
def append_spans(lease: Lease, entries: Sequence[LogEntry]) -> None:
    """Store what a stretch told of itself at its end; a stopped run's too."""
    run = held(lease, stopping_too=True)
    log.append(run.pk, entries, timezone.now())


@write
def propose(lease: Lease, gated: Sequence[Call]) -> None:
    """Make sure that each open gated call of a run just loaded has its request."""
    gate().propose(held(lease), gated)


@write
def verdicts(lease: Lease, calls: Sequence[Call]) -> dict[str, Verdict]:
    """Return what is decided about `calls`, and note the wake-ups that told of it."""
    run = held(lease)
    lease.wakes = run.wakes
    return gate().verdicts(run, calls)


@write
def claim_call(lease: Lease, call: Call) -> Claim:
    """Claim the one effect of `call`: it may start once this has committed.

    Checks, in the same transaction: the run is held and not stopped, and where the
    call is gated, a Decision approves exactly it. A call that started before is run
    again only when its tool is idempotent or a person has since said so.
    """
    run = held(lease)
    execution = ToolExecution.objects.filter(run=run, call_key=call.key).first()
    if execution is None:
        return _first_claim(run, lease, call)
    if execution.status in ToolExecution.FINISHED:
        told = codec.loads(execution.outcome)
        outcome = Outcome(kind=OutcomeKind(told["kind"]), output=told["output"])
        return Claim(status=ClaimStatus.DONE, outcome=outcome)
    return _claim_again(run, lease, call, execution)


def record_outcome(
    lease: Lease,
    call: Call,
    outcome: Outcome,
    entries: Sequence[LogEntry],
    head: dict[str, Any],
) -> None:
    """Store how `call` ended together with its output.

    A stopped run still records it. Raises LeaseLost when another worker holds the run;
    the outcome is then kept as evidence for the person who is asked about the call.
    """
    try:
        _record_outcome(lease, call, outcome, entries, head)
    except LeaseLost:
        _keep_evidence(lease, call, outcome)
        raise


@write
def _record_outcome(
    lease: Lease,
    call: Call,
    outcome: Outcome,
    entries: Sequence[LogEntry],
    head: dict[str, Any],
) -> None:
    run = held(lease, stopping_too=True)
    _finish_execution(run, call, outcome)
    _store(run, entries, head)
    if call.kind is CallKind.AGENT:
        gate().close(run, below=call.key)


def _store(
    run: Run,
    entries: Sequence[LogEntry],
    head: dict[str, Any],
    *,
    messages_read: int = 0,
) -> None:
    changes: dict[str, Any] = {
        "head": codec.dumps(head),
        "turn": head["turn"],
        "usage": codec.dumps(head["usage"]),
    }
    if messages_read:
        unread = codec.loads(run.pending_input)[messages_read:]
        changes["pending_input"] = codec.dumps(unread)
    Run.objects.filter(pk=run.pk).update(**changes)
    log.append(run.pk, entries, timezone.now())


def _first_claim(run: Run, lease: Lease, call: Call) -> Claim:
    permitted_by = None
    if call.gated:
        permitted_by = gate().permit(run, call)
        if permitted_by is None:
            return Claim(status=ClaimStatus.HELD)
    execution = ToolExecution.objects.create(
        run=run,
        call_key=call.key,
        tool=codec.storable(call.tool)[:200],
        digest=call.digest,
        epoch=lease.epoch,
        permitted_by=permitted_by,
        started_at=timezone.now(),
    )
    return _granted(run, call, execution)


def _claim_again(run: Run, lease: Lease, call: Call, execution: ToolExecution) -> Claim:
    """Deal with a call whose worker died, or lost the run, before its outcome."""
    permitted_by = _permit_again(run, call, execution)
    if permitted_by is None:
        return _in_doubt(run, call, execution)
    execution.permitted_by = permitted_by
    execution.epoch = lease.epoch
    execution.attempt += 1
    execution.status = ToolExecution.Status.STARTED
    execution.started_at = timezone.now()
    execution.finished_at = None
    execution.save()
    return _granted(run, call, execution)


def _permit_again(run: Run, call: Call, execution: ToolExecution) -> UUID | None:
    """Return the Decision that lets a started call start once more, if there is one.

    One approval is one effect: only an idempotent tool may use it twice.
    """
    try:
        decision = gate().permit(run, call)
    except ClaimRefused:
        return None
    used = decision == execution.permitted_by
    return None if used and not call.review.idempotent else decision


def _granted(run: Run, call: Call, execution: ToolExecution) -> Claim:
    payload = {"status": execution.status, "attempt": execution.attempt}
    log.record_event(run.pk, EventKind.EXECUTION, payload, call_key=call.key)
    return Claim(
        status=ClaimStatus.GRANTED, idempotency_key=f"{run.pk}:{execution.call_key}"
    )


def _in_doubt(run: Run, call: Call, execution: ToolExecution) -> Claim:
    if execution.status != ToolExecution.Status.UNKNOWN:
        execution.status = ToolExecution.Status.UNKNOWN
        execution.save(update_fields=["status"])
        payload = {"status": execution.status, "attempt": execution.attempt}
        log.record_event(run.pk, EventKind.EXECUTION, payload, call_key=call.key)
    evidence = {
        "started_at": execution.started_at.isoformat(),
        "attempt": execution.attempt,
    }
    gate().reconcile(run, call, evidence)
    return Claim(status=ClaimStatus.IN_DOUBT)


def _finish_execution(run: Run, call: Call, outcome: Outcome) -> None:
    ToolExecution.objects.filter(run=run, call_key=call.key).update(
        status=_EXECUTION_AFTER[outcome.kind],
        outcome=codec.dumps({"kind": outcome.kind, "output": outcome.output}),
        finished_at=timezone.now(),
    )


@write
def _keep_evidence(lease: Lease, call: Call, outcome: Outcome) -> None:
    told = codec.dumps({"kind": outcome.kind, "output": outcome.output})
    late = ToolExecution.objects.filter(run_id=lease.run_id, call_key=call.key)
    log.lock(lease.run_id)
    late.update(evidence=told)
    for status, attempt in late.values_list("status", "attempt"):
        payload = {"status": status, "attempt": attempt}
        log.record_event(lease.run_id, EventKind.EXECUTION, payload, call_key=call.key)
