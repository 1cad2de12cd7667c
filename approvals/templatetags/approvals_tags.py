"""How the pages show approval requests."""

from __future__ import annotations

from collections.abc import Sequence

from django import template
from django.contrib.auth.models import AnonymousUser
from django.template import Context
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe

from runs import inert as inert_text
from runs.models import Run
from runs.templatetags.runs_tags import inert as inert_filter

from .. import display, policies, queries
from ..cards import card_context
from ..models import ApprovalRequest, Decision, RequestStatus
from ..provenance import Origin

register = template.Library()
register.filter("inert", inert_filter)

CARDS = "pending_cards"
STATUS_WORDS = {
    RequestStatus.PENDING: "Pending",
    RequestStatus.APPROVED: "Approved",
    RequestStatus.REJECTED: "Rejected",
    RequestStatus.ANSWERED: "Answered",
    RequestStatus.SUPERSEDED: "Replaced",
    RequestStatus.EXPIRED: "Expired",
    RequestStatus.CANCELLED: "Cancelled",
    RequestStatus.UNDONE: "Undone",
}
UPGRADED_WORDS = {
    RequestStatus.APPROVED: "Let go on",
    RequestStatus.REJECTED: "Run ended",
}
RECONCILED_WORDS = {
    RequestStatus.APPROVED: "To run again",
    RequestStatus.REJECTED: "Skipped",
    RequestStatus.ANSWERED: "Happened",
}


@register.simple_tag(takes_context=True)
def pending_count(context: Context) -> str:
    """Return how many requests wait for the reader, as shown in the navigation."""
    count = queries.pending_count(context.get("user") or AnonymousUser())
    return f"{count}+" if count >= queries.COUNT_CAP else str(count)


@register.simple_tag(takes_context=True)
def may_see_queue(context: Context) -> bool:
    user = context.get("user")
    return bool(user and user.is_authenticated and policies.may_see_queue(user))


@register.simple_tag(takes_context=True)
def load_requests(context: Context, runs: list[Run]) -> str:
    """Read the pending requests of `runs` at once, for the cards that follow."""
    context[CARDS] = queries.requests_of_runs(runs)
    return ""


@register.simple_tag(takes_context=True)
def request_card(context: Context, request_id: str) -> SafeString:
    """Show a pending or held request's card in a timeline, as the reader may see it."""
    cards = context.get(CARDS)
    user = context.get("user") or AnonymousUser()
    if cards is None:
        card = queries.visible_requests(user).filter(pk=request_id).first()
    else:
        card = cards.get(request_id)
    if card is None or not (card.is_pending or card.is_held(timezone.now())):
        return mark_safe("")
    inside = card_context(card, user=user, view="inline")
    inside["csrf_token"] = context.get("csrf_token")
    request = context.get("request")
    inside["next"] = request.path if request else ""
    return mark_safe(render_to_string("approvals/card.html", inside))  # noqa: S308


@register.simple_tag
def arguments_of(text: str) -> display.Arguments:
    """Return the arguments of a call, ready for a table."""
    return display.arguments(text)


@register.simple_tag
def call_line(tool: str, text: str) -> str:
    """Return a call in one safe line."""
    return display.summary_line(tool, text)


@register.filter
def status_words(card: ApprovalRequest) -> str:
    """Return a request's status as a person says it."""
    status = RequestStatus(card.status)
    if card.kind == ApprovalRequest.Kind.RECONCILE and status in RECONCILED_WORDS:
        return RECONCILED_WORDS[status]
    if card.kind == ApprovalRequest.Kind.UPGRADE and status in UPGRADED_WORDS:
        return UPGRADED_WORDS[status]
    return STATUS_WORDS[status]


@register.filter
def wish(card: ApprovalRequest) -> str:
    """Return what the tool's own summary says, to follow “wants to”.

    Empty for the plain list of arguments that stands in for a missing summary.
    """
    line = inert_text.excerpt(card.summary, display.SUMMARY_CHARS)
    if line.startswith(f"{inert_text.excerpt(card.tool, 80)}:") or line == card.tool:
        return ""
    first = line.split(" ", 1)[0]
    return line[0].lower() + line[1:] if first.istitle() else line


@register.filter
def decision_of(card: ApprovalRequest) -> Decision | None:
    """Return how a request was decided; None when nobody did, or that was undone."""
    if card.status in (RequestStatus.EXPIRED, RequestStatus.UNDONE):
        return None
    return getattr(card, "decision", None)


@register.filter
def at(parts: Sequence[Origin | None], index: int) -> Origin | None:
    """Return where the value of a row came from; None when nobody looked."""
    return parts[index] if index < len(parts) else None


@register.filter
def decided_words(status: str) -> str:
    """Return a status as it follows a count: 3 approved."""
    return STATUS_WORDS[RequestStatus(status)].lower()


@register.filter
def grouped(digest: str) -> str:
    """Return the first half of a digest in groups of four, as people compare it."""
    short = digest[:16]
    return "·".join(short[at : at + 4] for at in range(0, len(short), 4))


@register.filter
def requester_name(card: ApprovalRequest) -> str:
    """Return who or what asked for the run behind a request."""
    run = card.run
    return run.requester.get_username() if run.requester else run.trigger
