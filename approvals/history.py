"""Every decision there was: who said what to which call, and what became of it.

A page costs the same with a million decisions: each filter has an index that is in the
order of time, and a page goes on from a place, not from a number.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from runs.forms import begin_of, day, end_of
from runs.keyset import Place, Slice, newest
from runs.models import ToolExecution
from runs.queries import Viewer, may_follow

from . import policies
from .models import DECIDED_STATUSES, ApprovalRequest, Decision, RequestStatus, Verdict

PAGE_SIZE = 50
BATCH = 500
ALL = [("", "All")]
NOT_SHOWN = (
    "output",
    "request__call",
    "request__evidence",
    "request__run__head",
    "request__run__definition",
    "request__run__pending_input",
    "request__run__final_output",
    "request__run__conversation__metadata",
)
"""Long texts of the rows that are joined."""


class Outcome(enum.StrEnum):
    """What became of a decided call."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"
    RUNNING = "running"
    HELD = "held"
    WAITS = "waits"
    NOT_RUN = "not_run"
    ANSWERED = "answered"
    UNDONE = "undone"

    @property
    def words(self) -> str:
        return OUTCOME_WORDS[self]


OUTCOME_WORDS = {
    Outcome.SUCCEEDED: "Ran",
    Outcome.FAILED: "Ran, and failed",
    Outcome.UNKNOWN: "Started, end unknown",
    Outcome.RUNNING: "Running",
    Outcome.HELD: "Held",
    Outcome.WAITS: "About to run",
    Outcome.NOT_RUN: "Did not run",
    Outcome.ANSWERED: "Answered",
    Outcome.UNDONE: "Undone",
}
_OF_EXECUTION = {
    ToolExecution.Status.STARTED: Outcome.RUNNING,
    ToolExecution.Status.SUCCEEDED: Outcome.SUCCEEDED,
    ToolExecution.Status.FAILED: Outcome.FAILED,
    ToolExecution.Status.UNKNOWN: Outcome.UNKNOWN,
}
FILTERED = (
    Outcome.SUCCEEDED,
    Outcome.FAILED,
    Outcome.UNKNOWN,
    Outcome.NOT_RUN,
    Outcome.UNDONE,
)


class HistoryForm(forms.Form):
    """Which decisions are shown; what is empty filters nothing."""

    verb = forms.ChoiceField(
        label="Verdict", required=False, choices=[*ALL, *Verdict.choices]
    )
    outcome = forms.ChoiceField(
        label="What became of it",
        required=False,
        choices=[*ALL, *((one.value, one.words) for one in FILTERED)],
    )
    person = forms.CharField(label="Decided by", required=False, max_length=150)
    tool = forms.CharField(label="Tool", required=False, max_length=200)
    rule = forms.UUIDField(label="Rule", required=False, widget=forms.HiddenInput)
    since = day("From")
    until = day("To")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One decision, as a row of the page or the file."""

    decision: Decision
    outcome: Outcome

    @property
    def request(self) -> ApprovalRequest:
        return self.decision.request

    @property
    def took(self) -> timedelta:
        """From the question to the verdict."""
        return max(timedelta(0), self.decision.created_at - self.request.created_at)

    @property
    def took_s(self) -> float:
        return self.took.total_seconds()


def visible_decisions(user: Viewer) -> QuerySet[Decision]:
    """Return what `user` may see: all, for the queue's readers and those who follow.

    Others see the decisions in their own runs.
    """
    found = Decision.objects.select_related(
        "actor",
        "rule__creator",
        "request__run__requester",
        "request__run__conversation",
    ).defer(*NOT_SHOWN)
    if not isinstance(user, User):
        return found.none()
    if policies.may_see_queue(user) or may_follow(user):
        return found
    return found.filter(
        Q(request__run__requester=user) | Q(request__run__conversation__owner=user)
    )


def chosen(found: QuerySet[Decision], by: dict[str, Any]) -> QuerySet[Decision]:
    """Return those of `found` that the cleaned data of a `HistoryForm` asks for."""
    wanted: dict[str, Any] = {
        "verdict": by.get("verb"),
        "actor__username": by.get("person"),
        "tool": by.get("tool"),
        "rule": by.get("rule"),
        "created_at__gte": begin_of(by.get("since")),
        "created_at__lt": end_of(by.get("until")),
    }
    found = found.filter(**{name: value for name, value in wanted.items() if value})
    outcome = by.get("outcome")
    return found.filter(_that_ended(Outcome(outcome))) if outcome else found


def page(found: QuerySet[Decision], *, after: Place | None) -> Slice[Line]:
    """Return a page of `found`, newest first, in two queries."""
    some = newest(found, "created_at", after=after, size=PAGE_SIZE)
    return Slice(rows=_lines(some.rows), older=some.older)


def all_lines(found: QuerySet[Decision]) -> Iterator[Line]:
    """Yield all of `found`, newest first, never more than a batch in memory."""
    after: Place | None = None
    while True:
        some = newest(found, "created_at", after=after, size=BATCH)
        yield from _lines(some.rows)
        if some.older is None:
            return
        after = some.older


def _that_ended(outcome: Outcome) -> Q:
    """Return the condition for an outcome; one that is rare is looked up by itself."""
    if outcome in (Outcome.FAILED, Outcome.UNKNOWN):
        gone_wrong = ToolExecution.objects.filter(status=outcome.value)
        known = gone_wrong.exclude(permitted_by=None)
        return Q(pk__in=known.values("permitted_by"))
    if outcome == Outcome.UNDONE:
        return Q(request__status=RequestStatus.UNDONE)
    by_this = ToolExecution.objects.filter(
        run_id=OuterRef("request__run_id"),
        call_key=OuterRef("request__call_key"),
        permitted_by=OuterRef("pk"),
    )
    if outcome == Outcome.SUCCEEDED:
        return Q(Exists(by_this.filter(status=ToolExecution.Status.SUCCEEDED)))
    never = ~Q(verdict=Verdict.ANSWER) & ~Q(request__status=RequestStatus.UNDONE)
    return never & ~Q(Exists(by_this))


def _lines(decisions: list[Decision]) -> list[Line]:
    """Return the rows of a page, with what became of all their calls in one query."""
    executed = ToolExecution.objects.filter(
        run_id__in={decision.request.run_id for decision in decisions},
        permitted_by__in=[decision.pk for decision in decisions],
    )
    status_of = dict(executed.values_list("permitted_by", "status"))
    now = timezone.now()
    return [
        Line(decision=one, outcome=_outcome(one, status_of.get(one.pk), now))
        for one in decisions
    ]


def _outcome(decision: Decision, executed: str | None, now: datetime) -> Outcome:
    request = decision.request
    if executed is not None:
        return _OF_EXECUTION[ToolExecution.Status(executed)]
    if request.status == RequestStatus.UNDONE:
        return Outcome.UNDONE
    if request.status in DECIDED_STATUSES and decision.release_at > now:
        return Outcome.HELD
    if decision.verdict == Verdict.ANSWER:
        return Outcome.ANSWERED
    waits = request.status == RequestStatus.APPROVED and request.run.is_open
    return Outcome.WAITS if waits else Outcome.NOT_RUN
