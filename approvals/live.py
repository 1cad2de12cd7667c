"""The live queue: requests as they come and as they are decided."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Self
from uuid import UUID

from django.db.models import Max
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import format_html

from runs.live.consumers import LiveConsumer, News, NotAllowed
from runs.live.markup import REPLACE

from . import policies, queries, topics
from .models import ApprovalRequest

OVERLAP = timedelta(seconds=10)
"""A row may commit this long after its `updated_at`, and others before it."""

MANY = 100
"""Above this many changes the whole list is cheaper."""


class QueueConsumer(LiveConsumer):
    """The whole list first, so that nothing is missed, then each row that changes."""

    topic = topics.QUEUE

    begun = False
    newest: datetime
    """The latest `updated_at` that was read."""

    def may_look(self) -> bool:
        return policies.may_see_queue(self.user)

    @classmethod
    def behind(cls, viewers: Sequence[Self]) -> list[Self]:
        newest = ApprovalRequest.objects.aggregate(at=Max("updated_at"))["at"]
        if newest is None:
            return []
        if newest > timezone.now() - OVERLAP:
            return list(viewers)
        return [viewer for viewer in viewers if viewer.newest < newest]

    def read(self) -> News:
        if not self.may_look():
            raise NotAllowed
        if not self.begun:
            self._remember(self._recent(timezone.now()))
            return News(self._whole())
        changed = [
            request
            for request in self._recent(self.newest)
            if self.sent.get(request.pk) != request.updated_at
        ]
        self._remember(changed)
        if not changed:
            return News()
        if not self.listed or len(changed) > MANY:
            return News(self._whole())
        return News([*self._rows(changed), *self._count()])

    def _recent(self, since: datetime) -> list[ApprovalRequest]:
        found = queries.visible_requests(self.user)
        return list(found.filter(updated_at__gt=since - OVERLAP).order_by("pk"))

    def _remember(self, requests: Iterable[ApprovalRequest]) -> None:
        if not self.begun:
            self.begun, self.newest = True, timezone.now()
            self.sent: dict[UUID, datetime] = {}
            self.listed: set[UUID] = set()
        self.sent |= {request.pk: request.updated_at for request in requests}
        self.newest = max([self.newest, *self.sent.values()])
        oldest = self.newest - OVERLAP
        self.sent = {pk: at for pk, at in self.sent.items() if at > oldest}

    def _whole(self) -> list[str]:
        page = queries.queue_page(self.user)
        self.listed = {card.pk for card in page.cards}
        return [self._render("queue-list", page=page), self._render("count")]

    def _rows(self, changed: Iterable[ApprovalRequest]) -> Iterator[str]:
        """Yield each row that the list holds, to be replaced, and the new ones."""
        for card in changed:
            if card.pk in self.listed:
                yield self._render("row", card=card)
            elif card.is_pending:
                self.listed.add(card.pk)
                row = self._render("row", card=card, oob="")
                yield format_html('<ol hx-swap-oob="afterbegin:#queue">{}</ol>', row)

    def _count(self) -> list[str]:
        page = {"count": queries.pending_count(self.user)}
        return [self._render("count"), self._render("empty", page=page)]

    def _render(self, partial: str, **context: object) -> str:
        context = {"user": self.user, "oob": REPLACE, **context}
        return render_to_string(f"approvals/queue.html#{partial}", context)
