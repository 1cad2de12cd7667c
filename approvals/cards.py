"""A request as a card: what a reviewer sees before and after the decision."""

from __future__ import annotations

from typing import Any

from . import display, policies
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
    }
