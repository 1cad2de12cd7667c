"""What is seen of approval requests, and by whom."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db.models import Q, QuerySet
from django.utils import timezone

from runs import index_reads
from runs.models import EventKind, Run, RunEvent
from runs.queries import Viewer
from runs.timeline import text_of

from . import policies
from .models import DECIDED_STATUSES, ApprovalRequest, AuditEntry, RequestStatus
from .models.requests import QUEUE_ORDER

COUNT_CAP = 1000
"""Counting stops here: nobody reads the difference, and it keeps the cost constant."""


def visible_requests(user: Viewer) -> QuerySet[ApprovalRequest]:
    """Return what `user` may see: the queue's readers all, others their own runs'."""
    found = ApprovalRequest.objects.select_related(
        "run__requester",
        "run__conversation__owner",
        "decision__actor",
        "decision__rule__creator",
        "edited_by",
    )
    if not isinstance(user, User):
        return found.none()
    if policies.may_see_queue(user):
        return found
    return found.filter(Q(run__requester=user) | Q(run__conversation__owner=user))


def pending_count(user: Viewer) -> int:
    """Return how many requests `user` sees waiting, counted up to COUNT_CAP."""
    if not isinstance(user, User) or not policies.may_see_queue(user):
        return 0
    pending = index_reads.has_status(RequestStatus.PENDING)
    waiting = ApprovalRequest.objects.filter(pending).order_by(*QUEUE_ORDER)
    return waiting[:COUNT_CAP].count()


def decided_requests(user: Viewer) -> QuerySet[ApprovalRequest]:
    """Return the visible requests that wait no more, the newest decided first."""
    over = visible_requests(user).exclude(status=RequestStatus.PENDING)
    return over.order_by("-updated_at", "-pk")


def requests_of_runs(runs: list[Run]) -> dict[str, ApprovalRequest]:
    """Return the pending and held requests of `runs` by id as text, in one query."""
    found = ApprovalRequest.objects.select_related(
        "run__requester",
        "run__conversation__owner",
        "decision__actor",
        "decision__rule__creator",
        "edited_by",
    )
    held = Q(status__in=DECIDED_STATUSES, decision__release_at__gt=timezone.now())
    shown = found.filter(Q(status=RequestStatus.PENDING) | held, run__in=runs)
    shown = shown.prefetch_related("vote_set__voter")
    return {str(request.pk): request for request in shown}


def edit_after(request: ApprovalRequest) -> ApprovalRequest | None:
    """Return the request that followed because a person changed the call, if any."""
    after = ApprovalRequest.objects.select_related("edited_by").filter(
        run=request.run_id, call_key=request.call_key, revision=request.revision + 1
    )
    edited = after.filter(edited_by__isnull=False).exclude(digest=request.digest)
    return edited.first()


@dataclass(frozen=True, slots=True, kw_only=True)
class Undoing:
    """How a verdict was taken back."""

    by: str
    again: ApprovalRequest
    """The newest request about the same call."""


def undoing_of(request: ApprovalRequest) -> Undoing:
    """Return who undid the verdict on `request`, and what is asked since."""
    entry = AuditEntry.objects.get(
        chain=f"run:{request.run_id}", action="undo", object_id=str(request.pk)
    )
    asked = ApprovalRequest.objects.filter(
        run=request.run_id, call_key=request.call_key
    )
    return Undoing(by=entry.actor, again=asked.latest("revision"))


def last_user_message(run: Run) -> str:
    """Return the newest text a person or system gave `run`; empty if there is none."""
    return _text_of_input(_inputs(run, frame="").order_by("-seq").first())


def task_of(request: ApprovalRequest) -> str:
    """Return what the agent that called was given to do; empty for the run's own."""
    frame = request.call_key.rpartition("/")[0]
    if not frame:
        return ""
    return _text_of_input(_inputs(request.run, frame).order_by("seq").first())


def _inputs(run: Run, frame: str) -> QuerySet[RunEvent]:
    return run.events.filter(
        kind=EventKind.ITEM, frame=frame, payload__startswith='{"type":"input"'
    )


def _text_of_input(event: RunEvent | None) -> str:
    return text_of(event.data["raw"].get("content")) if event else ""
