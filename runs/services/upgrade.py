"""Going on under changed code, once a person has said so."""

from __future__ import annotations

from uuid import UUID

from .. import codec
from ..gate import gate
from ..models import EventKind, Run, ToolExecution
from ..transactions import write
from ..upgrades import CodeChange, NewCalls
from . import log
from .lease import Lease, held


@write
def go_on(lease: Lease, change: CodeChange, calls: NewCalls) -> bool:
    """Say whether the run may go on under changed code, and store that it does.

    With the go-ahead, `calls` take the place of the open ones: requests about those
    that have changed are replaced, with nothing approved. Without one people have been
    asked by now, and the wake-ups that told of it are noted. Raises RunStopped and
    LeaseLost.
    """
    run = held(lease)
    lease.wakes = run.wakes
    if not gate().go_ahead(run, change):
        return False
    gate().renew(run, calls.changed, gone=calls.gone)
    for key in calls.gone:
        _doubt_below(run, key)
    Run.objects.filter(pk=run.pk).update(
        definition=change.now, head=codec.dumps(calls.head)
    )
    return True


@write
def define(lease: Lease, definition: str) -> None:
    """Store what the run is driven with; nobody is asked."""
    Run.objects.filter(pk=held(lease).pk).update(definition=definition)


def awaiting() -> list[UUID]:
    """Return the runs that wait for a go-ahead."""
    return gate().awaiting_go_ahead()


@write
def look_at(run_id: UUID) -> None:
    """Have the run looked at: its code may be another one by now."""
    log.lock(run_id)
    log.wake(run_id)


def _doubt_below(run: Run, key: str) -> None:
    """What started inside an agent that is gone: nobody will see how it ended."""
    status = ToolExecution.Status.UNKNOWN
    for execution in run.executions.filter(status=ToolExecution.Status.STARTED):
        if execution.call_key.startswith(f"{key}/"):
            execution.status = status
            execution.save(update_fields=["status"])
            payload = {"status": status.value}
            log.record_event(
                run.pk, EventKind.EXECUTION, payload, call_key=execution.call_key
            )
