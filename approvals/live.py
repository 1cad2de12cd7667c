"""The live queue: requests as they come, as they are decided, and who is at them.

A socket brings every row that changed since the page was made. The page puts those it
holds in their place and counts the others that are new in its view; it never moves a
row. So what a socket sends again does no harm, and one that comes back asks from the
time that its page has.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Self
from urllib.parse import parse_qs
from uuid import UUID

from channels.db import database_sync_to_async
from django.db.models import Max
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html
from django.utils.safestring import mark_safe

from runs.live.consumers import LiveConsumer, NotAllowed
from runs.live.feeds import Feed
from runs.live.markup import REPLACE
from runs.live.standing import Standing

from . import policies, queue, topics
from .models import ApprovalRequest, Attention, Look
from .models.attention import LOOK
from .queue import MANY, Arrival, Asked, Reader, View

OVERLAP = timedelta(seconds=10)
"""A row may commit this long after its time, and others before it."""

Sign = tuple[object, ...]
"""All that a row shows; the same again is not sent again."""


@dataclass(frozen=True, slots=True)
class Row:
    """A request that changed, as everybody of one standing sees it."""

    pk: UUID
    html: str
    arrival: Arrival | None
    """What it is to those who do not list it yet; None when nothing waits."""


@dataclass(frozen=True, slots=True)
class Change:
    """What was read at once; with each the queue's version goes up by one."""

    rows: Sequence[Row]
    until: datetime
    """A page that has this needs only what comes after."""
    is_whole: bool = False
    """More changed than is worth sending: the list is to be fetched."""


class QueueFeed(Feed):
    """The queue as everybody of one standing sees it."""

    reader: Reader

    def __init__(self, standing: Standing) -> None:
        super().__init__()
        self.user = standing.peer
        self.version = 0
        self.newest = timezone.now()
        """The latest time of a change that was read."""
        self.tail = ""
        """How many wait, wherever a page says it."""
        self._sent: dict[UUID, tuple[datetime, Sign]] | None = None
        self._lapses: dict[UUID, datetime] = {}
        """When a claim or a look that rows show is over, without anybody's doing."""
        self._changes: deque[Change] = deque(maxlen=MANY)
        self._lock = asyncio.Lock()

    @classmethod
    def behind(cls, feeds: Sequence[Self]) -> list[Self]:
        now, newest = timezone.now(), _newest()
        if newest is not None and newest > now - OVERLAP:
            return list(feeds)
        return [
            feed
            for feed in feeds
            if (newest and feed.newest < newest) or feed._lapsed(now)
        ]

    async def refresh(self) -> None:
        async with self._lock:
            await self._read()

    async def begin(self, since: datetime | None) -> tuple[int, Change]:
        """Return what changed after `since`, and the version from where it goes on."""
        async with self._lock:
            await self._read()
            if since is None:
                return self.version, Change((), self.newest, is_whole=True)
            load = database_sync_to_async(self._change_since)
            return self.version, await load(since)

    def since(self, version: int) -> list[Change] | None:
        """Return the changes after `version`, or None when they are not kept."""
        missing = self.version - version
        if missing > len(self._changes):
            return None
        return list(self._changes)[len(self._changes) - missing :]

    async def _read(self) -> None:
        change = await database_sync_to_async(self._read_change)()
        if change is not None:
            self._changes.append(change)
            self.version += 1
            self.wake()

    def _read_change(self) -> Change | None:
        """Return what changed since the last time; nothing did at the first."""
        now = timezone.now()
        first = self._sent is None
        lapsed = queue.claimed(now) if first else self._lapsed(now)
        found = queue.changed_since(self.user, self.newest - OVERLAP, now, also=lapsed)
        for pk in lapsed:
            self._lapses.pop(pk, None)
        if first:
            self.reader = queue.reader_of(self.user)
        if len(found) > MANY:
            self.newest = _newest() or self.newest
            self._sent = {}
        changed = self._changed(found, now)
        if not changed and not first:
            return None
        self.tail = self._render("count")
        if first:
            return None
        if len(found) > MANY:
            return Change((), self.newest, is_whole=True)
        return Change([self._row(card, now) for card in changed], self.newest)

    def _changed(
        self, found: Iterable[ApprovalRequest], now: datetime
    ) -> list[ApprovalRequest]:
        """Return those that show something else than was sent, and remember them."""
        sent, changed = self._sent or {}, []
        for card in found:
            at, sign = _time_of(card), _sign_of(card, now)
            if sent.get(card.pk, (at, ()))[1] != sign:
                changed.append(card)
            sent[card.pk] = (at, sign)
            self._remember_lapse(card, now)
            self.newest = max(self.newest, at)
        # A row is read again for so long: as long as it is to be known.
        oldest = self.newest - OVERLAP - LOOK
        self._sent = {pk: told for pk, told in sent.items() if told[0] > oldest}
        return changed

    def _remember_lapse(self, card: ApprovalRequest, now: datetime) -> None:
        ends = [look.seen_at + LOOK for look in queue.looks_at(card)]
        attention = queue.attention_of(card)
        if attention and attention.claimed_until and attention.is_claimed(now):
            ends.append(attention.claimed_until)
        self._lapses.pop(card.pk, None)
        if ends:
            self._lapses[card.pk] = min(ends)

    def _lapsed(self, now: datetime) -> list[UUID]:
        return [pk for pk, at in tuple(self._lapses.items()) if at <= now]

    def _change_since(self, since: datetime) -> Change:
        now = timezone.now()
        found = queue.changed_since(self.user, since - OVERLAP, now)
        if len(found) > MANY:
            return Change((), self.newest, is_whole=True)
        return Change([self._row(card, now) for card in found], self.newest)

    def _row(self, card: ApprovalRequest, now: datetime) -> Row:
        html = self._render("row", card=card, now=now, decides=self.reader.decides)
        arrival = Arrival.of_request(card, now) if card.is_pending else None
        return Row(card.pk, html, arrival)

    def _render(self, partial: str, **context: object) -> str:
        context = {"user": self.user, "oob": REPLACE, **context}
        return render_to_string(f"approvals/queue.html#{partial}", context)


class QueueConsumer(LiveConsumer):
    """What changed since the page was made, and then each row that changes."""

    topic = topics.QUEUE
    feed: QueueFeed
    version: int | None = None
    """Of the feed, as far as the browser has it; None before it has anything."""
    asked: Asked
    since: datetime | None = None
    """The browser has what changed up to then; None if it is not known."""

    async def connect(self) -> None:
        given = parse_qs(self.scope["query_string"].decode("ascii", "replace"))
        self.asked, self.since = asked_by(given)
        await super().connect()

    @property
    def feed_key(self) -> Hashable:
        return self.topic, self.standing

    def new_feed(self) -> Feed:
        return QueueFeed(self.standing)

    def follow(self, feed: Feed) -> None:
        super().follow(feed)
        if self.version is not None:
            self.since = None  # of another standing: other rows may be seen
        self.version = None

    def may_look(self) -> bool:
        return policies.may_see_queue(self.user)

    async def news(self) -> list[str]:
        if not policies.may_see_queue(self.standing.peer):
            raise NotAllowed
        feed = self.feed
        if self.version is None:
            version, change = await feed.begin(self.since)
            if feed is self.feed:
                self.version, self.since = version, change.until
            return [self._told([change], feed)]
        changes = feed.since(self.version)
        if changes == []:
            return []
        self.version = feed.version
        if changes is None:
            changes = [Change((), feed.newest, is_whole=True)]
        self.since = changes[-1].until
        return [self._told(changes, feed)]

    def _told(self, changes: Sequence[Change], feed: QueueFeed) -> str:
        """Return the rows, each as it is by now, and which are new in this view."""
        rows = {row.pk: row for change in changes for row in change.rows}
        whole = any(change.is_whole for change in changes) or len(rows) > MANY
        news = format_html(
            '<ol id="news" hidden hx-swap-oob="{}" data-after="{}" data-new="{}"{}>{}'
            "</ol>",
            REPLACE,
            changes[-1].until.isoformat(),
            " ".join(str(pk) for pk in self._new(rows.values(), feed.reader)),
            mark_safe(" data-whole") if whole else "",
            mark_safe("" if whole else "".join(row.html for row in rows.values())),  # noqa: S308  rendered by a template
        )
        return news + feed.tail

    def _new(self, rows: Collection[Row], reader: Reader) -> list[UUID]:
        reader, now = replace(reader, pk=self.user.pk), timezone.now()
        return [
            row.pk
            for row in rows
            if row.arrival and row.arrival.is_for(reader, self.asked, now)
        ]


def asked_by(given: dict[str, list[str]]) -> tuple[Asked, datetime | None]:
    """Return what a page shows and up to when it has it, as its socket says."""
    view = given.get("view", [""])[0]
    known = View(view) if view in View.values else View.ALL
    search = given.get("q", [""])[0][: queue.SEARCH_CHARS]
    try:
        since = parse_datetime(given.get("after", [""])[0])
    except ValueError:
        since = None
    # Times are reckoned from it, and years 1 and 9999 have none beyond them.
    sound = since is not None and timezone.is_aware(since) and 1970 < since.year < 9999
    return Asked(view=known, search=search), since if sound else None


def _newest() -> datetime | None:
    """Return when the latest change was of all that a row shows."""
    asked: tuple[tuple[Any, str], ...] = (
        (ApprovalRequest, "updated_at"),
        (Attention, "changed_at"),
        (Look, "seen_at"),
    )
    times = [model.objects.aggregate(at=Max(name))["at"] for model, name in asked]
    return max(filter(None, times), default=None)


def _time_of(card: ApprovalRequest) -> datetime:
    attention = queue.attention_of(card)
    times = [card.updated_at, *(look.seen_at for look in queue.looks_at(card))]
    return max([*times, attention.changed_at] if attention else times)


def _sign_of(card: ApprovalRequest, now: datetime) -> Sign:
    attention = queue.attention_of(card)
    claimed = bool(attention and attention.is_claimed(now))
    changed = attention.changed_at if attention else None
    lookers = tuple(look.person_id for look in queue.looks_at(card))
    return card.updated_at, changed, claimed, lookers
