"""Appending to a run's log, and waking the run: inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from .. import dispatch
from ..engine import LogEntry
from ..live.pokes import poke, run_topic
from ..models import EventKind, Run, RunStatus
from . import rows


def lock(run_id: UUID) -> Run:
    """Return the run, locked until the caller's transaction ends.

    An update, because it locks on every database. Whatever writes about a run locks it
    first, so that nobody waits for each other in a circle. Raises Run.DoesNotExist.
    """
    rows.lock(run_id)
    return rows.run.get(run_id)


def append(run_id: UUID, entries: Sequence[LogEntry], now: datetime) -> int:
    """Append `entries` and return the last sequence number.

    The numbers come from the run's own row, which the update locks: no gap, no double,
    whoever writes.
    """
    last = rows.move_on(run_id, len(entries))
    rows.insert_events(run_id, entries, last, now)
    poke(run_topic(run_id))
    return last


def record_event(
    run_id: UUID, kind: EventKind, payload: dict[str, Any], *, call_key: str = ""
) -> int:
    """Append one event that is no item and return its sequence number."""
    entry = LogEntry(kind=kind, payload=payload, call_key=call_key)
    return append(run_id, [entry], timezone.now())


def record_status(
    run_id: UUID, status: RunStatus, *, error: str = "", by: str = ""
) -> int:
    entry = status_entry(status, error=error, by=by)
    return append(run_id, [entry], timezone.now())


def status_entry(status: RunStatus, *, error: str = "", by: str = "") -> LogEntry:
    payload = {"status": str(status), "error": error, "by": by}
    return LogEntry(kind=EventKind.STATUS, payload=payload)


def wake(run_id: UUID, at: datetime | None = None) -> None:
    """Have the run looked at once this commits; a waiting one is queued.

    With `at`, a waiting one is queued no sooner than then; whoever holds the run is
    told at once, and minds the time itself.
    """
    if at is not None:
        return _wake_later(run_id, at)
    now = timezone.now()
    last_seq = rows.queue_waiting(run_id, now)
    if last_seq is None:
        rows.wake(run_id)
    else:
        entry = status_entry(RunStatus.QUEUED)
        rows.insert_events(run_id, [entry], last_seq, now)
        poke(run_topic(run_id))
    dispatch.wake(run_id)


def _wake_later(run_id: UUID, at: datetime) -> None:
    rows.wake(run_id)
    later = Q(wake_at=None) | Q(wake_at__gt=at)
    Run.objects.filter(later, pk=run_id).update(wake_at=at)
    dispatch.wake(run_id, at)
    if Run.objects.filter(pk=run_id, status=RunStatus.RUNNING).exists():
        dispatch.wake(run_id)
