"""The state inspector: what a run is made of, for those who may follow every run."""

from __future__ import annotations

from uuid import UUID

from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_safe

from .. import queries
from ..http import PageRequest, signed_in
from ..inspector import inspect, state_pieces
from ..models import Run
from ..streaming import streamed
from ..trace import trace_of
from .access import visible_run


@require_safe
@signed_in
def state(request: PageRequest, pk: UUID) -> HttpResponse:
    run = _followed(request, pk)
    frame = request.GET.get("frame")
    if frame is not None and "\x00" in frame:
        raise Http404("This run has no such frame.")
    context = {
        "run": run,
        "state": inspect(run, frame=frame),
        "frame": frame,
        "trace": trace_of(run),
    }
    return render(request, "runs/state.html", context)


@require_safe
@signed_in
def state_file(request: PageRequest, pk: UUID) -> HttpResponseBase:
    run = _followed(request, pk)
    return streamed(
        request,
        state_pieces(run),
        content_type="application/json",
        name=f"run-{run.pk}-state.json",
    )


def _followed(request: PageRequest, pk: UUID) -> Run:
    if not queries.may_follow(request.user):
        raise Http404("This page is for people who may see every run.")
    return visible_run(request, pk)
