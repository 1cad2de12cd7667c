"""Claim, assign, later, and who is looking: each a form that calls one service."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.formats import date_format
from django.views.decorators.http import require_POST, require_safe

from runs.http import PageRequest, announce, local_path, signed_in

from .. import policies, queries, services
from ..forms.attention import AssignForm, LaterForm
from ..models import ApprovalRequest


@require_safe
@signed_in
def attention(request: PageRequest, pk: UUID) -> HttpResponse:
    """Show who is at a request, as it is now."""
    return _bar(request, _in_queue(request, pk))


@require_POST
@signed_in
def claim(request: PageRequest, pk: UUID) -> HttpResponse:
    card = _in_queue(request, pk)
    if request.POST.get("give") == "back":
        services.release(card.pk, by=request.user)
        return _done(request, card, "Given back; others see that it is free.")
    return _try(
        request,
        card,
        lambda: services.claim(card.pk, by=request.user),
        "Claimed for five minutes. Others see it, and may still decide.",
    )


@require_POST
@signed_in
def assign(request: PageRequest, pk: UUID) -> HttpResponse:
    card = _in_queue(request, pk)
    form = AssignForm(request.POST)
    if not form.is_valid():
        return _refused(request, card, form.problem, status=422)
    to = form.cleaned_data["to"]
    return _try(
        request,
        card,
        lambda: services.assign(card.pk, to=to, by=request.user),
        f"Assigned to {to}." if to else "Assigned to nobody.",
    )


@require_POST
@signed_in
def later(request: PageRequest, pk: UUID) -> HttpResponse:
    """Put it off for the reader, or have it back when nothing is chosen."""
    card = _in_queue(request, pk)
    form = LaterForm(request.POST)
    if not form.is_valid():
        return _refused(request, card, form.problem, status=422)
    until = form.until(timezone.localtime())
    if until is None:
        services.unsnooze(card.pk, by=request.user)
        return _done(request, card, "Back in your queue.")
    told = date_format(timezone.localtime(until), "D j M, H:i")
    return _try(
        request,
        card,
        lambda: services.snooze(card.pk, until=until, by=request.user),
        f"Put off until {told}. It comes back before it expires.",
    )


@require_POST
@signed_in
def look(request: PageRequest, pk: UUID) -> HttpResponse:
    """Note that the reader has the request open, or has closed it."""
    card = _in_queue(request, pk)
    closed = request.POST.get("away") == "on"
    (services.look_away if closed else services.look)(card.pk, by=request.user)
    return HttpResponse(status=204)


def _in_queue(request: PageRequest, pk: UUID) -> ApprovalRequest:
    """Return the request, to who reads the queue. Raises Http404."""
    found = queries.visible_requests(request.user)
    if not policies.may_see_queue(request.user):
        found = found.none()
    return get_object_or_404(found, pk=pk)


def _try(
    request: PageRequest,
    card: ApprovalRequest,
    service: Callable[[], object],
    done: str,
) -> HttpResponse:
    try:
        service()
    except services.NotAllowed as error:
        status = 403 if error.request.is_pending else 409
        return _refused(request, card, str(error), status=status)
    except services.Taken as error:
        return _refused(request, card, str(error), status=409)
    return _done(request, card, done)


def _done(request: PageRequest, card: ApprovalRequest, said: str) -> HttpResponse:
    if not request.htmx:
        messages.success(request, said)
        return redirect(local_path(request, card.get_absolute_url()))
    return announce(_bar(request, card), said)


def _refused(
    request: PageRequest, card: ApprovalRequest, problem: str, *, status: int
) -> HttpResponse:
    card.refresh_from_db()
    if request.htmx:
        return announce(_bar(request, card, problem, status=status), problem)
    context = {"card": card, "problem": problem}
    page = "approvals/attention_refused.html"
    return render(request, page, context, status=status)


def _bar(
    request: PageRequest, card: ApprovalRequest, problem: str = "", *, status: int = 200
) -> HttpResponse:
    context = {"card": card, "problem": problem}
    return render(request, "approvals/attention_bar.html", context, status=status)
