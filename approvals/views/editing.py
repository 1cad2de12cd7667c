"""A call's arguments as a form: look at what changes, then approve that."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods
from django_htmx.http import HttpResponseClientRedirect

from runs.http import PageRequest, announce, signed_in

from .. import display, policies, services
from ..differences import differences
from ..forms.verdicts import ACK_NEEDED, EditForm
from ..models import ApprovalRequest
from .requests import decided, refused, visible, what_is_done

LOOK_FIRST = "This is what would run instead. Look at it, then approve it."
STALE = "This call has changed since you looked at it; look at it again."


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def edit(request: PageRequest, pk: UUID) -> HttpResponse:
    card = visible(request, pk)
    if problem := policies.why_not_edit(request.user, card):
        status = 403 if card.is_pending else 409
        return refused(request, card, problem, status=status)
    if request.method != "POST":
        return _form(request, card, EditForm(card))
    form = EditForm(card, request.POST)
    if request.POST.get("digest", card.digest) != card.digest:
        return refused(request, card, STALE, status=409)
    if not form.is_valid():
        return _form(request, card, form, status=422)
    if request.POST.get("step") != "send":
        return _form(request, card, form, **_looked_at(form))
    return _sent(request, card, form)


def _sent(request: PageRequest, card: ApprovalRequest, form: EditForm) -> HttpResponse:
    looked = _looked_at(form)
    if request.POST.get("edited") != form.digest:
        return _form(request, card, form, status=422, problem=LOOK_FIRST, **looked)
    if looked["warnings"] and request.POST.get("ack") != "on":
        return _form(request, card, form, status=422, problem=ACK_NEEDED, **looked)
    try:
        edited = services.edit(
            card.pk,
            arguments=form.arguments,
            reason=form.reason,
            by=request.user,
            digest_seen=request.POST["digest"],
        )
    except services.NotAllowed as error:
        return refused(request, visible(request, card.pk), str(error), status=403)
    except (services.Stale, services.AlreadyDecided) as error:
        return refused(request, visible(request, card.pk), str(error), status=409)
    except services.InvalidEdit as error:
        return _form(request, card, form, status=422, problem=str(error))
    if request.htmx and request.POST.get("view") != "inline":
        # All of the page is about the call as it was.
        messages.success(request, what_is_done(visible(request, edited.pk)))
        return HttpResponseClientRedirect(edited.get_absolute_url())
    return decided(request, visible(request, edited.pk))


def _looked_at(form: EditForm) -> dict[str, Any]:
    """Return what is shown before it is sent: each change, and the warnings on it."""
    card = form.card
    return {
        "changes": differences(card.call_arguments, form.arguments),
        "warnings": display.warnings_of(form.arguments, card.tool, card.agent_path),
    }


def _form(
    request: PageRequest,
    card: ApprovalRequest,
    form: EditForm,
    *,
    status: int = 200,
    problem: str = "",
    **more: Any,
) -> HttpResponse:
    said = request.POST if request.method == "POST" else request.GET
    problem = problem or form.problem
    context = {
        "card": card,
        "form": form,
        "problem": problem,
        "view": "inline" if said.get("view") == "inline" else "page",
        "next": said.get("next", ""),
        **more,
    }
    part = "#form" if request.htmx else ""
    response = render(request, f"approvals/edit.html{part}", context, status=status)
    return announce(response, problem) if request.htmx and problem else response
