"""A conversation or a run as a file, for who may see it and what was decided in it."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_safe

from runs import queries
from runs.http import PageRequest, signed_in
from runs.streaming import streamed

from .. import export

JSON = "application/json"


@require_safe
@signed_in
def conversation(request: PageRequest, pk: UUID) -> HttpResponseBase:
    found = get_object_or_404(queries.visible_conversations(request.user), pk=pk)
    pieces = export.conversation_pieces(found)
    name = f"conversation-{found.pk}.json"
    return streamed(request, pieces, content_type=JSON, name=name)


@require_safe
@signed_in
def run(request: PageRequest, pk: UUID) -> HttpResponseBase:
    found = get_object_or_404(queries.visible_runs(request.user), pk=pk)
    pieces = export.run_pieces(found)
    name = f"run-{found.pk}.json"
    return streamed(request, pieces, content_type=JSON, name=name)
