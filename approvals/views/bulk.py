"""Many requests at once: first all that was selected, then one verdict on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django import forms
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from runs.http import PageRequest, signed_in

from .. import display, policies, queries, services
from ..forms.verdicts import REASON_CHARS
from ..models import ApprovalRequest, Verdict
from ..services.bulk import MOST, Choice, why_alone

MOST_ROWS = 40
"""Of one call; a hundred calls are shown at once."""
VERDICTS = [
    (verdict.value, verdict.label) for verdict in Verdict if verdict != "answer"
]


class BulkForm(forms.Form):
    """One verdict for all, and a reason for the models."""

    verdict = forms.ChoiceField(
        choices=VERDICTS,
        error_messages={
            "required": "No verdict was given; nothing was decided.",
            "invalid_choice": "Many at once are approved or rejected; nothing else.",
        },
    )
    reason = forms.CharField(required=False, max_length=REASON_CHARS)

    @property
    def problem(self) -> str:
        """The first thing that is wrong, in a sentence."""
        return next((str(errors[0]) for errors in self.errors.values()), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One of the selected, as the table shows it."""

    card: ApprovalRequest
    arguments: display.Arguments
    why_not: str | None
    """Why it cannot be decided here, by this person."""
    acknowledged: bool


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def bulk(request: PageRequest) -> HttpResponse:
    if not policies.may_see_queue(request.user):
        raise Http404("Your account sees no queue.")
    given = request.POST if request.method == "POST" else request.GET
    picked = _picked(given.getlist("pick"))
    cards = _in_order(request, picked[:MOST])
    if request.method != "POST":
        return _table(request, cards, too_many=len(picked) > MOST)
    form = BulkForm(request.POST)
    if len(picked) > MOST or not form.is_valid():
        problem = form.problem or f"At most {MOST} are decided at once."
        return _table(request, cards, problem=problem, status=422)
    results = services.decide_each(
        [_choice(request, card) for card in cards],
        verdict=Verdict(form.cleaned_data["verdict"]),
        by=request.user,
        reason=form.cleaned_data["reason"],
    )
    context = {
        "results": results,
        "done": sum(result.done for result in results),
        "late": sum(result.was_decided for result in results),
        "verdict": form.cleaned_data["verdict"],
    }
    context["refused"] = len(results) - context["done"] - context["late"]
    return render(request, "approvals/bulk_done.html", context)


def _picked(given: Sequence[str]) -> list[UUID]:
    """Return the ids that were picked, each once. Raises Http404 for what is none."""
    try:
        return list(dict.fromkeys(UUID(value) for value in given))
    except ValueError:
        raise Http404("There is no such request.") from None


def _in_order(request: PageRequest, picked: Sequence[UUID]) -> list[ApprovalRequest]:
    """Return the requests that were picked, as picked; those of others are left out."""
    found = queries.visible_requests(request.user).in_bulk(picked)
    return [found[pk] for pk in picked if pk in found]


def _choice(request: PageRequest, card: ApprovalRequest) -> Choice:
    return Choice(
        request=card,
        digest_seen=request.POST.get(f"digest-{card.pk}", ""),
        acknowledged=request.POST.get(f"ack-{card.pk}") == "on",
        is_whole=not _shown(card).is_cut,
    )


def _table(
    request: PageRequest,
    cards: Sequence[ApprovalRequest],
    *,
    status: int = 200,
    **more: Any,
) -> HttpResponse:
    """Show every selected call; what was typed or ticked before is kept."""
    why_not = policies.why_not_decide_each(request.user, cards)
    lines = [
        Line(
            card=card,
            arguments=_shown(card),
            why_not=why_alone(card) or why_not[card.pk],
            acknowledged=request.POST.get(f"ack-{card.pk}") == "on",
        )
        for card in cards
    ]
    context = {
        "lines": lines,
        "able": sum(not line.why_not for line in lines),
        "reason": request.POST.get("reason", ""),
        "most": MOST,
        **more,
    }
    return render(request, "approvals/bulk.html", context, status=status)


def _shown(card: ApprovalRequest) -> display.Arguments:
    return display.arguments(_written(card), most_rows=MOST_ROWS)


def _written(card: ApprovalRequest) -> str:
    written = card.call_data.get("arguments")
    return written if isinstance(written, str) else card.arguments
