"""Cleaning up old states: what agents said and did goes, what was decided stays.

A pruned run keeps its row, its requests and its decisions. It cannot be resumed, and a
later run of its conversation no longer reads it.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from ..models import OPEN_STATUSES, EventKind, Run, RunEvent

BATCH = 100
"""Runs in one transaction: others may write in between."""


def prunable(older_than: timedelta) -> QuerySet[Run]:
    """Return the ended runs whose state is stored and no longer of use.

    Nothing in their conversation is open or newer than `older_than`: a conversation
    goes as a whole, because each of its runs reads those before it.
    """
    cutoff = timezone.now() - older_than
    in_use = Run.objects.filter(
        Q(status__in=OPEN_STATUSES) | Q(updated_at__gt=cutoff),
        conversation=OuterRef("conversation"),
    )
    return Run.objects.filter(~Exists(in_use)).exclude(head="")


def prune_states(older_than: timedelta) -> int:
    """Delete the states of `prunable` runs and return how many they were.

    First all are marked inactive, so that none is resumed or read any more; then they
    are emptied. Interrupted and begun again, it goes on where it stood.
    """
    prunable(older_than).filter(state_inactive_at=None).update(
        state_inactive_at=timezone.now()
    )
    done = 0
    while batch := _marked():
        done += _empty(batch)
    return done


def _marked() -> list[UUID]:
    marked = Run.objects.exclude(state_inactive_at=None).exclude(head="")
    return list(marked.values_list("pk", flat=True)[:BATCH])


def _empty(run_ids: list[UUID]) -> int:
    with transaction.atomic():
        RunEvent.objects.filter(run__in=run_ids, kind=EventKind.ITEM).delete()
        return Run.objects.filter(pk__in=run_ids).update(head="", pending_input="[]")
