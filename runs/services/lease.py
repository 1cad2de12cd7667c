"""Holding a run: one worker at a time, told apart by the lease's epoch.

Every write of a holder names its epoch and changes nothing when a newer one exists, so
a worker that was only slow does no harm.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone

from .. import codec, dispatch
from ..engine import LeaseLost, LogEntry, RunStopped
from ..gate import gate
from ..live.pokes import poke, run_topic
from ..models import (
    Conversation,
    EventKind,
    Run,
    RunStatus,
    ToolExecution,
    Worker,
)
from ..transactions import write
from . import limits, log, rows
from .start import authors, queue_run, take_unread

GIVEN_UP_FOR = timedelta(seconds=2)


@dataclass(slots=True, kw_only=True)
class Lease:
    """The right to write a run's progress."""

    run_id: UUID
    owner: str
    epoch: int
    wakes: int
    """Wake-ups of the run that its holder has taken notice of."""
    broken: bool = False
    """A step could not be stored: its holder knows more than the database does, and
    what builds on that must not be stored either."""
    released_at: datetime | None = None
    """When the next held verdict that its holder knows of counts."""

    def break_(self) -> None:
        """Let nothing more be written under it."""
        self.broken = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """News about a run that is held: what its holder should look at."""

    run_id: UUID
    epoch: int
    wakes: int
    stopping: bool


def runnable_ids(limit: int, *, excluding: Collection[UUID] = ()) -> list[UUID]:
    """Return the runs to take next, at most `limit`.

    First those whose holder is gone, then what has been queued longest, without agents
    that are at their limit.
    """
    runs = Run.objects.exclude(pk__in=excluding)
    gone = runs.filter(status=RunStatus.RUNNING, lease_expires_at__lt=timezone.now())
    ordered = gone.order_by("lease_expires_at").values_list("pk", flat=True)
    found = list(ordered[:limit])
    if room := limit - len(found):
        found += limits.oldest_queued(runs, room)
    return found


@write
def take(run_id: UUID, owner: str) -> Lease | None:
    """Take the run, or return None, as `take_row`."""
    row = take_row(run_id, owner)
    if row is None:
        return None
    taken_up(run_id, row)
    return lease_of(run_id, owner, row)


def take_row(run_id: UUID, owner: str) -> rows.TakenRow | None:
    """Give the run's row to `owner`, inside the caller's transaction.

    None: it is held, waiting, at its end, or at a limit. Or someone is writing it at
    this moment: workers that take many runs in one commit, each in its own order, never
    wait for each other. The next look finds it. With a row, `taken_up` must follow.
    """
    now = timezone.now()
    seen = rows.free(run_id, now)
    if seen is None:
        return None
    if seen.status == RunStatus.QUEUED and not limits.take_place(seen.agent_key):
        return None
    return rows.take(run_id, seen.status, owner, now, now + settings.PLACET_LEASE)


def take_queued(run_id: UUID, agent_key: str, owner: str) -> rows.TakenRow | None:
    """Give the row of a run that was queued to `owner`, as `take_row`.

    Where no place is needed it is not asked first whether it still is.
    """
    if limits.is_limited(agent_key):
        return take_row(run_id, owner)
    now = timezone.now()
    expires_at = now + settings.PLACET_LEASE
    return rows.take(run_id, RunStatus.QUEUED, owner, now, expires_at)


def taken_up(run_id: UUID, row: rows.TakenRow, then: Sequence[LogEntry] = ()) -> None:
    """Log that the run has been taken, and `then`, in the same transaction."""
    last_seq = rows.move_on(run_id, len(then)) if then else row.last_seq
    entries = [log.status_entry(RunStatus.RUNNING), *then]
    rows.insert_events(run_id, entries, last_seq, timezone.now())
    poke(run_topic(run_id))


def lease_of(run_id: UUID, owner: str, row: rows.TakenRow) -> Lease:
    return Lease(run_id=run_id, owner=owner, epoch=row.epoch, wakes=row.wakes)


@write
def renew(owner: str, run_ids: Collection[UUID]) -> list[UUID]:
    """Lengthen the leases that `owner` still has among `run_ids`.

    Returns those whose rows someone is writing at this moment: ask again for them. To
    wait would be to lock many rows in another order than the writers that commit many
    together, until the database ends one of the two.
    """
    mine = Run.objects.filter(
        pk__in=run_ids, lease_owner=owner, status=RunStatus.RUNNING
    )
    held = set(mine.values_list("pk", flat=True))
    free = set(mine.select_for_update(skip_locked=True).values_list("pk", flat=True))
    expires_at = timezone.now() + settings.PLACET_LEASE
    Run.objects.filter(pk__in=free).update(lease_expires_at=expires_at)
    return list(held - free)


@write
def expire(owner: str) -> None:
    """Free the runs of a worker that is known to be dead; it is told of none."""
    silent_since = timezone.now() - settings.PLACET_LEASE
    Worker.objects.filter(name=owner, left_at=None).update(seen_at=silent_since)
    held_by = Run.objects.filter(lease_owner=owner, status=RunStatus.RUNNING)
    held_by.update(lease_expires_at=timezone.now() - settings.PLACET_LEASE)


@write
def give_up(lease: Lease) -> None:
    """Let anyone take the run in a moment, as its holder cannot go on with it.

    Not at once: whatever fails, fails again and again.
    """
    held_by_me = Run.objects.filter(
        pk=lease.run_id, lease_epoch=lease.epoch, status=RunStatus.RUNNING
    )
    wait = min(GIVEN_UP_FOR, settings.PLACET_LEASE)
    held_by_me.update(lease_expires_at=timezone.now() + wait)


def news(run_ids: Collection[UUID]) -> list[Held]:
    """Return what the holders of `run_ids` may not have noticed yet."""
    rows = Run.objects.filter(pk__in=run_ids).values_list(
        "pk", "lease_epoch", "wakes", "stop_requested_at"
    )
    return [
        Held(run_id=pk, epoch=epoch, wakes=wakes, stopping=stopping is not None)
        for pk, epoch, wakes, stopping in rows
    ]


def held(lease: Lease, *, stopping_too: bool = False) -> Run:
    """Lock and return the run, inside the caller's transaction.

    Raises LeaseLost when it is no longer held under this lease's epoch, and RunStopped
    when someone stopped it, unless `stopping_too`.
    """
    advance(lease, (), stopping_too=stopping_too)
    return rows.run.get(lease.run_id)


def advance(
    lease: Lease,
    entries: Sequence[LogEntry],
    head: dict[str, Any] | None = None,
    *,
    stopping_too: bool = False,
) -> rows.HeldRow:
    """Lock the run, append `entries` and store its `head`; raises as `held`.

    The update is the lock, on every database.
    """
    if lease.broken:
        raise LeaseLost(
            f"A step of run {lease.run_id} was not stored; nor is this one."
        )
    row = rows.hold(lease.run_id, lease.epoch, len(entries), head)
    if row is None:
        raise _lost(lease)
    if row.stopping and not stopping_too:
        raise RunStopped("The run was stopped.")
    if entries:
        rows.insert_events(lease.run_id, entries, row.last_seq, timezone.now())
        poke(run_topic(lease.run_id))
    return row


def look(lease: Lease) -> rows.SeenRow:
    """Return what the run's row says, as it was when it was read; raises as `held`."""
    row = rows.look(lease.run_id, lease.epoch)
    if row is None:
        raise _lost(lease)
    if row.stopping:
        raise RunStopped("The run was stopped.")
    return row


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(f"Run {lease.run_id} is held by another worker, or has ended.")


@write
def park(lease: Lease) -> bool:
    """Let the run wait for people, or time. False when there is news: look first."""
    run = held(lease, stopping_too=True)
    if run.wakes != lease.wakes or run.stop_requested_at:
        lease.wakes = run.wakes
        return False
    run.wake_at = lease.released_at
    _leave(run, RunStatus.WAITING)
    if run.wake_at is not None:
        dispatch.wake(run.pk, run.wake_at)
    return True


@write
def release(lease: Lease) -> None:
    """Give the run back to whoever is free, as a worker does that goes away."""
    _leave(held(lease, stopping_too=True), RunStatus.QUEUED)
    dispatch.wake(lease.run_id)


@write
def finish(
    lease: Lease, status: RunStatus, *, final_output: str = "", error: str = ""
) -> None:
    """End the run. A stop that came first makes it cancelled, whatever it reached."""
    run = held(lease, stopping_too=True)
    if run.stop_requested_at:
        status, error = RunStatus.CANCELLED, ""
    end(run, status, final_output=final_output, error=error)


def end(
    run: Run,
    status: RunStatus,
    *,
    final_output: str = "",
    error: str = "",
    by: str = "",
) -> None:
    """Write the run's end, inside the caller's transaction that has locked it.

    Its open requests are cancelled. Messages nobody has read yet begin the next run,
    unless this one was stopped.
    """
    now = timezone.now()
    _doubt_started_calls(run)
    gate().close(run)
    run.final_output = codec.storable(final_output)
    run.error = codec.storable(error)
    run.finished_at = now
    _leave(run, status, error=run.error, by=by)
    Conversation.objects.filter(pk=run.conversation_id).update(updated_at=now)
    if status == RunStatus.COMPLETED and run.pending_messages:
        _begin_next(run)


def _begin_next(run: Run) -> None:
    """Begin the next run with what came too late for this one, for who said it last."""
    *earlier, last = take_unread(run)
    following = queue_run(
        run.agent_key,
        "\n\n".join(message["text"] for message in [*earlier, last]),
        trigger=Run.Trigger.MESSAGE,
        requester=User.objects.filter(pk__in=authors([last])).first(),
        conversation=run.conversation,
    )
    following.speakers.add(*authors(earlier))


def _leave(run: Run, status: RunStatus, *, error: str = "", by: str = "") -> None:
    """Store the run without a holder; a late write of the last one finds no lease."""
    run.status = status
    run.lease_owner = ""
    run.lease_expires_at = None
    run.updated_at = timezone.now()
    run.save(
        update_fields=[
            "status",
            "lease_owner",
            "lease_expires_at",
            "wake_at",
            "updated_at",
            "finished_at",
            "final_output",
            "error",
        ]
    )
    log.record_status(run.pk, status, error=error, by=by)


def _doubt_started_calls(run: Run) -> None:
    """A call that has started when its run ends: nobody saw how it ended."""
    started = run.executions.filter(status=ToolExecution.Status.STARTED)
    keys: Sequence[str] = list(started.values_list("call_key", flat=True))
    started.update(status=ToolExecution.Status.UNKNOWN, finished_at=timezone.now())
    for key in keys:
        # An agent used as a tool has no effect of its own to be in doubt about.
        is_frame = run.events.filter(frame=key).exists()
        status = ToolExecution.Status.UNKNOWN.value
        payload = {"status": "ended" if is_frame else status}
        log.record_event(run.pk, EventKind.EXECUTION, payload, call_key=key)
