"""One run: its page, stopping it, and letting it go on."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from .. import inert, queries, services
from ..forms import ResumeForm
from ..http import PageRequest, announce, local_path, signed_in
from ..services import RunError
from ..services.control import USUAL_EXTRA_TURNS
from ..timeline import Block, timeline
from ..trace import trace_of
from .access import check_may_start, visible_run

BLOCKS_SHOWN, FORKS_SHOWN = 300, 50


@require_safe
@signed_in
def run(request: PageRequest, pk: UUID) -> HttpResponse:
    found = visible_run(request, pk)
    blocks = timeline(found)
    if seq := request.GET.get("full"):
        block = _block(blocks, seq)
        context = {"run": found, "block": block, "parts": _parts(block)}
        return render(request, "runs/full.html", context)
    shown = blocks if "all" in request.GET else blocks[-BLOCKS_SHOWN:]
    whole = request.GET.get("trace") == "all"
    context = {
        "run": found,
        "forks": queries.forks_of(request.user, found, FORKS_SHOWN),
        "all_runs": [found],
        "blocks": shown,
        "hidden": len(blocks) - len(shown),
        "trace": trace_of(found, whole=whole),
        "whole": whole,
    }
    return render(request, "runs/run.html", context)


@require_POST
@signed_in
def stop(request: PageRequest, pk: UUID) -> HttpResponse:
    found = visible_run(request, pk)
    check_may_start(request)
    try:
        services.stop_run(found.pk, by=request.user)
    except RunError as error:
        return _header(request, pk, problem=str(error), status=409)
    return _header(request, pk, done="Stopping. Nothing new starts in this run.")


@require_POST
@signed_in
def resume(request: PageRequest, pk: UUID) -> HttpResponse:
    found = visible_run(request, pk)
    check_may_start(request)
    form = ResumeForm({"extra_turns": USUAL_EXTRA_TURNS, **request.POST.dict()})
    if not form.is_valid():
        problem = str(form.errors["extra_turns"][0])
        return _header(request, pk, problem=problem, status=422)
    try:
        services.resume_run(found.pk, by=request.user, **form.cleaned_data)
    except RunError as error:
        return _header(request, pk, problem=str(error), status=409)
    return _header(request, pk, done="The run goes on from where it failed.")


def _header(
    request: PageRequest,
    pk: UUID,
    *,
    done: str = "",
    problem: str = "",
    status: int = 200,
) -> HttpResponse:
    """Answer a stop or resume: the header as it is now, or the way back."""
    run = visible_run(request, pk)
    if request.htmx:
        turns = request.POST.get("extra_turns", "")
        context = {"run": run, "problem": problem, "turns": turns}
        header = render(request, "runs/timeline.html#header", context, status=status)
        return announce(header, problem or done)
    (messages.error if problem else messages.success)(request, problem or done)
    return redirect(local_path(request, run.get_absolute_url()))


def _block(blocks: list[Block], seq: str) -> Block:
    for block in blocks:
        if str(block.seq) == seq:
            return block
    raise Http404("This run has no such step.")


def _parts(block: Block) -> list[tuple[str, str]]:
    """Return the named texts of a block, whole and safe to look at."""
    if block.call is None:
        return [("Text", inert.plain(block.text))]
    parts = [("Arguments", block.call.arguments)]
    if block.call.output is not None:
        parts.append(("Output", block.call.output))
    return [(name, inert.plain(text)) for name, text in parts]
