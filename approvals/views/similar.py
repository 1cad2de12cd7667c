"""Calls of one tool that wait, side by side; each is decided on its own."""

from __future__ import annotations

from uuid import UUID

from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from runs.http import PageRequest, announce, signed_in

from .. import queries, similar
from ..models import ApprovalRequest


@require_safe
@signed_in
def alike(request: PageRequest, pk: UUID) -> HttpResponse:
    card = get_object_or_404(queries.visible_requests(request.user), pk=pk)
    if card.kind == ApprovalRequest.Kind.UPGRADE:
        raise Http404("Changed code is like no other.")
    value = request.GET.get("before")
    try:
        before = UUID(value) if value else None
    except ValueError:
        raise Http404("That page does not exist.") from None
    table = similar.table(card, request.user, before=before)
    context = {"card": card, "table": table, "before": before}
    context["path"] = request.get_full_path()
    return render(request, "approvals/similar.html", context)


def decided_line(
    request: PageRequest, card: ApprovalRequest, said: str, *, status: int, problem: str
) -> HttpResponse:
    """Return the last cell of a line, as htmx puts it in the table."""
    line = similar.line(card, request.user)
    context = {"line": line, "said": said, "problem": problem}
    response = render(request, "approvals/similar.html#verdict", context, status=status)
    response["Placet-Pending"] = str(queries.pending_count(request.user))
    return announce(response, said)
