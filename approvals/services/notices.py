"""Who is to be told what by mail, stored before it is sent.

Guarantee: at most once. A mail is taken to be sent by one process, in one transaction,
before it goes out: a crash in between loses it and never doubles it. One that the mail
server refuses is given back and tried again, later each time. Decided requests are
dropped when a mail is taken, and those that the person has put off are kept for their
time. A person gets one mail in MAIL_PAUSE, with all that waits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db import DatabaseError
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from runs.transactions import write

from .. import attention, notices, policies
from ..models import ApprovalRequest, Notice, Preferences, RequestStatus, Snooze
from .telling import locked

logger = logging.getLogger(__name__)

AT_ONCE = 100
IN_ONE_MAIL = 50
MAIL_PAUSE = timedelta(minutes=15)
MAX_ATTEMPTS = 8
WEIGHT = list(Notice.Kind).index
"""What is said of a request that a person is to be told of more than once."""
FIRST_DELAY, LONGEST_DELAY = timedelta(minutes=1), timedelta(hours=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One mail that this process, and no other, is to send."""

    person: User
    requests: list[tuple[ApprovalRequest, Notice.Kind]]
    taken_at: datetime
    mailed_before: datetime | None
    """When the person's mail before this one was taken."""


# What is due


def tell_due(now: datetime) -> int:
    """Store what people are to be told by now, some at once; return of how many."""
    due = ApprovalRequest.objects.filter(
        status=RequestStatus.PENDING, tell_at__lte=now
    ).order_by("tell_at")
    ids = list(due.values_list("pk", flat=True)[:AT_ONCE])
    daily = Preferences.objects.filter(digest_at__lte=now).order_by("digest_at")
    people = list(daily.values_list("pk", flat=True)[:AT_ONCE])
    told = sum(_one(tell, pk, now) for pk in ids)
    return told + sum(_one(start_digest, pk, now) for pk in people)


@write
def tell(request_id: UUID, *, now: datetime) -> bool:
    """Have who decides the request told that it waits; False when it does no more."""
    request = locked(request_id)
    due = ApprovalRequest.objects.filter(
        pk=request_id, status=RequestStatus.PENDING, tell_at__lte=now
    )
    created, expires = request.created_at, request.expires_at
    if not due.update(tell_at=notices.next_moment(created, expires, after=now)):
        return False
    notify(request, notices.kind_at(request, now), now)
    return True


@write
def start_digest(person_id: int, *, now: datetime) -> bool:
    """Have the person told what is overdue; False when another process was first."""
    chosen = Preferences.objects.select_related("person").get(pk=person_id)
    following = notices.next_digest(chosen.zone, chosen.digest_hour, after=now)
    due = Preferences.objects.filter(pk=person_id, digest=True, digest_at__lte=now)
    if not due.update(digest_at=following):
        return False
    overdue = policies.decidable_by(chosen.person).filter(
        ~attention.put_off_by(chosen.person, now),
        created_at__lte=now - notices.OVERDUE_AFTER,
    )
    Notice.objects.bulk_create(
        [
            Notice(request=one, person_id=person_id, kind=Notice.Kind.DIGEST, due=now)
            for one in overdue.order_by("pk")[:IN_ONE_MAIL]
        ],
        update_conflicts=True,  # of yesterday's
        unique_fields=["request", "person", "kind"],
        update_fields=["due", "sent_at", "attempts"],
    )
    return True


def notify(
    request: ApprovalRequest, kind: Notice.Kind, now: datetime, *, group: str = ""
) -> None:
    """Store a notice for each who decides the request and wants mail.

    With `group`, for its members only. Inside the caller's transaction.
    """
    people = policies.deciders_of(request).filter(preferences__email=True)
    if group:
        people = people.filter(groups__name=group)
    Notice.objects.bulk_create(
        [Notice(request=request, person=one, kind=kind, due=now) for one in people],
        ignore_conflicts=True,
    )


# What is sent


def to_be_mailed(now: datetime) -> list[int]:
    """Return the people whom something is due for, and who may get a mail now."""
    due = _due(now).filter(person=OuterRef("pk"))
    rested = Preferences.objects.filter(_rested(now)).filter(Exists(due))
    return list(rested.order_by("pk").values_list("pk", flat=True)[:AT_ONCE])


@write
def take(person_id: int, *, now: datetime) -> Letter | None:
    """Take the person's mail to be sent; None when there is none, or another did.

    What was decided meanwhile, or is not theirs any more, is dropped.
    """
    chosen = Preferences.objects.select_related("person").get(pk=person_id)
    due = _due(now).filter(person=person_id)
    found = list(due.order_by("due", "pk")[:IN_ONE_MAIL])
    open_ids = {notice.request_id for notice in found}
    waits = policies.decidable_by(chosen.person).filter(pk__in=open_ids)
    by_id = waits.select_related("run__requester").in_bulk()
    good = [one for one in found if one.request_id in by_id and _is_wanted(one, chosen)]
    bad = {one.pk for one in found} - {one.pk for one in good}
    Notice.objects.filter(pk__in=bad, sent_at=None).delete()
    rested = Preferences.objects.filter(_rested(now), pk=person_id)
    if not good or not rested.update(mailed_at=now):
        return None
    Notice.objects.filter(pk__in=[one.pk for one in good]).update(sent_at=now)
    kinds: dict[UUID, list[Notice.Kind]] = {}
    for one in good:
        kinds.setdefault(one.request_id, []).append(Notice.Kind(one.kind))
    return Letter(
        person=chosen.person,
        requests=[(by_id[pk], max(of, key=WEIGHT)) for pk, of in kinds.items()],
        taken_at=now,
        mailed_before=chosen.mailed_at,
    )


@write
def give_back(letter: Letter, *, now: datetime) -> None:
    """Have a mail that was not sent tried again; after MAX_ATTEMPTS it is given up."""
    mine = Notice.objects.filter(person=letter.person, sent_at=letter.taken_at)
    mine.filter(attempts__gte=MAX_ATTEMPTS - 1).delete()
    for attempts in set(mine.values_list("attempts", flat=True)):
        delay = min(FIRST_DELAY * 2**attempts, LONGEST_DELAY)
        mine.filter(attempts=attempts).update(
            sent_at=None, due=now + delay, attempts=F("attempts") + 1
        )
    taken = Preferences.objects.filter(pk=letter.person.pk, mailed_at=letter.taken_at)
    taken.update(mailed_at=letter.mailed_before)


def _due(now: datetime) -> QuerySet[Notice]:
    """Return what is to be sent, but for what its person has put off."""
    asleep = Snooze.objects.filter(
        attention.is_asleep(now), request=OuterRef("request"), person=OuterRef("person")
    )
    due = Notice.objects.filter(sent_at__isnull=True, due__lte=now)
    return due.filter(~Exists(asleep))


def _rested(now: datetime) -> Q:
    return Q(mailed_at__isnull=True) | Q(mailed_at__lte=now - MAIL_PAUSE)


def _is_wanted(notice: Notice, chosen: Preferences) -> bool:
    daily = notice.kind == Notice.Kind.DIGEST
    return notices.has_address(chosen.person) and (
        chosen.digest if daily else chosen.email
    )


def _one(job: Callable[..., bool], pk: Any, now: datetime) -> bool:
    try:
        return job(pk, now=now)
    except DatabaseError:
        extra = {"about": str(pk)}
        logger.exception("A notice was not stored; it is tried again", extra=extra)
        return False
