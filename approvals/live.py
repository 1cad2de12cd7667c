"""The live queue: requests as they come and as they are decided."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self
from uuid import UUID

from channels.db import database_sync_to_async
from django.db.models import Max
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import format_html

from runs.live.consumers import LiveConsumer, NotAllowed
from runs.live.feeds import Feed
from runs.live.markup import REPLACE
from runs.live.standing import Standing

from . import policies, queries, topics
from .models import ApprovalRequest

OVERLAP = timedelta(seconds=10)
"""A row may commit this long after its `updated_at`, and others before it."""

MANY = 100
"""Above this many changes the whole list is cheaper."""

WHOLE_S = 1.0
"""So long a whole list serves all who come, if nothing has changed."""


@dataclass(frozen=True, slots=True)
class Row:
    """A request that changed."""

    pk: UUID
    is_pending: bool
    html: str
    """Takes the row's place in a list that holds it."""
    new: str
    """Puts it at the top of a list that does not."""


@dataclass(frozen=True, slots=True)
class Change:
    """What was read at once; with each the queue's version goes up by one."""

    rows: Sequence[Row]
    tail: str
    """How many wait, wherever a page says it."""


@dataclass(frozen=True, slots=True)
class Whole:
    """The first page of the queue."""

    version: int
    """The changes up to this one are in it."""
    html: str
    listed: frozenset[UUID]
    made_at: float = field(default_factory=time.monotonic)

    @property
    def is_old(self) -> bool:
        return time.monotonic() - self.made_at > WHOLE_S


class QueueFeed(Feed):
    """The queue as everybody of one standing sees it."""

    def __init__(self, standing: Standing) -> None:
        super().__init__()
        self.user = standing.peer
        self.version = 0
        self.newest = timezone.now()
        """The latest `updated_at` that was read."""
        self._sent: dict[UUID, datetime] | None = None
        self._changes: deque[Change] = deque(maxlen=MANY)
        self._whole: Whole | None = None
        self._lock = asyncio.Lock()

    @classmethod
    def behind(cls, feeds: Sequence[Self]) -> list[Self]:
        newest = ApprovalRequest.objects.aggregate(at=Max("updated_at"))["at"]
        if newest is None:
            return []
        if newest > timezone.now() - OVERLAP:
            return list(feeds)
        return [feed for feed in feeds if feed.newest < newest]

    async def refresh(self) -> None:
        async with self._lock:
            await self._read()

    async def whole(self) -> Whole:
        """Return the list as it is, by what is known."""
        async with self._lock:
            whole = self._whole
            if whole is None or whole.version != self.version or whole.is_old:
                await self._read()  # what comes after this is a change
                make = database_sync_to_async(self._make_whole)
                self._whole = whole = await make()
            return whole

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
        if self._sent is None:
            self._remember(self._recent())
            return None
        changed = [
            request
            for request in self._recent()
            if self._sent.get(request.pk) != request.updated_at
        ]
        self._remember(changed)
        if not changed:
            return None
        return Change([self._row(request) for request in changed], self._count())

    def _recent(self) -> list[ApprovalRequest]:
        found = queries.visible_requests(self.user)
        since = self.newest - OVERLAP
        return list(found.filter(updated_at__gt=since).order_by("pk"))

    def _remember(self, requests: Iterable[ApprovalRequest]) -> None:
        sent = self._sent or {}
        sent |= {request.pk: request.updated_at for request in requests}
        self.newest = max([self.newest, *sent.values()])
        oldest = self.newest - OVERLAP
        self._sent = {pk: at for pk, at in sent.items() if at > oldest}

    def _make_whole(self) -> Whole:
        page = queries.queue_page(self.user)
        html = self._render("queue-list", page=page) + self._render("count")
        return Whole(self.version, html, frozenset(card.pk for card in page.cards))

    def _row(self, card: ApprovalRequest) -> Row:
        row = self._render("row", card=card, oob="")
        new = format_html('<ol hx-swap-oob="afterbegin:#queue">{}</ol>', row)
        return Row(card.pk, card.is_pending, self._render("row", card=card), new)

    def _count(self) -> str:
        page = {"count": queries.pending_count(self.user)}
        return self._render("count") + self._render("empty", page=page)

    def _render(self, partial: str, **context: object) -> str:
        context = {"user": self.user, "oob": REPLACE, **context}
        return render_to_string(f"approvals/queue.html#{partial}", context)


class QueueConsumer(LiveConsumer):
    """The whole list first, so that nothing is missed, then each row that changes."""

    topic = topics.QUEUE
    feed: QueueFeed
    version: int | None = None
    """Of the feed, as far as the browser has it; None before it has the list."""
    listed: set[UUID]

    @property
    def feed_key(self) -> Hashable:
        return self.topic, self.standing

    def new_feed(self) -> Feed:
        return QueueFeed(self.standing)

    def follow(self, feed: Feed) -> None:
        super().follow(feed)
        self.version = None

    def may_look(self) -> bool:
        return policies.may_see_queue(self.user)

    async def news(self) -> list[str]:
        if not policies.may_see_queue(self.standing.peer):
            raise NotAllowed
        if self.version is None:
            return await self._whole()
        changes = self.feed.since(self.version)
        if changes == []:
            return []
        if not changes or not self.listed or _size(changes) > MANY:
            return await self._whole()
        self.version += len(changes)
        return [*self._rows(changes), changes[-1].tail]

    async def _whole(self) -> list[str]:
        feed = self.feed
        whole = await feed.whole()
        if feed is self.feed:
            self.version, self.listed = whole.version, set(whole.listed)
        return [whole.html]

    def _rows(self, changes: Iterable[Change]) -> Iterable[str]:
        """Yield each row that the list holds, to be replaced, and the new ones."""
        for row in (row for change in changes for row in change.rows):
            if row.pk in self.listed:
                yield row.html
            elif row.is_pending:
                self.listed.add(row.pk)
                yield row.new


def _size(changes: Iterable[Change]) -> int:
    return sum(len(change.rows) for change in changes)
