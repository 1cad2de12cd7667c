"""The queue: which requests wait for whom, in which order, a page at a time.

By deadline, then risk, then age. A page begins after a row, so that the thousandth
costs what the first does.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Self
from urllib.parse import urlencode
from uuid import UUID

from django.contrib.auth.models import User
from django.db import models
from django.db.models import Prefetch, Q, QuerySet
from django.db.models.functions import Substr

from runs import index_reads

from . import attention, policies, queries
from .models import ApprovalRequest, Attention, Look, RequestStatus, Snooze
from .models.attention import DUE_SOON, LOOK
from .models.requests import HIGH_RANK, QUEUE_ORDER

PAGE_SIZE = 50
MANY = 100
"""Above this many changes the whole list is cheaper."""
DECIDED_SHOWN = 10
SEARCH_CHARS = 100
"""A search is no longer than this."""
SEARCHED_CHARS = 2_000
"""So much of a call's arguments is searched."""
SEARCHED_ROWS = 5_000
"""So many requests are searched: those that come first."""
COUNT_CAP = 1000


class View(models.TextChoices):
    """A part of the queue, as the list at its left names it."""

    MINE = "mine", "Mine"
    GROUPS = "groups", "My groups"
    DUE = "due", "Due soon"
    HIGH = "high", "High risk"
    SNOOZED = "snoozed", "Snoozed"
    ALL = "all", "All"


EMPTY = {
    View.MINE: "What you claim, or what somebody assigns to you, appears here.",
    View.GROUPS: (
        "When an agent is about to call a tool that you may decide about, the call "
        "appears here, without a reload."
    ),
    View.DUE: "What expires within the hour appears here, even if you put it off.",
    View.HIGH: "Calls of high and of critical risk appear here, whoever decides them.",
    View.SNOOZED: "What you put off until later waits here, and comes back by itself.",
    View.ALL: "Every call that waits for a person appears here, whoever decides it.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a page of the queue was asked for, as its address says it."""

    view: View
    search: str = ""
    after: UUID | None = None
    """The page begins after this request."""

    @property
    def query(self) -> str:
        """The address of the first page of the same, after the question mark."""
        given = {"view": self.view, "q": self.search}
        return urlencode({name: value for name, value in given.items() if value})


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What the queue shows at once."""

    asked: Asked
    pending: list[ApprovalRequest]
    decided: list[ApprovalRequest]
    """The newest that were decided, on the first page of My groups and All."""
    further: UUID | None
    """Ask for what comes after this; None on the last page."""

    @property
    def empty(self) -> str:
        """What will appear here."""
        return EMPTY[self.asked.view]


def default_view(user: User) -> View:
    """Return what somebody looks at first: what they may decide, if they decide."""
    return View.GROUPS if policies.holds(user, policies.DECIDE) else View.ALL


def page(user: User, asked: Asked, now: datetime) -> Page:
    """Return a page of the queue, in a constant number of queries."""
    found = queries.visible_requests(user).filter(status=RequestStatus.PENDING)
    pending = _in_view(_with_attention(found, now), user, asked, now)
    if asked.after is not None:
        pending = pending.filter(_behind(asked.after))
    rows = list(pending.order_by(*QUEUE_ORDER)[: PAGE_SIZE + 1])
    shown = rows[:PAGE_SIZE]
    tells = asked.view in (View.GROUPS, View.ALL) and not (asked.search or asked.after)
    return Page(
        asked=asked,
        pending=shown,
        decided=list(queries.decided_requests(user)[:DECIDED_SHOWN]) if tells else [],
        further=shown[-1].pk if len(rows) > PAGE_SIZE else None,
    )


def waiting(user: User, asked: Asked, now: datetime) -> QuerySet[ApprovalRequest]:
    """Return what waits in a view, in no order, with nothing else read."""
    found = ApprovalRequest.objects.filter(status=RequestStatus.PENDING)
    return _in_view(found, user, asked, now)


def counts(user: User, now: datetime) -> dict[View, int]:
    """Return how many wait in each view, each counted up to COUNT_CAP, in one query."""
    # Word for word as in the index: see `index_reads`.
    found = ApprovalRequest.objects.filter(
        index_reads.has_status(RequestStatus.PENDING)
    )
    asked = {
        view.value: _in_view(found, user, Asked(view=view), now)
        .values("pk")
        .order_by(*(QUEUE_ORDER if view in (View.ALL, View.HIGH) else ()))
        for view in View
    }
    counted = index_reads.counts(asked, up_to=COUNT_CAP)
    return {View(name): count for name, count in counted.items()}


def next_wake(user: User, now: datetime) -> datetime | None:
    """Return when the first of the requests that `user` put off comes back."""
    snoozes = Snooze.objects.filter(
        attention.is_asleep(now), person=user, request__status=RequestStatus.PENDING
    )
    asleep = snoozes.select_related("request").order_by("until")[:MANY]
    return min((snooze.wakes_at for snooze in asleep), default=None)


def changed_since(
    user: User, since: datetime, now: datetime, *, also: Collection[UUID] = ()
) -> list[ApprovalRequest]:
    """Return what `user` sees that changed after `since`, or whose attention did.

    Those named in `also` are read too. With nothing changed it is one query; at most
    MANY and one more are read.
    """
    looks = Look.objects.filter(seen_at__gt=since - LOOK).values_list("request")
    attention = Attention.objects.filter(changed_at__gt=since).values_list("request")
    requests = ApprovalRequest.objects.filter(updated_at__gt=since).order_by()
    # Three indexes; one condition with OR would read the table on PostgreSQL.
    changed = requests.values_list("pk").union(attention, looks)[: MANY + 1]
    ids = {pk for (pk,) in changed} | {*also}
    if not ids:
        return []
    found = _with_attention(queries.visible_requests(user), now).filter(pk__in=ids)
    return list(found.prefetch_related("run__speakers", "vote_set").order_by("pk"))


def claimed(now: datetime) -> list[UUID]:
    """Return requests that are claimed now, at most MANY."""
    found = Attention.objects.filter(claimed_until__gt=now)
    return list(found.values_list("request", flat=True)[:MANY])


def _with_attention(
    found: QuerySet[ApprovalRequest], now: datetime
) -> QuerySet[ApprovalRequest]:
    looking = Look.objects.filter(seen_at__gt=now - LOOK).select_related("person")
    return found.select_related(
        "attention__claimed_by", "attention__assigned_to"
    ).prefetch_related(
        Prefetch("looks", looking.order_by("person__username"), to_attr="looking")
    )


def _in_view(
    found: QuerySet[ApprovalRequest], user: User, asked: Asked, now: datetime
) -> QuerySet[ApprovalRequest]:
    if not policies.may_see_queue(user):
        return found.none()
    found = found.filter(_belongs(user, asked.view, now))
    return _search(found, asked.search) if asked.search else found


def _belongs(user: User, view: View, now: datetime) -> Q:
    soon = Q(due_at__lte=now + DUE_SOON)
    snoozed = attention.put_off_by(user, now)
    match view:
        case View.MINE:
            claimed = Q(claimed_by=user, claimed_until__gt=now)
            mine = Attention.objects.filter(Q(assigned_to=user) | claimed)
            return Q(pk__in=mine.values("request"))
        case View.GROUPS:
            return policies.waits_for(user) & ~snoozed
        case View.DUE:
            return soon
        case View.HIGH:
            return Q(index_reads.at_most("risk_rank", HIGH_RANK)) & ~snoozed
        case View.SNOOZED:
            return snoozed
        case View.ALL:
            return Q()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Who looks, as far as it matters to what is new in a view."""

    pk: int
    decides: bool
    groups: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """What is known of a request that may be new in somebody's view.

    Asked of many sockets at once, so from memory; the list itself comes from the
    database, by `_belongs`, which says the same.
    """

    groups: frozenset[str]
    """Whose members decide it; empty: any reviewer."""
    rank: int
    due_at: datetime
    without: frozenset[int]
    """People who may not decide it any more, or ever."""
    of: frozenset[int]
    """People whose it is."""
    text: str
    """What a search looks at, in lower case."""

    @classmethod
    def of_request(cls, card: ApprovalRequest, now: datetime) -> Self:
        speakers = {person.pk for person in card.run.speakers.all()}
        voters = {vote.voter_id for vote in card.vote_set.all()}
        attention = attention_of(card)
        words = (card.summary, card.tool, card.arguments[:SEARCHED_CHARS])
        return cls(
            groups=frozenset(card.groups),
            rank=card.risk_rank,
            due_at=card.due_at,
            without=frozenset({card.run.requester_id or 0, *speakers, *voters}),
            of=frozenset(attention.people(now) if attention else ()),
            text="\n".join(words).lower(),
        )

    def is_for(self, reader: Reader, asked: Asked, now: datetime) -> bool:
        """Say whether it is new to `reader` in the view; what they put off is not."""
        return asked.search.lower() in self.text and self._belongs(
            reader, asked.view, now
        )

    def _belongs(self, reader: Reader, view: View, now: datetime) -> bool:
        match view:
            case View.MINE:
                return reader.pk in self.of
            case View.GROUPS:
                routed = not self.groups or bool(self.groups & reader.groups)
                return reader.decides and routed and reader.pk not in self.without
            case View.DUE:
                return self.due_at <= now + DUE_SOON
            case View.HIGH:
                return self.rank <= HIGH_RANK
            case View.SNOOZED:
                return False
            case View.ALL:
                return True


def reader_of(user: User) -> Reader:
    """Return what matters of `user`, in two queries."""
    names = frozenset(user.groups.values_list("name", flat=True))
    decides = policies.holds(user, policies.DECIDE)
    return Reader(pk=user.pk, decides=decides, groups=names)


def attention_of(card: ApprovalRequest) -> Attention | None:
    """Return whose the request is, if anybody has said so."""
    return getattr(card, "attention", None)


def looks_at(card: ApprovalRequest) -> list[Look]:
    """Return who has the request open, as it was read with the queue."""
    looks: list[Look] = getattr(card, "looking", [])
    return looks


def _behind(after: UUID) -> Q:
    """Return which requests come after one, wherever that is by now."""
    at = ApprovalRequest.objects.only("due_at", "risk_rank").get(pk=after)
    of_its_time = Q(risk_rank__gt=at.risk_rank) | Q(
        risk_rank=at.risk_rank, pk__gt=after
    )
    later = Q(due_at__gt=at.due_at) | (Q(due_at=at.due_at) & of_its_time)
    # Said once more, for the index: where to begin.
    return Q(due_at__gte=at.due_at) & later


def _search(found: QuerySet[ApprovalRequest], words: str) -> QuerySet[ApprovalRequest]:
    words = words[:SEARCH_CHARS]
    first = ApprovalRequest.objects.filter(status=RequestStatus.PENDING)
    # Where the search ends. As a subquery PostgreSQL asked it again for each row.
    edge = first.order_by(*QUEUE_ORDER)[SEARCHED_ROWS : SEARCHED_ROWS + 1].first()
    if edge is not None:
        ahead = Q(risk_rank__lt=edge.risk_rank) | Q(
            risk_rank=edge.risk_rank, pk__lt=edge.pk
        )
        at_its_time = Q(due_at=edge.due_at) & ahead
        found = found.filter(Q(due_at__lt=edge.due_at) | at_its_time)
    found = found.alias(head=Substr("arguments", 1, SEARCHED_CHARS))
    return found.filter(
        Q(summary__icontains=words)
        | Q(tool__icontains=words)
        | Q(head__icontains=words)
    )
