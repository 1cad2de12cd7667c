"""A request, and what a person says to it: forms that call one service each."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from runs.http import PageRequest, announce, local_path, signed_in
from runs.templatetags.runs_tags import relative_left

from .. import display, queries, services
from ..cards import card_context
from ..forms.verdicts import DecisionForm
from ..models import ApprovalRequest, RequestStatus
from .similar import decided_line

DONE = {
    RequestStatus.APPROVED: "Approved. The run goes on.",
    RequestStatus.REJECTED: "Rejected. The model is told, and the run goes on.",
    RequestStatus.ANSWERED: "Recorded. The model gets this output.",
}
EDITED = "Approved as changed. The run goes on with these arguments."
STOPPED = "Rejected, and the run is stopped. Nothing new starts in it."
UPGRADE_DONE = {
    RequestStatus.APPROVED: "The run goes on under the code there is now.",
    RequestStatus.REJECTED: "The run has ended.",
}
TYPED = ("reason", "output", "preset", "stop")
UNDONE = "Undone. The call is asked about again."


@require_safe
@signed_in
def request(request: PageRequest, pk: UUID) -> HttpResponse:
    card = visible(request, pk)
    if "full" in request.GET:
        text = display.full_text(card.call_arguments)
        context = {"card": card, "text": text}
        return render(request, "approvals/full.html", context)
    return _page(request, card)


@require_POST
@signed_in
def decide(request: PageRequest, pk: UUID) -> HttpResponse:
    card = visible(request, pk)
    form = DecisionForm(request.POST, card=card)
    if not form.is_valid():
        return refused(request, card, form.problem, status=422)
    try:
        services.decide(card.pk, by=request.user, **form.decision)
    except services.NotAllowed as error:
        return refused(request, card, str(error), status=403)
    except (services.Stale, services.AlreadyDecided) as error:
        return refused(request, visible(request, pk), str(error), status=409)
    except services.InvalidDecision as error:
        return refused(request, card, str(error), status=422)
    return decided(request, visible(request, pk))


@require_POST
@signed_in
def undo(request: PageRequest, pk: UUID) -> HttpResponse:
    card = visible(request, pk)
    try:
        again = services.undo(card.pk, by=request.user)
    except services.NotAllowed as error:
        return refused(request, visible(request, pk), str(error), status=403)
    except services.NotUndoable as error:
        return refused(request, visible(request, pk), str(error), status=409)
    if request.htmx:
        return _fragment(request, visible(request, again.pk), UNDONE)
    messages.success(request, UNDONE)
    return redirect(local_path(request, again.get_absolute_url()))


def visible(request: PageRequest, pk: UUID) -> ApprovalRequest:
    return get_object_or_404(queries.visible_requests(request.user), pk=pk)


def _page(
    request: PageRequest, card: ApprovalRequest, *, status: int = 200, **more: Any
) -> HttpResponse:
    context = card_context(card, user=request.user, view="page") | more
    context["last_message"] = queries.last_user_message(card.run)
    context["task"] = queries.task_of(card)
    return render(request, "approvals/request.html", context, status=status)


def refused(
    request: PageRequest, card: ApprovalRequest, problem: str, *, status: int
) -> HttpResponse:
    """Show the card as it stands, with why nothing was decided and what was typed."""
    typed = {name: request.POST.get(name, "") for name in TYPED}
    more = {"problem": problem, "typed": typed}
    if not request.htmx:
        return _page(request, card, status=status, **more)
    return _fragment(request, card, problem, status=status, **more)


def decided(request: PageRequest, card: ApprovalRequest) -> HttpResponse:
    done = what_is_done(card)
    if request.htmx:
        return _fragment(request, card, done, just_decided=True)
    messages.success(request, done)
    return redirect(local_path(request, card.get_absolute_url()))


def what_is_done(card: ApprovalRequest) -> str:
    if card.is_held(timezone.now()):
        left = relative_left(card.decision.release_at)
        return f"{card.get_status_display()}. It counts in {left}; you can undo it."
    if card.status == RequestStatus.REJECTED and card.decision.stops_run:
        return STOPPED
    if card.status == RequestStatus.APPROVED and card.is_edited:
        return EDITED
    is_upgrade = card.kind == ApprovalRequest.Kind.UPGRADE
    done = (UPGRADE_DONE if is_upgrade else DONE).get(RequestStatus(card.status))
    return done or f"Your vote counts: {card.votes} of {card.votes_needed} needed."


def _fragment(
    request: PageRequest,
    card: ApprovalRequest,
    said: str,
    *,
    status: int = 200,
    **more: Any,
) -> HttpResponse:
    """Return the card for htmx; headers carry what else the page shall change."""
    if request.POST.get("view") == "line":
        problem = str(more.get("problem", ""))
        return decided_line(request, card, said, status=status, problem=problem)
    view = "inline" if request.POST.get("view") == "inline" else "page"
    context = card_context(card, user=request.user, view=view) | more
    context["next"] = request.POST.get("next", "")
    response = render(request, "approvals/card.html", context, status=status)
    response["Placet-Pending"] = str(queries.pending_count(request.user))
    return announce(response, said)
