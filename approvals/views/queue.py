"""The queue: what waits for a person."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from runs.http import PageRequest, signed_in

from .. import policies
from .. import queue as waiting
from ..models import ApprovalRequest
from ..queue import Asked, View


@require_safe
@signed_in
def queue(request: PageRequest) -> HttpResponse:
    """Show a view of the queue; to htmx its list, to be put in the old one's place."""
    now = timezone.now()  # first: what changes from here on is news
    if not policies.may_see_queue(request.user):
        return render(request, "approvals/queue_none.html")
    asked = _asked(request)
    try:
        page = waiting.page(request.user, asked, now)
    except ApprovalRequest.DoesNotExist:
        raise Http404("That page does not exist.") from None
    decides = policies.holds(request.user, policies.DECIDE)
    context = {"page": page, "now": now, "decides": decides}
    if request.htmx:
        return render(request, "approvals/queue.html#queue-list", context)
    context |= _views(request, asked.view, now)
    return render(request, "approvals/queue.html", context)


@require_safe
@signed_in
def views(request: PageRequest) -> HttpResponse:
    """Show the views with their counts, as they are now."""
    if not policies.may_see_queue(request.user):
        raise Http404("Your account sees no queue.")
    context = _views(request, _asked(request).view, timezone.now())
    return render(request, "approvals/queue_views.html", context)


@require_safe
@signed_in
def keys(request: PageRequest) -> HttpResponse:
    """List the keys, also for who has no JavaScript to press them."""
    return render(request, "approvals/keys.html")


def _asked(request: PageRequest) -> Asked:
    """Return what the address asks for. Raises Http404 for what it cannot mean."""
    given = request.GET
    try:
        after = UUID(given["after"]) if given.get("after") else None
        named = given.get("view")
        view = View(named) if named else waiting.default_view(request.user)
    except ValueError:
        raise Http404("That page does not exist.") from None
    # No text that is stored holds a NUL, and PostgreSQL takes none.
    search = given.get("q", "").replace("\0", "").strip()[: waiting.SEARCH_CHARS]
    return Asked(view=view, search=search, after=after)


def _views(request: PageRequest, chosen: View, now: datetime) -> dict[str, Any]:
    counts = waiting.counts(request.user, now)
    return {
        "chosen": chosen,
        "views": [(view, counts[view]) for view in View],
        "wakes": waiting.next_wake(request.user, now),
    }
