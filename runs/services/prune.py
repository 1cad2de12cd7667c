"""Cleaning up old states: what agents said and did goes, what was decided stays.

A pruned run keeps its row, its requests and its decisions. It cannot be resumed, and a
later run of its conversation no longer reads it. States that programs have put by
themselves go by their own age: the time they were last saved or taken out of use.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from ..models import (
    OPEN_STATUSES,
    EventKind,
    Run,
    RunEvent,
    SavedState,
    ToolExecution,
)
from ..transactions import write
from . import saved_states

BATCH = 100
"""Runs in one transaction: others may write in between."""

KEPT = (EventKind.STATUS, EventKind.REQUEST, EventKind.EXECUTION)
"""Rows of the log that say what became of run, requests and calls, and not what was
said: a view, an answer's record, a guardrail's and a span hold some of that too."""


def prunable(older_than: timedelta) -> QuerySet[Run]:
    """Return the ended runs whose state is stored and no longer of use.

    Nothing in their conversation is open or newer than `older_than`: a conversation
    goes as a whole, because each of its runs reads those before it. One that a fork
    reads, whose own state is stored, stays as long as that.
    """
    cutoff = timezone.now() - older_than
    in_use = Run.objects.filter(
        Q(status__in=OPEN_STATUSES) | Q(updated_at__gt=cutoff),
        conversation=OuterRef("conversation"),
    )
    read = Run.objects.filter(
        parent__conversation=OuterRef("conversation"), fork_seq__isnull=False
    ).exclude(head="")
    return Run.objects.filter(~Exists(in_use), ~Exists(read)).exclude(head="")


def prunable_saved(older_than: timedelta) -> QuerySet[SavedState]:
    """Return the states of programs of their own that are older."""
    return saved_states.older_than(timezone.now() - older_than)


def count_prunable(older_than: timedelta) -> int:
    """Return how many states `prune_states` would delete."""
    return prunable(older_than).count() + prunable_saved(older_than).count()


def prune_states(older_than: timedelta) -> int:
    """Delete the states of `prunable` runs and old saved ones; return how many.

    First all are marked inactive, so that none is resumed or read any more; then they
    are emptied. Interrupted and begun again, it goes on where it stood.
    """
    _mark(older_than)
    done = saved_states.delete_before(timezone.now() - older_than)
    while batch := _marked():
        done += _empty(batch)
    return done


@write
def _mark(older_than: timedelta) -> None:
    prunable(older_than).filter(state_inactive_at=None).update(
        state_inactive_at=timezone.now()
    )


def _marked() -> list[UUID]:
    marked = Run.objects.exclude(state_inactive_at=None).exclude(head="")
    return list(marked.values_list("pk", flat=True)[:BATCH])


@write
def _empty(run_ids: list[UUID]) -> int:
    RunEvent.objects.filter(run__in=run_ids).exclude(kind__in=KEPT).delete()
    ToolExecution.objects.filter(run__in=run_ids).update(outcome="")
    return Run.objects.filter(pk__in=run_ids).update(head="", pending_input="[]")
