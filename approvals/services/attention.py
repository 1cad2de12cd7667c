"""Who takes a request, who puts it off, who looks: courtesies, which decide nothing.

A claim never keeps anybody from deciding, and none of these writes touches a row that
a run or a verdict locks.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import Q, QuerySet
from django.utils import timezone

from runs.live.pokes import poke
from runs.transactions import write

from .. import policies
from ..errors import NotAllowed, Taken
from ..models import ApprovalRequest, Attention, Look, Snooze
from ..models.attention import CLAIM, LOOK
from ..topics import QUEUE


@write
def claim(request_id: UUID, *, by: User) -> Attention:
    """Show others for CLAIM that `by` is at the request; again, and it lasts longer.

    Raises Taken while somebody else has it, NotAllowed for who may not decide it;
    ApprovalRequest.DoesNotExist.
    """
    request = _decidable(request_id, by)
    now = timezone.now()
    free = Q(claimed_until=None) | Q(claimed_until__lte=now) | Q(claimed_by=by)
    kept = _kept(request, now)
    if not kept.filter(free).update(
        claimed_by=by, claimed_until=now + CLAIM, changed_at=now
    ):
        attention = kept.select_related("claimed_by").get()
        raise Taken(f"{attention.claimed_by} has claimed this request.", request)
    poke(QUEUE)
    return kept.get()


@write
def release(request_id: UUID, *, by: User) -> None:
    """Give up `by`'s claim, if there is one."""
    theirs = Attention.objects.filter(request=request_id, claimed_by=by)
    if theirs.update(claimed_by=None, claimed_until=None, changed_at=timezone.now()):
        poke(QUEUE)


@write
def assign(request_id: UUID, *, to: User | None, by: User) -> Attention:
    """Make the request one person's, who may decide it; None makes it nobody's.

    Raises NotAllowed when `by` or `to` may not decide it; ApprovalRequest.DoesNotExist.
    """
    request = _decidable(request_id, by)
    if to is not None and policies.why_not_decide(to, request):
        raise NotAllowed(f"{to} may not decide this request.", request)
    now = timezone.now()
    kept = _kept(request, now)
    kept.update(assigned_to=to, assigned_by=by, changed_at=now)
    poke(QUEUE)
    return kept.get()


@write
def snooze(request_id: UUID, *, until: datetime, by: User) -> Snooze:
    """Put the request off for `by` alone; it comes back when due soon, or `until`.

    Raises NotAllowed when nothing waits; ApprovalRequest.DoesNotExist.
    """
    request = ApprovalRequest.objects.get(pk=request_id)
    if not request.is_pending:
        raise NotAllowed("This request waits no more.", request)
    snoozed, _ = Snooze.objects.update_or_create(
        request=request, person=by, defaults={"until": until}
    )
    return snoozed


@write
def unsnooze(request_id: UUID, *, by: User) -> None:
    """Have the request back at once, if `by` had put it off."""
    Snooze.objects.filter(request=request_id, person=by).delete()


@write
def look(request_id: UUID, *, by: User) -> None:
    """Say that `by` has the request open; to be said again within LOOK."""
    now = timezone.now()
    theirs = Look.objects.filter(request=request_id, person=by)
    goes_on = theirs.filter(seen_at__gt=now - LOOK).update(seen_at=now)
    if goes_on:
        return  # others see it already
    Look.objects.update_or_create(
        request_id=request_id, person=by, defaults={"seen_at": now}
    )
    Look.objects.filter(seen_at__lte=now - 10 * LOOK).delete()
    poke(QUEUE)


@write
def look_away(request_id: UUID, *, by: User) -> None:
    """Say that `by` has closed the request."""
    # Not deleted: that it changed is seen by its time.
    now = timezone.now()
    theirs = Look.objects.filter(request=request_id, person=by, seen_at__gt=now - LOOK)
    if theirs.update(seen_at=now - LOOK):
        poke(QUEUE)


def _decidable(request_id: UUID, by: User) -> ApprovalRequest:
    """Return the request, if `by` may decide it. Raises NotAllowed."""
    request = ApprovalRequest.objects.select_related("run").get(pk=request_id)
    if reason := policies.why_not_decide(by, request):
        raise NotAllowed(reason, request)
    return request


def _kept(request: ApprovalRequest, now: datetime) -> QuerySet[Attention]:
    """Return the request's row, made when it is missing."""
    Attention.objects.get_or_create(request=request, defaults={"changed_at": now})
    return Attention.objects.filter(request=request)
