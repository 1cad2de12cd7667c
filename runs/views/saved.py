"""A person's own saved searches of the conversations."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from .. import services
from ..forms import ConversationsForm, ViewForm
from ..http import PageRequest, signed_in
from ..models import SavedView
from .conversations import page_of

MOST_CHARS = 1000


@require_POST
@signed_in
def save(request: PageRequest) -> HttpResponse:
    asked = ConversationsForm(QueryDict(request.POST.get("query", "")[:MOST_CHARS]))
    form = ViewForm(request.POST)
    if not asked.is_valid() or len(asked.address) > MOST_CHARS:
        return page_of(request, asked, status=422)
    if not form.is_valid():
        problem = str(form.errors["name"][0])
        return page_of(request, asked, view_problem=problem, status=422)
    name = form.cleaned_data["name"]
    try:
        services.save_view(request.user, name, asked.address)
    except services.ViewRefused as error:
        return page_of(request, asked, view_problem=str(error), status=409)
    messages.success(request, "The view is saved.")
    return redirect(f"{reverse('runs:conversations')}?{asked.address}")


@require_POST
@signed_in
def rename(request: PageRequest, pk: UUID) -> HttpResponse:
    view = _own(request, pk)
    asked = ConversationsForm(QueryDict(view.query))
    form = ViewForm(request.POST)
    if not form.is_valid():
        problem = str(form.errors["name"][0])
        return page_of(request, asked, rename_problem=problem, status=422)
    try:
        services.rename_view(view.pk, form.cleaned_data["name"], by=request.user)
    except services.ViewRefused as error:
        return page_of(request, asked, rename_problem=str(error), status=409)
    messages.success(request, "The view has its new name.")
    return redirect(f"{reverse('runs:conversations')}?{view.query}")


@require_POST
@signed_in
def delete(request: PageRequest, pk: UUID) -> HttpResponse:
    view = _own(request, pk)
    services.delete_view(view.pk, by=request.user)
    messages.success(request, "The view is deleted; no conversation is.")
    return redirect("runs:conversations")


def _own(request: PageRequest, pk: UUID) -> SavedView:
    return get_object_or_404(request.user.saved_views, pk=pk)
