"""The steps of a run that is held: each one transaction, all of it or nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
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
from ..gate import Decided, gate
from ..models import EventKind, Run, ToolExecution
from ..transactions import write
from . import log, rows
from .lease import Lease, advance, held, lease_of, look, take_queued, taken_up

_EXECUTION_AFTER = {
    OutcomeKind.SUCCEEDED: ToolExecution.Status.SUCCEEDED,
    OutcomeKind.ANSWERED: ToolExecution.Status.SUCCEEDED,
    OutcomeKind.FAILED: ToolExecution.Status.FAILED,
    OutcomeKind.INVALID: ToolExecution.Status.FAILED,
    # Rejected after doubt: a person chose to go on without knowing.
    OutcomeKind.REJECTED: ToolExecution.Status.UNKNOWN,
    OutcomeKind.UNKNOWN: ToolExecution.Status.UNKNOWN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A queued run as it was read before it was taken."""

    agent_key: str
    epoch: int
    """Of the lease under which it was written last."""
    head: str
    """As it is stored; as is the next."""
    definition: str
    """Of what it is driven with."""
    requester: str
    """The name that its tools are told."""
    calls: Sequence[Call]
    """Its open calls that a decision can move on."""
    undecided: Sequence[Call]
    """Those of them that must have been put to people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A run that has been taken."""

    lease: Lease
    verdicts: dict[str, Verdict] | None = None
    """What is decided about the calls that were seen; None: read the run again."""
    claims: dict[str, Claim] = field(default_factory=dict)
    """The calls that were approved, by key: each may start now."""


@write
def begin(run_id: UUID, owner: str, seen: Seen) -> Begun | None:
    """Take the run as `lease.take`, and claim what has been approved, in one commit.

    Nothing is claimed where the run is not as it was `seen`. Returns None when it is
    not to be taken.
    """
    row = take_queued(run_id, seen.agent_key, owner)
    if row is None:
        return None
    lease = lease_of(run_id, owner, row)
    was = (seen.epoch + 1, seen.head, seen.definition, seen.requester)
    if row.stopping or (row.epoch, row.head, row.definition, row.requester) != was:
        taken_up(run_id, row)
        return Begun(lease=lease)
    decided = gate().take_up(run_id, seen.calls, undecided=seen.undecided)
    lease.released_at = decided.released_at
    # As they run: a person may have put other arguments in the place of the model's.
    running = [call.under(decided.verdicts.get(call.key)) for call in seen.calls]
    claimed = [
        call
        for call in running
        if (decision := decided.permits.get(call.key))
        # One that has started before is looked at when it is its turn.
        and _insert_claim(lease, call, permitted_by=decision)
    ]
    taken_up(run_id, row, [_started(call, attempt=1) for call in claimed])
    claims = {call.key: _grant(run_id, call) for call in claimed}
    return Begun(lease=lease, verdicts=decided.verdicts, claims=claims)


@write
def give_back(lease: Lease, call_keys: Collection[str]) -> None:
    """Take back claims whose calls were not started after all."""
    run = held(lease, stopping_too=True)
    claimed = run.executions.filter(
        call_key__in=call_keys, status=ToolExecution.Status.STARTED
    )
    for key in claimed.values_list("call_key", flat=True):
        payload = {"status": "given back"}
        log.record_event(run.pk, EventKind.EXECUTION, payload, call_key=key)
    claimed.delete()


def begin_turn(lease: Lease) -> list[str]:
    """Return the messages people have added, oldest first; they stay stored.

    Raises RunStopped and LeaseLost: the model is not asked then.
    """
    seen = look(lease)
    return [message["text"] for message in codec.loads(seen.pending_input)]


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
    row = advance(lease, entries, head)
    if messages_read:
        unread = codec.loads(row.pending_input)[messages_read:]
        Run.objects.filter(pk=lease.run_id).update(pending_input=codec.dumps(unread))
    if gated:
        gate().propose(Run.objects.get(pk=lease.run_id), gated)


@write
def append_spans(lease: Lease, entries: Sequence[LogEntry]) -> None:
    """Store what a stretch told of itself at its end; a stopped run's too."""
    advance(lease, entries, stopping_too=True)


@write
def propose(lease: Lease, gated: Sequence[Call]) -> None:
    """Make sure that each open gated call of a run just loaded has its request."""
    gate().propose(held(lease), gated)


def verdicts(lease: Lease, calls: Sequence[Call]) -> Decided:
    """Return what is decided about `calls`, and note the wake-ups that told of it.

    Reads only. The wake-ups are read first, so that one that comes meanwhile is looked
    at again.
    """
    lease.wakes = look(lease).wakes
    decided = gate().verdicts(Run.objects.get(pk=lease.run_id), calls)
    lease.released_at = decided.released_at
    return decided


@write
def verdicts_once_held(lease: Lease, calls: Sequence[Call]) -> Decided:
    """Return the same as `verdicts`, when some of it could be undone until now.

    Whoever undoes has locked the run, and so has this: what it says stays true.
    """
    decided = gate().verdicts(held(lease), calls)
    lease.released_at = decided.released_at
    return decided


@write
def claim_call(lease: Lease, call: Call) -> Claim:
    """Claim the one effect of `call`: it may start once this has committed.

    Checks, in the same transaction: the run is held and not stopped, and where the
    call is gated, a Decision approves exactly it, with the arguments that run. A call
    that started before is run again only when its tool is idempotent or a person has
    since said so.
    """
    if not call.gated:
        advance(lease, ())
        if _insert_claim(lease, call, permitted_by=None):
            return _granted(lease.run_id, call, attempt=1)
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
    advance(lease, entries, head, stopping_too=True)
    rows.finish_execution(
        lease.run_id, call.key, _EXECUTION_AFTER[outcome.kind], _told(outcome)
    )
    if call.kind is CallKind.AGENT:
        gate().close(Run.objects.get(pk=lease.run_id), below=call.key)


def _first_claim(run: Run, lease: Lease, call: Call) -> Claim:
    permitted_by = gate().permit(run, call)
    if permitted_by is None:
        return Claim(status=ClaimStatus.HELD)
    _insert_claim(lease, call, permitted_by=permitted_by)
    return _granted(lease.run_id, call, attempt=1)


def _insert_claim(lease: Lease, call: Call, *, permitted_by: UUID | None) -> bool:
    return rows.insert_claim(
        lease.run_id,
        call_key=call.key,
        tool=call.tool,
        digest=call.runs_digest,
        epoch=lease.epoch,
        permitted_by=permitted_by,
    )


def _claim_again(run: Run, lease: Lease, call: Call, execution: ToolExecution) -> Claim:
    """Deal with a call whose worker died, or lost the run, before its outcome."""
    permitted_by = _permit_again(run, call, execution)
    if permitted_by is None:
        return _in_doubt(run, call, execution)
    execution.permitted_by = permitted_by
    execution.digest = call.runs_digest
    execution.epoch = lease.epoch
    execution.attempt += 1
    execution.status = ToolExecution.Status.STARTED
    execution.started_at = timezone.now()
    execution.finished_at = None
    execution.save()
    return _granted(lease.run_id, call, execution.attempt)


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


def _granted(run_id: UUID, call: Call, attempt: int) -> Claim:
    log.append(run_id, [_started(call, attempt)], timezone.now())
    return _grant(run_id, call)


def _started(call: Call, attempt: int) -> LogEntry:
    payload = {"status": ToolExecution.Status.STARTED.value, "attempt": attempt}
    return LogEntry(kind=EventKind.EXECUTION, payload=payload, call_key=call.key)


def _grant(run_id: UUID, call: Call) -> Claim:
    return Claim(
        status=ClaimStatus.GRANTED,
        idempotency_key=f"{run_id}:{call.key}",
        digest=call.runs_digest,
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


def _told(outcome: Outcome) -> str:
    return codec.dumps({"kind": outcome.kind, "output": outcome.output})


@write
def _keep_evidence(lease: Lease, call: Call, outcome: Outcome) -> None:
    told = _told(outcome)
    late = ToolExecution.objects.filter(run_id=lease.run_id, call_key=call.key)
    log.lock(lease.run_id)
    late.update(evidence=told)
    for status, attempt in late.values_list("status", "attempt"):
        payload = {"status": status, "attempt": attempt}
        log.record_event(lease.run_id, EventKind.EXECUTION, payload, call_key=call.key)
