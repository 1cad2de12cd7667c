"""What every write about requests tells: the run, the queue and the audit trail."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.models import User

from runs.live.pokes import poke
from runs.models import EventKind
from runs.services import lock, record_event
from runs.statements import Rows

from .. import audit
from ..models import ApprovalRequest, Rule, Verdict
from ..topics import QUEUE

_REQUEST = Rows(ApprovalRequest, "WHERE id = %s")


def announce(request: ApprovalRequest, *, by: str = "") -> None:
    """Tell run and queue that the request changed, inside the caller's transaction."""
    payload = {"request": str(request.pk), "status": request.status, "by": by}
    record_event(request.run_id, EventKind.REQUEST, payload, call_key=request.call_key)
    poke(QUEUE)


def announce_new(request: ApprovalRequest) -> None:
    """Record that somebody is asked, and tell run and queue of it."""
    asked = {
        "kind": request.kind,
        "digest": request.digest,
        "call": request.call_key,
    }
    audit.append(
        request.run_id,
        actor="Placet",
        action="request",
        about=request.pk,
        payload=asked,
    )
    announce(request)


def locked(request_id: UUID) -> ApprovalRequest:
    """Return the request with its run locked: every writer locks the run first."""
    run = lock(_REQUEST.get(request_id).run_id)
    request = _REQUEST.get(request_id)
    request.run = run
    return request


def record(
    request: ApprovalRequest,
    action: str,
    actor: str,
    verdict: Verdict,
    reason: str,
    **ids: object,
) -> None:
    payload = {
        "request": str(request.pk),
        "digest": request.digest,
        "verdict": str(verdict),
        "reason": reason,
        **ids,
    }
    audit.append(
        request.run_id, actor=actor, action=action, about=request.pk, payload=payload
    )


def name_of(by: User | Rule | None) -> str:
    """Who decided, for the audit trail."""
    if by is None:
        return "Placet"
    return by.get_username() if isinstance(by, User) else f"rule {by.pk}"


def shown_name(by: User | Rule | None) -> str:
    """Who decided, as a person reads it; empty when nobody did."""
    if by is None:
        return ""
    return by.get_username() if isinstance(by, User) else by.owner_name
