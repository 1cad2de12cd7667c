"""What nobody decides in time is put to one more group. It never decides anything.

Every process looks; each change asks whether its row still says so, so any number may.
"""

from __future__ import annotations

import logging
from datetime import datetime
from uuid import UUID

from django.db import DatabaseError

from runs.transactions import write

from .. import audit, notices
from ..models import ApprovalRequest, Notice, RequestStatus
from .notices import notify
from .telling import announce, locked

logger = logging.getLogger(__name__)

AT_ONCE = 100


def escalate_due(now: datetime) -> int:
    """Escalate what nobody has decided by now, some at once; return how many."""
    due = ApprovalRequest.objects.filter(
        status=RequestStatus.PENDING, escalate_at__lte=now
    ).order_by("escalate_at")
    ids = list(due.values_list("pk", flat=True)[:AT_ONCE])
    return sum(_escalate_one(pk, now) for pk in ids)


@write
def escalate(request_id: UUID, *, now: datetime) -> bool:
    """Let `escalate_to` decide the request as well; False when it is not due any more.

    The request stays as it is, digest and votes too: one more group may decide it.
    """
    request = locked(request_id)
    due = ApprovalRequest.objects.filter(
        pk=request_id, status=RequestStatus.PENDING, escalate_at__lte=now
    )
    if not due.update(escalate_at=None, escalated_at=now, updated_at=now):
        return False
    request.refresh_from_db()
    payload = {"digest": request.digest, "group": request.escalate_to}
    audit.append(
        request.run_id,
        actor="Placet",
        action="escalate",
        about=request.pk,
        payload=payload,
    )
    announce(request)
    if notices.are_mailed():
        notify(request, Notice.Kind.ESCALATED, now, group=request.escalate_to)
    return True


def _escalate_one(request_id: UUID, now: datetime) -> bool:
    try:
        return escalate(request_id, now=now)
    except DatabaseError:
        extra = {"request_id": str(request_id)}
        logger.exception("A request was not escalated; it is tried again", extra=extra)
        return False
