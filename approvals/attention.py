"""Who is at a request, as its card tells one person."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import User
from django.db.models import Q
from django.utils import timezone

from . import policies
from .models import ApprovalRequest, Attention, Look, Snooze
from .models.attention import DUE_SOON, LOOK

MOST_OFFERED = 100
"""People that are offered to assign a request to."""


def is_asleep(now: datetime) -> Q:
    """Whether a snooze holds: its time is not over, and its request not due soon."""
    return Q(until__gt=now, request__due_at__gt=now + DUE_SOON)


def put_off_by(user: User, now: datetime) -> Q:
    """Whether a request is one that `user` has put off, and that is not due soon."""
    snoozes = Snooze.objects.filter(is_asleep(now), person=user)
    return Q(pk__in=snoozes.values("request"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What `approvals/attention_bar.html` shows."""

    attention: Attention | None
    is_claimed: bool
    is_mine: bool
    """The reader has claimed it."""
    why_not: str | None
    """Why the reader may neither claim nor assign it."""
    snoozed: Snooze | None
    offered: list[User]
    """Those it may be assigned to."""
    looking: list[str]
    """Others who have it open."""


def bar(card: ApprovalRequest, user: User) -> Bar:
    """Return how things stand with the request, in a constant number of queries."""
    now = timezone.now()
    kept = Attention.objects.select_related("claimed_by", "assigned_to", "assigned_by")
    attention = kept.filter(request=card).first()
    is_claimed = attention is not None and attention.is_claimed(now)
    why_not = policies.why_not_decide(user, card)
    snoozes = Snooze.objects.filter(request=card, person=user, until__gt=now)
    looks = Look.objects.filter(request=card, seen_at__gt=now - LOOK)
    others = looks.exclude(person=user).order_by("person__username")
    return Bar(
        attention=attention,
        is_claimed=is_claimed,
        is_mine=attention is not None and is_claimed and attention.claimed_by == user,
        why_not=why_not,
        snoozed=snoozes.first(),
        offered=[] if why_not else _offered(card),
        looking=list(others.values_list("person__username", flat=True)),
    )


def _offered(card: ApprovalRequest) -> list[User]:
    people = policies.deciders().exclude(pk=card.run.requester_id or 0)
    if card.reviewers:
        people = people.filter(groups__name=card.reviewers)
    spoke = card.run.speakers.values("pk")
    voted = card.vote_set.values("voter")
    fit = people.exclude(pk__in=spoke).exclude(pk__in=voted)
    return list(fit.distinct().order_by("username")[:MOST_OFFERED])
