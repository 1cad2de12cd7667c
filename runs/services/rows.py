"""The statements that a run's steps are made of, written out.

Each turn of each run makes a handful of them. Through the ORM the same statements cost
three times as much, and a step's UPDATE needs what it changed back (RETURNING).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from .. import codec
from ..engine import LogEntry
from ..ids import new_id
from ..models import EventKind, Run, RunEvent, RunStatus, ToolExecution
from ..search import words_of_item
from ..statements import Rows, execute

_RUN = Run._meta.db_table
_EVENT = RunEvent._meta.db_table
_EXECUTION = ToolExecution._meta.db_table
_USER = User._meta.db_table

_ROW = "(%s, %s, %s, %s, %s, %s, %s, %s)"
_INSERT_EVENTS = (
    f"INSERT INTO {_EVENT} "  # noqa: S608  names of our own tables
    "(run_id, seq, kind, frame, call_key, payload, created_at, search) VALUES "
)
_MOVE_ON = (
    f"UPDATE {_RUN} SET last_seq = last_seq + %s WHERE id = %s RETURNING last_seq"  # noqa: S608
)
# No indexed column changes: PostgreSQL then leaves the indexes alone (a HOT update).
_HOLD = (
    f"UPDATE {_RUN} SET last_seq = last_seq + %s{{more}} "  # noqa: S608
    "WHERE id = %s AND lease_epoch = %s AND status = %s "
    "RETURNING last_seq, stop_requested_at, pending_input"
)
_FREE = f"""
    SELECT status, agent_key FROM {_RUN}
    WHERE id = %s AND (status = %s OR status = %s AND lease_expires_at < %s)
"""  # noqa: S608
_TAKE = f"""
    UPDATE {_RUN} SET status = %s, lease_owner = %s, lease_epoch = lease_epoch + 1,
        lease_expires_at = %s, updated_at = %s, last_seq = last_seq + 1
    WHERE id = (
        SELECT id FROM {_RUN}
        WHERE id = %s AND status = %s AND (status = %s OR lease_expires_at < %s)
        {{lock}}
    )
    RETURNING lease_epoch, wakes, last_seq, stop_requested_at, head, definition,
        (SELECT {User.USERNAME_FIELD} FROM {_USER} WHERE {_USER}.id = requester_id)
"""  # noqa: S608
_LOCK = f"UPDATE {_RUN} SET last_seq = last_seq WHERE id = %s"  # noqa: S608
_WAKE = f"UPDATE {_RUN} SET wakes = wakes + 1 WHERE id = %s"  # noqa: S608
_QUEUE_WAITING = (
    f"UPDATE {_RUN} SET wakes = wakes + 1, status = %s, updated_at = %s, "  # noqa: S608
    "last_seq = last_seq + 1 WHERE id = %s AND status = %s RETURNING last_seq"
)
_HOLD_ONLY = _HOLD.format(more="")
_HOLD_AND_STORE = _HOLD.format(more=", head = %s, turn = %s, usage = %s")
_LOOK = (
    "SELECT stop_requested_at, pending_input, wakes, last_seq "  # noqa: S608
    f"FROM {_RUN} WHERE id = %s AND lease_epoch = %s AND status = %s"
)
_CLAIM = (
    f"INSERT INTO {_EXECUTION} "  # noqa: S608
    "(id, run_id, call_key, tool, digest, epoch, attempt, status, permitted_by, "
    "outcome, evidence, started_at) "
    "VALUES (%s, %s, %s, %s, %s, %s, 1, %s, %s, '', '', %s) "
    "ON CONFLICT (run_id, call_key) DO NOTHING"
)
_FINISH = (
    f"UPDATE {_EXECUTION} SET status = %s, outcome = %s, finished_at = %s "  # noqa: S608
    "WHERE run_id = %s AND call_key = %s"
)

run = Rows(Run, "WHERE id = %s")


def lock(run_id: UUID) -> None:
    """Lock the run's row, on every database, until the transaction ends."""
    execute(_LOCK, [run_id])


def wake(run_id: UUID) -> None:
    """Count one more wake-up of the run."""
    execute(_WAKE, [run_id])


def queue_waiting(run_id: UUID, now: datetime) -> int | None:
    """Wake and queue the run if it waits, with room for one event; return its number.

    None, and nothing is changed, for a run that does not wait.
    """
    queued, waiting = RunStatus.QUEUED.value, RunStatus.WAITING.value
    row = execute(_QUEUE_WAITING, [queued, now, run_id, waiting]).fetchone()
    return row[0] if row else None


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeRow:
    """What is to be known of a run before it is taken."""

    status: RunStatus
    agent_key: str


def free(run_id: UUID, now: datetime) -> FreeRow | None:
    """Return the run if a worker may take it: queued, or its holder is gone."""
    queued, running = RunStatus.QUEUED.value, RunStatus.RUNNING.value
    row = execute(_FREE, [run_id, queued, running, now]).fetchone()
    return FreeRow(status=RunStatus(row[0]), agent_key=row[1]) if row else None


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenRow:
    """A run that its new holder has locked, with room for one event."""

    epoch: int
    wakes: int
    last_seq: int
    """The number of that event."""
    stopping: bool
    head: str
    definition: str
    requester: str
    """The name of who asked for the run; empty for a system."""


def take(
    run_id: UUID, status: RunStatus, owner: str, now: datetime, expires_at: datetime
) -> TakenRow | None:
    """Give the run, still free with that status, to `owner`, or return None.

    None also where someone is writing it at this moment; it is not waited for.
    """
    lock = "FOR UPDATE SKIP LOCKED" if connection.features.has_select_for_update else ""
    given = [RunStatus.RUNNING.value, owner, expires_at, now]
    where = [run_id, status.value, RunStatus.QUEUED.value, now]
    row = execute(_TAKE.format(lock=lock), [*given, *where]).fetchone()
    if row is None:
        return None
    epoch, wakes, last_seq, stopped_at, head, definition, requester = row
    return TakenRow(
        epoch=epoch,
        wakes=wakes,
        last_seq=last_seq,
        stopping=stopped_at is not None,
        head=head,
        definition=definition,
        requester=requester or "",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldRow:
    """What a step needs to know of the run's row that it has locked."""

    last_seq: int
    stopping: bool
    pending_input: str


def hold(
    run_id: UUID, epoch: int, events: int, head: dict[str, Any] | None = None
) -> HeldRow | None:
    """Lock the run held under `epoch`, make room for `events`, and store its `head`.

    Returns None, and changes nothing, when it is not held under that epoch any more.
    """
    stored: list[Any] = []
    if head is not None:
        stored = [codec.dumps(head), head["turn"], codec.dumps(head["usage"])]
    where = [run_id, epoch, RunStatus.RUNNING.value]
    sql = _HOLD_AND_STORE if stored else _HOLD_ONLY
    row = execute(sql, [events, *stored, *where]).fetchone()
    if row is None:
        return None
    return HeldRow(last_seq=row[0], stopping=row[1] is not None, pending_input=row[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRow:
    """What a held run's row says, read without a lock."""

    stopping: bool
    pending_input: str
    wakes: int
    last_seq: int


def look(run_id: UUID, epoch: int) -> SeenRow | None:
    """Return what the run's row says, or None when it is not held under `epoch`."""
    row = execute(_LOOK, [run_id, epoch, RunStatus.RUNNING.value]).fetchone()
    if row is None:
        return None
    stopped_at, pending_input, wakes, last_seq = row
    return SeenRow(
        stopping=stopped_at is not None,
        pending_input=pending_input,
        wakes=wakes,
        last_seq=last_seq,
    )


def move_on(run_id: UUID, events: int) -> int:
    """Lock the run, make room for `events`, and return its last sequence number."""
    row = execute(_MOVE_ON, [events, run_id]).fetchone()
    if row is None:
        raise Run.DoesNotExist(f"There is no run {run_id}.")
    last: int = row[0]
    return last


def insert_events(
    run_id: UUID, entries: Sequence[LogEntry], last_seq: int, now: datetime
) -> None:
    """Insert the log rows that end with `last_seq`; their room has been made."""
    if not entries:
        return
    values: list[Any] = []
    for seq, entry in enumerate(entries, last_seq - len(entries) + 1):
        payload = codec.dumps(entry.payload)
        kind = str(entry.kind)
        said = words_of_item(entry.payload) if kind == EventKind.ITEM else ""
        values += [run_id, seq, kind, entry.frame, entry.call_key, payload, now, said]
    execute(_INSERT_EVENTS + ", ".join([_ROW] * len(entries)), values)


def insert_claim(
    run_id: UUID,
    *,
    call_key: str,
    tool: str,
    digest: str,
    epoch: int,
    permitted_by: UUID | None,
) -> bool:
    """Insert a started execution; False when the call has one already."""
    values = [
        new_id(),
        run_id,
        call_key,
        codec.storable(tool)[:200],
        digest,
        epoch,
        ToolExecution.Status.STARTED.value,
        permitted_by,
        timezone.now(),
    ]
    return bool(execute(_CLAIM, values).rowcount == 1)


def finish_execution(run_id: UUID, call_key: str, status: str, outcome: str) -> None:
    """Store how a call has ended."""
    execute(_FINISH, [status, outcome, timezone.now(), run_id, call_key])
