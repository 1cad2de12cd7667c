"""Whom a request waits for, when they are told of it, and in which words.

Reads and rules only; `services.notices` stores what is due, `postman` sends it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils import timezone

from runs import inert

from . import attention, policies
from .models import ApprovalRequest, Notice

WAITING_CAP = 100
NEWEST = 20
NEWS_FOR = timedelta(hours=1)
OVERDUE_AFTER = timedelta(hours=4)
"""Who has waited for longer than this is in the digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What waits for one person, in short."""

    count: int
    """Up to WAITING_CAP."""
    newest: list[tuple[str, str]]
    """The id and a safe line of each that came lately, the newest first."""


def are_mailed() -> bool:
    """Say whether this Placet sends mail at all."""
    return bool(settings.PLACET_MAIL_FROM and settings.EMAIL_HOST)


def waiting(user: User, now: datetime) -> Waiting:
    """Return what waits for `user`, in a constant number of queries."""
    mine = policies.decidable_by(user).exclude(attention.put_off_by(user, now))
    escalated = mine.filter(escalated_at__gt=now - NEWS_FOR).order_by("-escalated_at")
    newest = mine.order_by("-pk")
    found = [*escalated[:NEWEST], *newest[:NEWEST]]
    return Waiting(
        count=mine.order_by()[:WAITING_CAP].count(),
        newest=list({str(card.pk): line(card) for card in found}.items()),
    )


def line(request: ApprovalRequest) -> str:
    """Return which tool waits and at which risk. Never what it is called with."""
    what = "changed code" if not request.tool else request.tool
    return f"{inert.excerpt(what, 60)} ({inert.excerpt(request.risk, 12)} risk)"


def first_moment(created: datetime, expires: datetime | None) -> datetime | None:
    """Return when people are first told of a request by mail; None: never."""
    return next_moment(created, expires, after=created) if are_mailed() else None


def next_moment(
    created: datetime, expires: datetime | None, *, after: datetime
) -> datetime | None:
    """Return the next time after `after` to tell people of a request, or None."""
    moments = [created + settings.PLACET_MAIL_AFTER, half_time(created, expires)]
    return min((at for at in moments if at and at > after), default=None)


def half_time(created: datetime, expires: datetime | None) -> datetime | None:
    """Return when half of a request's time is over; None for one that has no end."""
    return created + (expires - created) / 2 if expires else None


def kind_at(request: ApprovalRequest, now: datetime) -> Notice.Kind:
    """Return what there is to say of a request that still waits at `now`."""
    half = half_time(request.created_at, request.expires_at)
    is_late = half is not None and half <= now
    return Notice.Kind.REMINDER if is_late else Notice.Kind.WAITING


def next_digest(zone: ZoneInfo, hour: int, *, after: datetime) -> datetime:
    """Return when it is `hour` o'clock in `zone` next."""
    local = timezone.localtime(after, zone)
    at = local.replace(hour=hour, minute=0, second=0, microsecond=0, fold=0)
    days = 0 if at.timestamp() > after.timestamp() else 1
    return (at + timedelta(days=days)).astimezone(timezone.get_default_timezone())


def has_address(person: User) -> bool:
    """Say whether mail can be sent to the person: one plain address, nothing else."""
    try:
        validate_email(person.email)
    except ValidationError:
        return False
    return True
