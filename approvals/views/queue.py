"""The queue: what waits for a person."""

from __future__ import annotations

from uuid import UUID

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from runs.http import PageRequest, signed_in

from .. import queries


@require_safe
@signed_in
def queue(request: PageRequest) -> HttpResponse:
    value = request.GET.get("before")
    try:
        before = UUID(value) if value else None
    except ValueError:
        raise Http404("That page does not exist.") from None
    page = queries.queue_page(request.user, before=before)
    return render(request, "approvals/queue.html", {"page": page, "before": before})
