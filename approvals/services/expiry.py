"""Requests that nobody decides in time are rejected, never approved."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from uuid import UUID

from django.db import DatabaseError

from ..errors import DecisionError
from ..models import ApprovalRequest, RequestStatus, Verdict
from .deciding import decide

logger = logging.getLogger(__name__)

EXPIRED_AT_ONCE = 100
RETURN_GRACE = timedelta(seconds=60)
"""What people have, once Placet is back, for requests that fell due meanwhile."""


def expire_due(now: datetime, *, up_since: datetime) -> int:
    """Reject what nobody has decided in time, some at once; return how many.

    Any process may do so at any time. What fell due before `up_since`, when this
    process began to look, waits for RETURN_GRACE: perhaps nobody could decide it.
    """
    due = ApprovalRequest.objects.filter(
        status=RequestStatus.PENDING, expires_at__lte=now
    )
    if now < up_since + RETURN_GRACE:
        due = due.filter(expires_at__gte=up_since)
    ids = due.order_by("expires_at").values_list("pk", "digest")[:EXPIRED_AT_ONCE]
    return sum(_expire(pk, digest) for pk, digest in list(ids))


def _expire(request_id: UUID, digest: str) -> bool:
    try:
        decide(request_id, verdict=Verdict.REJECT, by=None, digest_seen=digest)
    except DecisionError:
        return False  # someone was first
    except DatabaseError:
        extra = {"request_id": str(request_id)}
        logger.exception("A request was not expired; it is tried again", extra=extra)
        return False
    return True
