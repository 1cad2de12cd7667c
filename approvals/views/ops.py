"""How the whole stands, for those who see every run."""

from __future__ import annotations

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe
from django_htmx.http import HttpResponseStopPolling

from runs import ops as runs_ops
from runs.http import PageRequest, signed_in
from runs.queries import may_follow

from .. import ops as approvals_ops
from .. import policies

NO_LONGER = "Your account may no longer see this. Load the page again."


@require_safe
@signed_in
def ops(request: PageRequest) -> HttpResponse:
    """Show how the work stands to who sees every run, and again every few seconds."""
    if not may_follow(request.user):
        if request.htmx:
            return HttpResponseStopPolling(NO_LONGER)
        raise Http404("This page is for people who may see every run.")
    now = timezone.now()
    context = {
        "now": now,
        "work": runs_ops.work(now),
        "requests": approvals_ops.requests(now),
        "times": approvals_ops.decision_times(now),
        "webhooks": approvals_ops.deliveries(now),
        "process": runs_ops.process(),
        "reads_queue": policies.may_see_queue(request.user),
    }
    part = "#board" if request.htmx else ""
    return render(request, f"approvals/ops.html{part}", context)
