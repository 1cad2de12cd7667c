"""A fork: where it begins, what it leaves out, and the run it becomes."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from .. import services
from ..checkpoint import Checkpoint, checkpoint, done_since
from ..forms import ForkForm
from ..http import PageRequest, signed_in
from ..models import Run
from ..services import RunError
from ..timeline import timeline
from .access import check_may_start, visible_run

DONE_SHOWN = 20


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def fork(request: PageRequest, pk: UUID) -> HttpResponse:
    """Show where a fork would begin; made, go on to its conversation."""
    run = visible_run(request, pk)
    check_may_start(request)
    form = ForkForm(request.POST if request.method == "POST" else request.GET)
    if "at" in form.errors:
        raise Http404("This run has no such step.")
    if request.method != "POST":
        return _page(request, run, form)
    if not form.is_valid():
        return _page(request, run, form, str(form.errors["text"][0]), status=422)
    at, text = form.cleaned_data["at"], form.cleaned_data["text"]
    try:
        forked = services.fork_run(run.pk, at, by=request.user, text=text)
    except services.EmptyInput as error:
        return _page(request, run, form, str(error), status=422)
    except RunError as error:
        return _page(request, run, form, str(error), status=409)
    messages.success(request, "Forked. This conversation is the new one.")
    return redirect("runs:conversation", forked.conversation_id)


def _page(
    request: PageRequest,
    run: Run,
    form: ForkForm,
    problem: str = "",
    *,
    status: int = 200,
) -> HttpResponse:
    form.is_valid()
    at = form.cleaned_data["at"]
    context = {"run": run, "form": form, "problem": problem, "at": at}
    try:
        context |= _about(run, checkpoint(run, at))
    except services.NotForkable as error:
        context["refused"] = str(error)
        status = max(status, 409)
    return render(request, "runs/fork.html", context, status=status)


def _about(run: Run, point: Checkpoint) -> dict[str, object]:
    """Return what the page says of a fork at `point`: what it reads, what it leaves."""
    blocks = timeline(run)
    before = [block for block in blocks if block.seq <= point.seq]
    done = list(done_since(run, point)[: DONE_SHOWN + 1])
    return {
        "point": point,
        "last": before[-1] if before else None,
        "kept": len(before),
        "left": len(blocks) - len(before),
        "done": done[:DONE_SHOWN],
        "more_done": len(done) > DONE_SHOWN,
    }
