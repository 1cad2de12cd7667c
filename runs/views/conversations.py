"""Conversations: the list, a new one, one of them, and what is said in it."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)
from django_htmx.http import HttpResponseClientRedirect

from .. import queries, registry, services
from ..forms import ConversationsForm, MessageForm, NewConversationForm
from ..http import PageRequest, announce, signed_in
from ..keyset import Slice, place
from ..models import Conversation, Run
from ..services import RunError
from ..timeline import timelines
from .access import check_may_start, named, visible_conversation
from .runs import BLOCKS_SHOWN


@require_safe
@signed_in
def conversations(request: PageRequest) -> HttpResponse:
    return page_of(request, ConversationsForm(request.GET))


def page_of(
    request: PageRequest,
    form: ConversationsForm,
    *,
    status: int = 200,
    view_problem: str = "",
    rename_problem: str = "",
) -> HttpResponse:
    """Show the conversations that `form` asks for; none, and why, when it is wrong."""
    after = place(request.GET.get("after", ""))
    page: Slice[Conversation] = Slice(rows=[], older=None)
    if form.is_valid():
        page = queries.conversations_page(request.user, form.cleaned_data, after=after)
    views = list(request.user.saved_views.all())
    context = {
        "form": form,
        "page": page,
        "is_first": after is None,
        "asked": form.address,
        "views": views,
        "current": next((one for one in views if one.query == form.address), None),
        "view_problem": view_problem,
        "rename_problem": rename_problem,
        "typed": request.POST.get("name", ""),
    }
    status = status if form.is_valid() else 422
    return render(request, "runs/conversations.html", context, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def new(request: PageRequest) -> HttpResponse:
    check_may_start(request)
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
    found = visible_conversation(request, pk)
    context = _conversation_context(request, found)
    return render(request, "runs/conversation.html", context)


@require_POST
@signed_in
def message(request: PageRequest, pk: UUID) -> HttpResponse:
    found = visible_conversation(request, pk)
    check_may_start(request)
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


def _start(request: PageRequest, *, agent: str, text: str) -> Run:
    return services.start_run(
        agent, text, trigger=Run.Trigger.PAGE, requester=request.user
    )


def _conversation_context(
    request: PageRequest, found: Conversation
) -> dict[str, object]:
    before = named(request, "before")
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
