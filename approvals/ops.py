"""What waits for people, by age, and what nobody can decide.

Bounded as `runs.ops` is, with a million requests as with ten.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import Group
from django.db.models import Q, QuerySet, Subquery

from runs.engine import Risk
from runs.index_reads import counts, distinct_values, has_status
from runs.models import RunStatus, WebhookDelivery
from runs.ops import COUNT_CAP, ROWS_SHOWN

from . import policies
from .models import ApprovalRequest, Decision, RequestStatus

RISKS = (Risk.CRITICAL, Risk.HIGH, Risk.MEDIUM, Risk.LOW)
AGES = (
    ("under 5 min", timedelta(minutes=5)),
    ("under 1 h", timedelta(hours=1)),
    ("under 1 day", timedelta(days=1)),
    ("older", None),
)
GROUPS_SHOWN = 5
TIMES_CAP = 1_000
WINDOWS = (("last 24 hours", timedelta(days=1)), ("last 7 days", timedelta(days=7)))
IN_DOUBT = (
    ApprovalRequest.Kind.RECONCILE.value,
    ApprovalRequest.Kind.UPGRADE.value,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgeRow:
    label: str
    of_risk: list[tuple[Risk, int]]

    @property
    def total(self) -> int:
        return min(COUNT_CAP, sum(count for _, count in self.of_risk))


@dataclass(frozen=True, slots=True, kw_only=True)
class StuckRow:
    """Requests that nobody can decide as things are."""

    group: str
    """Its name; empty where any reviewer would do and there is none."""
    count: int
    oldest: ApprovalRequest | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """All of it, as of one moment."""

    ages: list[AgeRow]
    stuck: list[StuckRow]
    in_doubt: list[ApprovalRequest]
    """Calls that may or may not have happened, and runs under changed code."""
    counts: dict[str, int]
    """Of all pending requests, and of those in doubt."""


def requests(now: datetime) -> Requests:
    """Return how the requests stand, in a fixed number of queries."""
    ages = _ages(now)
    in_doubt = counts(
        {kind: _pending(kind).values("risk") for kind in IN_DOUBT}, up_to=COUNT_CAP
    )
    doubtful = sum(in_doubt.values())
    return Requests(
        ages=ages,
        stuck=_stuck(),
        in_doubt=[row for kind in IN_DOUBT for row in _first_of(kind)][:ROWS_SHOWN],
        counts={
            "pending": min(COUNT_CAP, sum(row.total for row in ages) + doubtful),
            "in_doubt": min(COUNT_CAP, doubtful),
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TimesRow:
    """How long people took to decide, in one stretch of time."""

    label: str
    count: int
    """How many decisions that is, up to TIMES_CAP, the newest."""
    p50_s: float
    p95_s: float

    @property
    def is_capped(self) -> bool:
        return self.count >= TIMES_CAP


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliveries:
    """Webhooks that were taken in the last 24 hours."""

    taken: int
    """Up to COUNT_CAP."""
    failed: list[WebhookDelivery]
    """The newest of those whose run has failed."""


def decision_times(now: datetime) -> list[TimesRow]:
    """Return how long people took from the question to the verdict.

    Rules and expiry are left out: no person was quick or slow there.
    """
    return [_times(label, now - length) for label, length in WINDOWS]


def _times(label: str, since: datetime) -> TimesRow:
    by_people = Decision.objects.filter(created_at__gte=since).exclude(actor=None)
    newest = by_people.order_by("-created_at", "-pk")
    asked_and_said = newest.values_list("request__created_at", "created_at")
    took = sorted(
        max(0.0, (said - asked).total_seconds())
        for asked, said in asked_and_said[:TIMES_CAP]
    )
    return TimesRow(
        label=label,
        count=len(took),
        p50_s=percentile(took, 0.50),
        p95_s=percentile(took, 0.95),
    )


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """Return the smallest value that `share` of all do not pass (nearest rank).

    0 when there is none.
    """
    if not sorted_values:
        return 0.0
    return sorted_values[max(0, math.ceil(share * len(sorted_values)) - 1)]


def deliveries(now: datetime) -> Deliveries:
    """Return how the webhooks stand, in two queries."""
    since = now - timedelta(days=1)
    taken = WebhookDelivery.objects.filter(received_at__gte=since)
    failed = WebhookDelivery.objects.filter(
        run__status=RunStatus.FAILED, run__finished_at__gte=since
    ).select_related("source", "run")
    return Deliveries(
        taken=counts({"taken": taken.values("received_at")}, up_to=COUNT_CAP)["taken"],
        failed=list(failed.order_by("-received_at")[:ROWS_SHOWN]),
    )


def _pending(kind: str | None = None) -> QuerySet[ApprovalRequest]:
    found = ApprovalRequest.objects.filter(has_status(RequestStatus.PENDING))
    return found.filter(kind=kind) if kind else found


def _first_of(kind: str) -> QuerySet[ApprovalRequest]:
    """Return the first of a kind, by the order of its index.

    Critical and high ones come before low and medium ones, the oldest first.
    """
    found = ApprovalRequest.objects.filter(status=RequestStatus.PENDING, kind=kind)
    return found.order_by("risk", "created_at")[:ROWS_SHOWN]


def _ages(now: datetime) -> list[AgeRow]:
    asked: dict[str, QuerySet[ApprovalRequest, Any]] = {}
    newest = None
    for label, age in AGES:
        oldest = now - age if age else None
        for risk in RISKS:
            found = _pending(ApprovalRequest.Kind.APPROVAL).filter(risk=risk)
            if oldest:
                found = found.filter(created_at__gte=oldest)
            if newest:
                found = found.filter(created_at__lt=newest)
            asked[f"{label} {risk}"] = found.values("created_at")
        newest = oldest
    counted = counts(asked, up_to=COUNT_CAP)
    return [
        AgeRow(
            label=label,
            of_risk=[(risk, counted[f"{label} {risk}"]) for risk in RISKS],
        )
        for label, _ in AGES
    ]


def _stuck() -> list[StuckRow]:
    """Return the groups with requests and without anyone who may decide them."""
    pending = _pending().values("reviewers")
    asked = distinct_values(pending, "reviewers")
    able = set(
        Group.objects.filter(name__in=asked, user__in=policies.deciders()).values_list(
            "name", flat=True
        )
    )
    if policies.deciders().exists():
        able.add("")
    names = [name for name in asked if name not in able][:GROUPS_SHOWN]
    if not names:
        return []
    counted = counts(
        {name: pending.filter(reviewers=name) for name in names}, up_to=COUNT_CAP
    )
    oldest = {request.reviewers: request for request in _oldest_of(names)}
    return [
        StuckRow(group=name, count=counted[name], oldest=oldest.get(name))
        for name in names
    ]


def _oldest_of(groups: list[str]) -> QuerySet[ApprovalRequest]:
    """Return the oldest pending request of each group."""
    firsts = Q()
    for group in groups:
        ordered = _pending().filter(reviewers=group).order_by("created_at")
        firsts |= Q(pk=Subquery(ordered.values("pk")[:1]))
    return ApprovalRequest.objects.filter(firsts)
