"""Every decision: a page to look through, and the same as a file."""

from __future__ import annotations

from urllib.parse import urlencode

from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_safe

from runs.http import PageRequest, signed_in
from runs.keyset import Slice, place
from runs.streaming import streamed

from .. import history as decisions
from .. import history_csv
from ..history import HistoryForm


@require_safe
@signed_in
def history(request: PageRequest) -> HttpResponse:
    form = HistoryForm(request.GET)
    after = place(request.GET.get("after", ""))
    if not form.is_valid():
        context = {"form": form, "page": Slice(rows=[], older=None)}
        return render(request, "approvals/history.html", context, status=422)
    found = decisions.visible_decisions(request.user)
    page = decisions.page(decisions.chosen(found, form.cleaned_data), after=after)
    context = {
        "form": form,
        "page": page,
        "is_first": after is None,
        "asked": asked(form),
    }
    return render(request, "approvals/history.html", context)


@require_safe
@signed_in
def history_csv_file(request: PageRequest) -> HttpResponseBase:
    form = HistoryForm(request.GET)
    if not form.is_valid():
        context = {"form": form, "page": Slice(rows=[], older=None)}
        return render(request, "approvals/history.html", context, status=422)
    found = decisions.visible_decisions(request.user)
    lines = decisions.all_lines(decisions.chosen(found, form.cleaned_data))
    return streamed(
        request,
        history_csv.rows(lines),
        content_type="text/csv; charset=utf-8",
        name="decisions.csv",
    )


def asked(form: HistoryForm) -> str:
    """Return the filters that are set, as they stand in an address."""
    return urlencode(
        {name: value for name, value in form.cleaned_data.items() if value}
    )
