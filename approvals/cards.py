"""A request as a card: what a reviewer sees before and after the decision."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils import timezone

from runs import codec

from . import display, policies, queries, standing, upgrades
from .models import ApprovalRequest, RequestStatus


def card_context(card: ApprovalRequest, *, user: Any, view: str) -> dict[str, Any]:
    """Return what `approvals/card.html` shows; `view` is page or inline."""
    written = card.call_data.get("arguments")
    arguments = written if isinstance(written, str) else card.arguments
    return {
        "card": card,
        "user": user,
        "view": view,
        "raw": arguments,
        "shown": display.arguments(arguments),
        "why_not": policies.why_not_decide(user, card) if card.is_pending else None,
        "why_not_always": standing.why_not_always(card),
        "known": _known(card),
        "changes": upgrades.changes_in(card),
        "servers": upgrades.servers_in(card),
        **_undoing(card, user),
    }


def _undoing(card: ApprovalRequest, user: Any) -> dict[str, Any]:
    """Return whether its verdict can be undone, by `user` too, or who has done so."""
    now = timezone.now()
    if card.is_held(now):
        return {"held": True, "why_not_undo": policies.why_not_undo(user, card, now)}
    if card.status == RequestStatus.UNDONE:
        return {"undone": queries.undoing_of(card)}
    return {}


def _known(card: ApprovalRequest) -> list[str]:
    """Return what is known of a call in doubt, as sentences."""
    if card.kind != ApprovalRequest.Kind.RECONCILE or not card.evidence:
        return []
    evidence = codec.loads(card.evidence)
    started = datetime.fromisoformat(evidence["started_at"])
    told = [
        f"Attempt {evidence['attempt']} of this call started on "
        f"{started:%d %b %Y at %H:%M:%S %Z}; no end of it was recorded."
    ]
    execution = card.run.executions.filter(call_key=card.call_key).first()
    if execution and execution.evidence:
        late = codec.loads(execution.evidence)
        told.append(f"Its worker reported too late: {late['kind']}: {late['output']}")
    return told
