"""Sockets: each joins the hub, reads the rows it lacks, renders them as its user may
see them, and sends. No rules and no writes; decisions go over POST.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qs
from uuid import UUID

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.auth.models import User

from runs import timeline
from runs.models import EventKind, Run, RunEvent
from runs.queries import visible_runs

from . import markup
from .hub import LiveText, get_hub
from .pokes import run_topic

logger = logging.getLogger(__name__)

# Daphne refuses to send 1011 to 1013.
COME_BACK = 4000
"""The socket was cut; connect again and go on from the last sequence number."""
SIGNED_OUT = 4401
"""The session or the right is gone; load the page again."""

SEND_TIMEOUT_S = 10.0
MESSAGE_CHARS = 100_000


class NotAllowed(Exception):
    """The user may not see this, or no longer."""


@dataclass(frozen=True, slots=True)
class News:
    """What a browser lacks: HTML elements, in the order to swap them in."""

    parts: Sequence[str] = ()
    more: bool = False
    """There was too much for one read: read again."""


class LiveConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # untyped base
    """What all live sockets do; a subclass says who may, and reads."""

    # No layer for a socket: only the hub is a member of the channel layer.
    channel_layer_alias = "none"

    topic = ""
    session_key = ""
    user: User

    def may_look(self) -> bool:
        """Whether the user may see this at all. Called in a thread."""
        raise NotImplementedError

    def read(self) -> News:
        """Return what the browser lacks and move the cursor past it.

        Called in a thread. Raises NotAllowed.
        """
        raise NotImplementedError

    def text(self) -> str:
        """Return the live text the browser lacks, as HTML."""
        return ""

    async def connect(self) -> None:
        self.user = self.scope["user"]
        self.session_key = self.scope["session"].session_key or ""
        self._rows_due = self._text_due = True
        self._over = False
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        signed_in = self.user.is_authenticated
        if not signed_in or not await database_sync_to_async(self.may_look)():
            await self.close()
            return
        await self.accept()
        self.hub = get_hub()
        await self.hub.start()
        self.hub.join(self)
        self._task = asyncio.create_task(self._follow())

    async def disconnect(self, code: int) -> None:
        if self._task is None:
            return
        self.hub.leave(self)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None
    ) -> None:
        """Ignore what a browser sends: a socket only brings news."""

    def look(self) -> None:
        self._rows_due = True
        self._news.set()

    def look_at_text(self) -> None:
        self._text_due = True
        self._news.set()

    def sign_out(self) -> None:
        self._over = True
        self._news.set()

    async def _follow(self) -> None:
        """Bring news until the socket closes."""
        code = COME_BACK
        try:
            while not self._over:
                await self._bring()
                await self._news.wait()
                self._news.clear()
            code = SIGNED_OUT
        except NotAllowed:
            code = SIGNED_OUT
        except TimeoutError:
            logger.info("A socket does not read and is cut.", extra=self._extra())
        except Exception:
            logger.exception("A socket is cut.", extra=self._extra())
        self.hub.leave(self)
        await self._in_time(self.close, code)

    async def _bring(self) -> None:
        while self._rows_due and not self._over:
            self._rows_due = False
            news = await database_sync_to_async(self.read)()
            self._rows_due |= news.more
            await self._push(news.parts)
        if self._text_due and not self._over:
            self._text_due = False
            await self._push([self.text()])

    async def _push(self, parts: Iterable[str]) -> None:
        for message in _messages(parts):
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self.send(text_data=message)

    async def _in_time(
        self, action: Callable[..., Awaitable[object]], *args: object
    ) -> None:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await action(*args)

    def _extra(self) -> dict[str, str]:
        return {"topic": self.topic}


class RunConsumer(LiveConsumer):
    """The log of one run, from `?after=<seq>` on, and the text being written."""

    run_id: UUID
    after = 0
    begun = False
    settled: RunEvent | None = None
    """The last event that stored an answer or withdrew what was written of it."""
    shown: LiveText | None = None
    shown_length = 0

    async def connect(self) -> None:
        self.run_id = self.scope["url_route"]["kwargs"]["pk"]
        self.topic = run_topic(self.run_id)
        self.after = _after(self.scope["query_string"])
        await super().connect()

    def may_look(self) -> bool:
        return visible_runs(self.user).filter(pk=self.run_id).exists()

    @classmethod
    def behind(cls, viewers: Sequence[Self]) -> list[Self]:
        heads = Run.objects.filter(pk__in={viewer.run_id for viewer in viewers})
        last = dict(heads.values_list("pk", "last_seq"))
        return [v for v in viewers if last.get(v.run_id, math.inf) > v.after]

    def read(self) -> News:
        run = visible_runs(self.user).filter(pk=self.run_id).first()
        if run is None:
            raise NotAllowed
        if run.last_seq <= self.after and self.begun:
            return News()
        changes = timeline.changes(self.run_id, after=self.after)
        parts = [*self._blocks(changes.blocks)]
        if changes.header_changed:
            header = timeline.render_header(run, user=self.user, oob=markup.REPLACE)
            parts.append(header)
        parts += self._settle()
        self.after, self.begun = changes.last_seq, True
        parts.append(markup.cursor(self.run_id, self.after))
        return News(parts, more=changes.last_seq < run.last_seq)

    def text(self) -> str:
        text = self.hub.text_of(self.run_id)
        if text is None or _is_over(text, self.settled):
            return ""
        known = self.shown_length if text is self.shown else 0
        self.shown, self.shown_length = text, len(text.text)
        if known:
            return markup.text_goes_on(self.run_id, text.text[known:])
        return markup.text_is(self.run_id, text.text)

    def _blocks(self, blocks: Sequence[timeline.Block]) -> Iterator[str]:
        """Yield the blocks the browser has, to be replaced, then those it has not."""
        for block in blocks:
            if block.seq <= self.after:
                yield timeline.render_block(block, user=self.user, oob=markup.REPLACE)
        for block in blocks:
            if block.seq > self.after:
                html = timeline.render_block(block, user=self.user)
                yield markup.appended(self.run_id, html)

    def _settle(self) -> Iterator[str]:
        """Yield what empties the live text, when its answer was stored or withdrawn.

        Also at the beginning: the browser may still show text of an earlier socket.
        """
        kinds = (EventKind.RESPONSE, EventKind.RETRY)
        events = RunEvent.objects.filter(run_id=self.run_id, kind__in=kinds)
        self.settled = events.order_by("-seq").first()
        over = self.shown is not None and _is_over(self.shown, self.settled)
        if over or not self.begun:
            self.shown = None
            yield markup.text_is(self.run_id, "")


def _is_over(text: LiveText, settled: RunEvent | None) -> bool:
    """Whether `text` was stored as a message, or withdrawn, by `settled`."""
    if settled is None:
        return False
    data = settled.data
    if settled.kind == EventKind.RESPONSE:
        return text.turn <= int(data["turn"])
    # A restarted runner counts attempts from 1 again: its text is newer than this.
    withdrawn = text.key <= (data["turn"], data["attempt"])
    return withdrawn and text.since <= settled.created_at


def _messages(parts: Iterable[str]) -> Iterator[str]:
    """Yield the parts as messages of a size that neither server nor browser minds."""
    waiting: list[str] = []
    for part in parts:
        if waiting and sum(map(len, waiting)) + len(part) > MESSAGE_CHARS:
            yield "".join(waiting)
            waiting = []
        waiting.append(part)
    if html := "".join(waiting):
        yield html


def _after(query: bytes) -> int:
    given = parse_qs(query.decode("ascii", "replace")).get("after", ["0"])[0]
    return int(given) if given.isdecimal() and len(given) < 10 else 0


async def refuse(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Close a socket to an address that does not exist, before it opens."""
    await receive()
    await send({"type": "websocket.close"})
