"""Conversations and runs: pages to read, forms that call one service each."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)
from django_htmx.http import HttpResponseClientRedirect

from . import inert, queries, registry, services
from .forms import MessageForm, NewConversationForm
from .http import PageRequest, announce, local_path, signed_in
from .models import Conversation, Run
from .services import RunError
from .timeline import Block, timeline, timelines
from .trace import trace_of

BLOCKS_SHOWN = 300
MAY_NOT_START = "Your account may not start or change runs. Ask an admin for it."


@require_safe
@signed_in
def conversations(request: PageRequest) -> HttpResponse:
    visible = queries.visible_conversations(request.user)
    after = _named(request, "after")
    start = get_object_or_404(visible, pk=after) if after else None
    page = queries.conversations_page(request.user, after=start)
    context = {"page": page, "is_first": start is None}
    return render(request, "runs/conversations.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def new(request: PageRequest) -> HttpResponse:
    _check_may_start(request)
    agents = registry.all_agents()
    if request.method != "POST":
        form = NewConversationForm(agents)
        return render(request, "runs/new.html", {"form": form, "agents": agents})
    form = NewConversationForm(agents, request.POST.dict())
    if form.is_valid():
        try:
            run = _start(request, **form.cleaned_data)
        except RunError as error:
            form.add_error(None, str(error))
        else:
            return redirect("runs:conversation", run.conversation_id)
    context = {"form": form, "agents": agents}
    return render(request, "runs/new.html", context, status=422)


@require_safe
@signed_in
def conversation(request: PageRequest, pk: UUID) -> HttpResponse:
    found = get_object_or_404(queries.visible_conversations(request.user), pk=pk)
    context = _conversation_context(request, found)
    return render(request, "runs/conversation.html", context)


@require_POST
@signed_in
def message(request: PageRequest, pk: UUID) -> HttpResponse:
    found = get_object_or_404(queries.visible_conversations(request.user), pk=pk)
    _check_may_start(request)
    form = MessageForm(request.POST)
    if not form.is_valid():
        return _refused(request, found, str(form.errors["text"][0]), status=422)
    text = form.cleaned_data["text"]
    try:
        run = services.send_message(found.pk, text, by=request.user)
    except services.MessageRefused as error:
        return _refused(request, found, str(error), status=409)
    except RunError as error:
        return _refused(request, found, str(error), status=422)
    address = reverse("runs:conversation", args=[found.pk])
    if not request.htmx:
        return redirect(address)
    if found.current_run_id != run.pk:
        return HttpResponseClientRedirect(address)
    context = {"conversation": found, "run": run, "sent": True}
    form_again = render(request, "runs/conversation.html#message", context)
    return announce(form_again, "Sent. The agent reads it at its next turn.")


@require_safe
@signed_in
def run(request: PageRequest, pk: UUID) -> HttpResponse:
    found = _visible_run(request, pk)
    blocks = timeline(found)
    if seq := request.GET.get("full"):
        block = _block(blocks, seq)
        context = {"run": found, "block": block, "parts": _parts(block)}
        return render(request, "runs/full.html", context)
    shown = blocks if "all" in request.GET else blocks[-BLOCKS_SHOWN:]
    whole = request.GET.get("trace") == "all"
    context = {
        "run": found,
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
    found = _visible_run(request, pk)
    _check_may_start(request)
    try:
        services.stop_run(found.pk, by=request.user)
    except RunError as error:
        return _header(request, pk, problem=str(error), status=409)
    return _header(request, pk, done="Stopping. Nothing new starts in this run.")


@require_POST
@signed_in
def resume(request: PageRequest, pk: UUID) -> HttpResponse:
    found = _visible_run(request, pk)
    _check_may_start(request)
    try:
        services.resume_run(found.pk, by=request.user)
    except RunError as error:
        return _header(request, pk, problem=str(error), status=409)
    return _header(request, pk, done="The run goes on from where it failed.")


def _start(request: PageRequest, *, agent: str, text: str) -> Run:
    return services.start_run(
        agent, text, trigger=Run.Trigger.PAGE, requester=request.user
    )


def _visible_run(request: PageRequest, pk: UUID) -> Run:
    return get_object_or_404(queries.visible_runs(request.user), pk=pk)


def _check_may_start(request: PageRequest) -> None:
    if not queries.may_start(request.user):
        raise PermissionDenied(MAY_NOT_START)


def _conversation_context(
    request: PageRequest, found: Conversation
) -> dict[str, object]:
    before = _named(request, "before")
    runs, earlier = queries.latest_runs(found, before=before)
    blocks = timelines(runs)
    return {
        "conversation": found,
        "runs": [
            {
                "run": run,
                "blocks": blocks[run.pk][-BLOCKS_SHOWN:],
                "hidden": max(0, len(blocks[run.pk]) - BLOCKS_SHOWN),
                "is_live": not before and run is runs[-1],
            }
            for run in runs
        ],
        "all_runs": runs,
        "earlier": runs[0].pk if earlier else None,
        "is_latest": before is None,
    }


def _refused(
    request: PageRequest, found: Conversation, problem: str, *, status: int
) -> HttpResponse:
    """Show the message form again, with what was typed and why it was not taken."""
    typed = {"problem": problem, "typed": request.POST.get("text", "")}
    if request.htmx:
        context = {"conversation": found, **typed}
        return render(request, "runs/conversation.html#message", context, status=status)
    context = _conversation_context(request, found) | typed
    return render(request, "runs/conversation.html", context, status=status)


def _header(
    request: PageRequest,
    pk: UUID,
    *,
    done: str = "",
    problem: str = "",
    status: int = 200,
) -> HttpResponse:
    """Answer a stop or resume: the header as it is now, or the way back."""
    run = _visible_run(request, pk)
    if request.htmx:
        context = {"run": run, "problem": problem}
        header = render(request, "runs/timeline.html#header", context, status=status)
        return announce(header, problem or done)
    (messages.error if problem else messages.success)(request, problem or done)
    return redirect(local_path(request, run.get_absolute_url()))


def _named(request: PageRequest, name: str) -> UUID | None:
    """Return the id in the query, None without one; an odd one is not found."""
    value = request.GET.get(name)
    try:
        return UUID(value) if value else None
    except ValueError:
        raise Http404(f"{name} is not an id.") from None


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
