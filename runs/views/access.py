"""What a view of a conversation or run begins with: load it, and see who may."""

from __future__ import annotations

from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.shortcuts import get_object_or_404

from .. import queries
from ..http import PageRequest
from ..models import Conversation, Run

MAY_NOT_START = "Your account may not start or change runs. Ask an admin for it."


def visible_conversation(request: PageRequest, pk: UUID) -> Conversation:
    return get_object_or_404(queries.visible_conversations(request.user), pk=pk)


def visible_run(request: PageRequest, pk: UUID) -> Run:
    return get_object_or_404(queries.visible_runs(request.user), pk=pk)


def check_may_start(request: PageRequest) -> None:
    if not queries.may_start(request.user):
        raise PermissionDenied(MAY_NOT_START)


def named(request: PageRequest, name: str) -> UUID | None:
    """Return the id in the query, None without one; an odd one is not found."""
    value = request.GET.get(name)
    try:
        return UUID(value) if value else None
    except ValueError:
        raise Http404(f"{name} is not an id.") from None
