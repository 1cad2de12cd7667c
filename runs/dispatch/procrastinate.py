"""Wake-ups between processes: jobs in PostgreSQL, put there by the same transaction.

A job only says "look at run X" to whatever runs in the process that takes it. It is
done at once and may be lost or doubled: the run's own row says what there is to do.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from procrastinate.contrib.django import app

from . import embedded

QUEUE = "runs"


@app.task(name="runs.look_at", queue=QUEUE)
def look_at(run_id: str) -> None:
    """Tell the runner of this process."""
    embedded.tell(UUID(run_id))


def wake(run_id: UUID, at: datetime | None = None) -> None:
    look_at.configure(schedule_at=at).defer(run_id=str(run_id))
    if at is None:
        embedded.wake(run_id)  # a runner in this very process need not wait for the job
