"""Brings news to the sockets of this process.

Sockets read rows, each from its own cursor; the hub only says when. It does so on a
poke and every two seconds, so what the channel layer loses is late and never missing.
The layer is joined once a process, however many sockets there are.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, Self
from uuid import UUID
from weakref import WeakKeyDictionary

from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.contrib.auth.models import User
from django.utils import timezone

from runs.models import Run, RunStatus

from .pokes import GROUP, session_topic, set_home
from .sessions import signed_in

logger = logging.getLogger(__name__)

TICK_S = 2.0
REJOIN_S = 3600.0  # the in-memory layer forgets a member after a day
LAYER_RETRY_S = 1.0


class Viewer(Protocol):
    """A socket, as the hub sees it."""

    topic: str
    session_key: str
    user: User

    def look(self) -> None:
        """Have it read the rows it lacks."""

    def look_at_text(self) -> None:
        """Have it send the live text it lacks."""

    def sign_out(self) -> None:
        """Have it close: its session is over."""

    @classmethod
    def behind(cls, viewers: Sequence[Self]) -> list[Self]:
        """Return those that lack rows, at the cost of one query. Called in a thread."""


@dataclass(slots=True)
class LiveText:
    """What the model has written of an answer that is not stored yet."""

    turn: int
    attempt: int
    since: datetime
    text: str = ""
    broken: bool = False
    """A part was lost; nothing can be added any more."""

    @property
    def key(self) -> tuple[int, int]:
        return self.turn, self.attempt

    def add(self, offset: int, text: str) -> None:
        if offset > len(self.text):
            self.broken = True
        if not self.broken:
            self.text += text[len(self.text) - offset :]


class Hub:
    """Wakes viewers; the one member of the channel layer in this process."""

    def __init__(self) -> None:
        self._viewers: defaultdict[str, set[Viewer]] = defaultdict(set)
        self._texts: dict[str, LiveText] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.joined = asyncio.Event()

    async def start(self) -> None:
        """Begin to listen, if that has not happened yet."""
        if self._tasks:
            return
        set_home(asyncio.get_running_loop())
        self._tasks = [
            asyncio.create_task(self._listen()),
            asyncio.create_task(self._tick()),
        ]

    async def stop(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        set_home(None)

    def join(self, viewer: Viewer) -> None:
        for topic in _topics(viewer):
            self._viewers[topic].add(viewer)
        viewer.look()

    def leave(self, viewer: Viewer) -> None:
        for topic in _topics(viewer):
            self._viewers[topic].discard(viewer)
            if not self._viewers[topic]:
                del self._viewers[topic]

    @property
    def sockets(self) -> int:
        """How many sockets are open. May be asked from another thread."""
        groups = [*self._viewers.values()]  # a copy, made in one step
        return len(set[Viewer]().union(*groups))

    def text_of(self, run_id: UUID) -> LiveText | None:
        """Return what the model has written of the run's next message, if known."""
        return self._texts.get(str(run_id))

    async def look_around(self) -> None:
        """Do what pokes are for, without any: once for all viewers, in few queries."""
        viewers = {viewer for group in self._viewers.values() for viewer in group}
        await self._check_sessions(viewers)
        by_type: defaultdict[type[Viewer], list[Viewer]] = defaultdict(list)
        for viewer in viewers:
            by_type[type(viewer)].append(viewer)
        for kind, group in by_type.items():
            for viewer in await database_sync_to_async(kind.behind)(group):
                viewer.look()
        if self._texts:
            await self._forget_texts()

    async def _check_sessions(self, viewers: set[Viewer]) -> None:
        keys = {viewer.session_key for viewer in viewers}
        users = await database_sync_to_async(signed_in)(keys) if keys else {}
        for viewer in viewers:
            user = users.get(viewer.session_key)
            if user is None or user.pk != viewer.user.pk:
                viewer.sign_out()
            else:
                viewer.user = user

    async def _forget_texts(self) -> None:
        for run_id in await database_sync_to_async(_not_running)(list(self._texts)):
            self._texts.pop(run_id, None)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            try:
                await self.look_around()
            except Exception:
                logger.exception("The hub could not look for news; it tries again.")

    async def _listen(self) -> None:
        while True:
            try:
                async with asyncio.timeout(REJOIN_S):
                    await self._receive()
            except TimeoutError:
                continue
            except Exception:
                logger.warning("The channel layer is out of reach.", exc_info=True)
                await asyncio.sleep(LAYER_RETRY_S)

    async def _receive(self) -> None:
        layer = get_channel_layer()
        channel = await layer.new_channel()
        await layer.group_add(GROUP, channel)
        self.joined.set()
        try:
            while True:
                self._take(await layer.receive(channel))
        finally:
            with contextlib.suppress(Exception):
                await layer.group_discard(GROUP, channel)

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "live.delta":
            self._take_delta(message)
        elif message["topic"].startswith("session:"):
            for viewer in self._watching(message["topic"]):
                viewer.sign_out()
        else:
            for viewer in self._watching(message["topic"]):
                viewer.look()

    def _take_delta(self, message: dict[str, Any]) -> None:
        run, key = message["run"], (message["turn"], message["attempt"])
        if message.get("done"):
            self._texts.pop(run, None)
            return
        if message["offset"] == 0:
            self._texts[run] = LiveText(*key, since=timezone.now())
        text = self._texts.get(run)
        if text is None or text.key != key:
            return  # its beginning never came here: the stored message will show it
        text.add(message["offset"], message["text"])
        for viewer in self._watching(f"run:{run}"):
            viewer.look_at_text()

    def _watching(self, topic: str) -> Iterator[Viewer]:
        return iter(tuple(self._viewers.get(topic, ())))


def _topics(viewer: Viewer) -> tuple[str, str]:
    return viewer.topic, session_topic(viewer.session_key)


def _not_running(run_ids: list[str]) -> list[str]:
    running = Run.objects.filter(pk__in=run_ids, status=RunStatus.RUNNING)
    ids = {str(pk) for pk in running.values_list("pk", flat=True)}
    return [run_id for run_id in run_ids if run_id not in ids]


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def get_hub() -> Hub:
    """Return the hub of the running loop: one a process, as there is one loop."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs[loop] = Hub()
    return _hubs[loop]


def open_sockets() -> int:
    """Return how many sockets this process has open."""
    return sum(hub.sockets for hub in [*_hubs.values()])
