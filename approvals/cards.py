"""A request as a card: what a reviewer sees before and after the decision."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils import timezone

from runs import codec

from . import (
    differences,
    display,
    policies,
    provenance,
    queries,
    similar,
    standing,
    upgrades,
)
from .models import ApprovalRequest, RequestStatus
from .presets import REJECT_PRESETS


def card_context(card: ApprovalRequest, *, user: Any, view: str) -> dict[str, Any]:
    """Return what `approvals/card.html` shows; `view` is page or inline."""
    arguments = card.call_arguments
    return {
        "card": card,
        "user": user,
        "view": view,
        "raw": arguments,
        "shown": display.arguments(arguments),
        **(_verbs(card, user) if card.is_pending else _afterwards(card)),
        "edit": differences.edit_of(card),
        "why_not_always": standing.why_not_always(card),
        "known": _known(card),
        "changes": upgrades.changes_in(card),
        "servers": upgrades.servers_in(card),
        **_undoing(card, user),
        **(_around(card, arguments, user) if view == "page" else {}),
    }


def _around(card: ApprovalRequest, arguments: str, user: Any) -> dict[str, Any]:
    """Return where its values came from, and what was decided on calls like it.

    On its own page only: a run's page may hold many cards.
    """
    if card.kind == ApprovalRequest.Kind.UPGRADE:
        return {}
    return {
        "origins": provenance.origins(card, arguments),
        "alike": similar.around(card, user),
    }


def _verbs(card: ApprovalRequest, user: Any) -> dict[str, Any]:
    """Return what may be said to a pending request: for each verb, why not, or None."""
    why_not = policies.why_not_decide(user, card)
    return {
        "why_not": why_not,
        "why_not_approve": why_not or policies.why_not_approve_now(user, card),
        "why_not_edit": why_not or policies.why_no_edit(card),
        "why_not_stop": policies.why_not_stop(user, card),
        "presets": REJECT_PRESETS,
        "votes": list(card.vote_set.all()) if card.votes_needed > 1 else [],
    }


def _afterwards(card: ApprovalRequest) -> dict[str, Any]:
    """Return what a request that waits no more leads to."""
    if card.status != RequestStatus.SUPERSEDED:
        return {}
    return {"edited_as": queries.edit_after(card)}


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
