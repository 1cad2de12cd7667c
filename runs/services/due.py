"""What time brings to runs: holders that are gone, moments that have come.

Every process looks for it (`runs.sweeper`). Each function changes a run only when its
row still says so, so any number of processes may look at once.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import F
from django.utils import timezone

from .. import dispatch
from ..models import Run, RunStatus
from ..transactions import write
from . import log

AT_ONCE = 100
"""How much of each is dealt with in one go; the rest comes next."""
QUEUED_FOR = timedelta(seconds=5)
"""A queued run that no worker has taken for this long may have lost its wake-up."""
TOLD_AGAIN = 10
"""How many of those are told of at once: workers look for others by themselves."""


def abandoned_ids(now: datetime, *, excluding: Collection[UUID] = ()) -> list[UUID]:
    """Return runs whose holder has let its lease run out."""
    found = Run.objects.filter(status=RunStatus.RUNNING, lease_expires_at__lt=now)
    found = found.exclude(pk__in=excluding).order_by("lease_expires_at")
    return list(found.values_list("pk", flat=True)[:AT_ONCE])


def due_ids(now: datetime) -> list[UUID]:
    """Return waiting runs that are to be looked at by `now`."""
    found = Run.objects.filter(status=RunStatus.WAITING, wake_at__lte=now)
    found = found.order_by("wake_at")
    return list(found.values_list("pk", flat=True)[:AT_ONCE])


def next_moment() -> datetime | None:
    """Return when the next waiting run is to be looked at; None when none is."""
    later = Run.objects.filter(status=RunStatus.WAITING, wake_at__isnull=False)
    return later.order_by("wake_at").values_list("wake_at", flat=True).first()


def untaken_ids(now: datetime) -> list[UUID]:
    """Return the runs that have been queued for longest, and for too long."""
    found = Run.objects.filter(
        status=RunStatus.QUEUED, updated_at__lt=now - QUEUED_FOR
    ).order_by("updated_at")
    return list(found.values_list("pk", flat=True)[:TOLD_AGAIN])


@write
def free(run_id: UUID) -> bool:
    """Queue a run whose holder is gone; False when it is not, or another was first.

    A holder that was only slow finds no lease: the run is no longer running.
    """
    now = timezone.now()
    abandoned = Run.objects.filter(
        pk=run_id, status=RunStatus.RUNNING, lease_expires_at__lt=now
    )
    freed = abandoned.update(
        status=RunStatus.QUEUED,
        lease_owner="",
        lease_expires_at=None,
        wakes=F("wakes") + 1,
        updated_at=now,
    )
    if freed:
        log.record_status(run_id, RunStatus.QUEUED)
        dispatch.wake(run_id)
    return bool(freed)


@write
def wake_due(run_id: UUID) -> bool:
    """Queue a waiting run whose moment has come; False when it has not."""
    now = timezone.now()
    due = Run.objects.filter(pk=run_id, status=RunStatus.WAITING, wake_at__lte=now)
    if due.update(wake_at=None):
        log.wake(run_id)
        return True
    return False
