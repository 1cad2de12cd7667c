"""A request as a card: what a reviewer sees before and after the decision."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from runs import codec

from . import display, policies, upgrades
from .models import ApprovalRequest


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
        "why_not_always": policies.why_not_always(card),
        "known": _known(card),
        "changes": upgrades.changes_in(card),
        "servers": upgrades.servers_in(card),
    }


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
