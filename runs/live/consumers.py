"""Sockets: each joins the hub, reads the rows it lacks, renders them as its user may
see them, and sends. No rules and no writes; decisions go over POST.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.auth.models import User

from runs.models import EventKind, RunEvent
from runs.queries import visible_runs

from . import markup
from .feeds import MESSAGE_CHARS, Feed, Reader, RunFeed, Step, in_messages
from .hub import LiveText, get_hub
from .pokes import run_topic
from .standing import Standing, standings

logger = logging.getLogger(__name__)

# Daphne refuses to send 1011 to 1013.
COME_BACK = 4000
"""The socket was cut; connect again and go on from the last sequence number."""
SIGNED_OUT = 4401
"""The session or the right is gone; load the page again."""

SEND_TIMEOUT_S = 10.0


class NotAllowed(Exception):
    """The user may not see this, or no longer."""


class LiveConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # untyped base
    """What all live sockets do; a subclass says who may, and reads."""

    # No layer for a socket: only the hub is a member of the channel layer.
    channel_layer_alias = "none"

    topic = ""
    session_key = ""
    user: User
    standing: Standing
    feed: Feed

    def may_look(self) -> bool:
        """Whether the user may see this at all. Called in a thread."""
        raise NotImplementedError

    async def news(self) -> list[str]:
        """Return the messages the browser lacks and move the cursor past them.

        Raises NotAllowed.
        """
        raise NotImplementedError

    @property
    def feed_key(self) -> Hashable:
        return self.topic

    def new_feed(self) -> Feed:
        raise NotImplementedError

    def follow(self, feed: Feed) -> None:
        self.feed = feed

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
        if not signed_in or not await database_sync_to_async(self._let_in)():
            await self.close()
            return
        await self.accept()
        self.hub = get_hub()
        await self.hub.start()
        self.hub.join(self)
        self._task = asyncio.create_task(self._follow())

    def _let_in(self) -> bool:
        if not self.may_look():
            return False
        self.standing = standings([self.user])[self.user.pk]
        return True

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
            # What meanwhile came while others were sent is one message with them.
            for message in in_messages(await self.news()):
                await self._push(message)
        if self._text_due and not self._over:
            self._text_due = False
            if text := self.text():
                await self._push(text)

    async def _push(self, message: str) -> None:
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

    feed: RunFeed
    run_id: UUID
    after = 0
    begun = False
    shown: LiveText | None = None
    shown_length = 0
    _facts: tuple[object, ...] = ()
    _known_reader: Reader

    async def connect(self) -> None:
        self.run_id = self.scope["url_route"]["kwargs"]["pk"]
        self.topic = run_topic(self.run_id)
        self.after = _after(self.scope["query_string"])
        await super().connect()

    def may_look(self) -> bool:
        return visible_runs(self.user).filter(pk=self.run_id).exists()

    def new_feed(self) -> Feed:
        return RunFeed(self.run_id)

    async def news(self) -> list[str]:
        step = None
        if not self.begun or self.feed.run is None:
            step = await self.feed.step(self.after)
        reader = self._reader()
        messages: list[str] = []
        while self.after < self.feed.head:
            step = step or await self.feed.step(self.after)
            if step is None:
                break
            messages += await self._messages(step, reader)
            self.after, step = step.last_seq, None
            if sum(map(len, messages)) > MESSAGE_CHARS:
                self._rows_due = True  # a long way: send this much first
                break
        if not messages and not self.begun:
            messages = [markup.cursor(self.run_id, self.after)]
        if settled := self._settle():
            messages[:1] = ["".join([settled, *messages[:1]])]
        self.begun = True
        return messages

    def text(self) -> str:
        text = self.hub.text_of(self.run_id)
        if text is None or _is_over(text, self.feed.settled):
            return ""
        known = self.shown_length if text is self.shown else 0
        self.shown, self.shown_length = text, len(text.text)
        return text.html(self.run_id, known) if known < self.shown_length else ""

    def _reader(self) -> Reader:
        """Return who looks, as far as it matters. Raises NotAllowed."""
        run = self.feed.run
        if run is None:
            raise NotAllowed
        # Told anew only when it can have changed: this is done for every message.
        facts = (run.requester_id, run.conversation.owner_id, self.standing)
        if facts != self._facts:
            self._facts = facts
            self._known_reader = Reader.of(run, self.user, self.standing)
        if not self._known_reader.may_read:
            raise NotAllowed
        return self._known_reader

    async def _messages(self, step: Step, reader: Reader) -> list[str]:
        ready = step.rendered(reader)
        if ready is None:
            ready = await database_sync_to_async(step.render)(reader)
        return ready

    def _settle(self) -> str:
        """Return what empties the live text, when its answer was stored or withdrawn.

        Also at the beginning: the browser may still show text of an earlier socket.
        """
        over = self.shown is not None and _is_over(self.shown, self.feed.settled)
        if not over and self.begun:
            return ""
        self.shown = None
        return markup.text_is(self.run_id, "")


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
