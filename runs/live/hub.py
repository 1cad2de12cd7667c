"""Brings news to the sockets of this process.

Sockets read rows, each from its own cursor; the hub only says when. It does so on a
poke and every two seconds, so what the channel layer loses is late and never missing.
The layer is joined once a process, however many sockets there are; what sockets of one
topic have in common is read and rendered once, by their feed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.contrib.auth.models import User
from django.utils import timezone

from runs.engine.cancel import cancel_all
from runs.models import Run, RunStatus

from . import markup
from .census import hubs
from .feeds import Feed, Viewer
from .pokes import GROUP, LAYER_TIMEOUT_S, group_send, session_topic, set_home
from .sessions import signed_in
from .standing import Standing, standings

logger = logging.getLogger(__name__)

TICK_S = 2.0
DEAF_TICKS = 2.5
"""The layer brings our own word back each tick; silent for so long, it is joined anew.

It may be silent without an error: the in-memory one forgets a member after a day or
whose message waited for a minute; a connection may hang.
"""
LAYER_RETRY_S = 1.0
ECHO = {"type": "live.echo"}


@dataclass(slots=True)
class LiveText:
    """What the model has written of an answer that is not stored yet."""

    turn: int
    attempt: int
    since: datetime
    text: str = ""
    broken: bool = False
    """A part was lost; nothing can be added any more."""
    _shown: dict[int, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[int, int]:
        return self.turn, self.attempt

    def add(self, offset: int, text: str) -> None:
        if offset > len(self.text):
            self.broken = True
        if not self.broken:
            self.text += text[len(self.text) - offset :]
            self._shown.clear()

    def html(self, run_id: UUID, known: int) -> str:
        """Return what a browser lacks that shows the first `known` characters."""
        if known not in self._shown:
            make = markup.text_goes_on if known else markup.text_is
            self._shown[known] = make(run_id, self.text[known:])
        return self._shown[known]


class Hub:
    """Wakes viewers; the one member of the channel layer in this process."""

    def __init__(self) -> None:
        self._viewers: defaultdict[str, set[Viewer]] = defaultdict(set)
        self._feeds: dict[Hashable, Feed] = {}
        self._by_topic: defaultdict[str, set[Feed]] = defaultdict(set)
        self._texts: dict[str, LiveText] = {}
        self._ending = False
        self._tasks: list[asyncio.Task[None]] = []
        self._hurry = asyncio.Event()
        self.joined = asyncio.Event()
        """Set while the layer brings messages."""
        hubs.add(self)

    async def start(self) -> None:
        """Begin to listen, if that has not happened yet."""
        if self._tasks:
            return
        set_home(asyncio.get_running_loop())
        self._ending = False
        self._tasks = [
            asyncio.create_task(self._listen()),
            asyncio.create_task(self._tick()),
        ]

    async def stop(self) -> None:
        tasks, self._tasks = self._tasks, []
        self._ending = True
        await cancel_all(tasks)
        for feed in self._feeds.values():
            feed.stop()
        set_home(None)

    def join(self, viewer: Viewer) -> None:
        for topic in _topics(viewer):
            self._viewers[topic].add(viewer)
        self._enter(viewer)
        viewer.look()

    def leave(self, viewer: Viewer) -> None:
        for topic in _topics(viewer):
            self._viewers[topic].discard(viewer)
            if not self._viewers[topic]:
                del self._viewers[topic]
        self._exit(viewer)

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
        await self._check_sessions()
        by_type: defaultdict[type[Feed], list[Feed]] = defaultdict(list)
        for feed in self._feeds.values():
            by_type[type(feed)].append(feed)
        for kind, group in by_type.items():
            for feed in await database_sync_to_async(kind.behind)(group):
                feed.poke()
        if self._texts:
            await self._forget_texts()

    async def _check_sessions(self) -> None:
        viewers = {viewer for group in self._viewers.values() for viewer in group}
        keys = {viewer.session_key for viewer in viewers}
        people = await database_sync_to_async(_people)(keys) if keys else {}
        for viewer in viewers:
            user, standing = people.get(viewer.session_key, (None, None))
            if user is None or standing is None or user.pk != viewer.user.pk:
                viewer.sign_out()
                continue
            viewer.user = user
            if viewer.standing != standing:
                self._change_standing(viewer, standing)

    def _change_standing(self, viewer: Viewer, standing: Standing) -> None:
        """Have it look, by which it sees whether it may still; maybe elsewhere."""
        self._exit(viewer)
        viewer.standing = standing
        self._enter(viewer)
        viewer.look()

    def _enter(self, viewer: Viewer) -> None:
        feed = self._feeds.get(viewer.feed_key)
        if feed is None:
            feed = self._feeds[viewer.feed_key] = viewer.new_feed()
            self._by_topic[viewer.topic].add(feed)
        feed.viewers.add(viewer)
        viewer.follow(feed)

    def _exit(self, viewer: Viewer) -> None:
        feed = self._feeds.get(viewer.feed_key)
        if feed is None:
            return
        feed.viewers.discard(viewer)
        if not feed.viewers:
            feed.stop()
            del self._feeds[viewer.feed_key]
            self._by_topic[viewer.topic].discard(feed)
            if not self._by_topic[viewer.topic]:
                del self._by_topic[viewer.topic]

    async def _forget_texts(self) -> None:
        for run_id in await database_sync_to_async(_not_running)(list(self._texts)):
            self._texts.pop(run_id, None)

    async def _tick(self) -> None:
        while not self._ending:
            with contextlib.suppress(TimeoutError):
                # Not `wait_for`, which may lose the cancellation that ends this.
                async with asyncio.timeout(TICK_S):
                    await self._hurry.wait()
            self._hurry.clear()
            try:
                await self.look_around()
            except Exception:
                logger.exception("The hub could not look for news; it tries again.")

    async def _listen(self) -> None:
        # A failure of the layer may hide the cancellation that came with it.
        while not self._ending:
            try:
                await self._belong()
            except Exception:
                if self.joined.is_set():
                    logger.warning("The channel layer was lost.", exc_info=True)
            self.joined.clear()
            await asyncio.sleep(LAYER_RETRY_S)

    async def _belong(self) -> None:
        """Be a member of the layer until it fails or falls silent."""
        layer = get_channel_layer()
        channel = ""
        try:
            channel = await _in_time(layer.new_channel())
            await _in_time(layer.group_add(GROUP, channel))
            # Not by `group_send`, which may be leaving the layer alone for a while.
            await _in_time(layer.group_send(GROUP, ECHO))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_echo())
                await self._receive(layer, channel)
        finally:
            with contextlib.suppress(Exception):
                await _in_time(_forget(layer, channel))

    async def _receive(self, layer: Any, channel: str) -> None:
        while True:
            receiving = asyncio.ensure_future(layer.receive(channel))
            try:
                done, _ = await asyncio.wait({receiving}, timeout=DEAF_TICKS * TICK_S)
            finally:
                receiving.cancel()
            if not done:
                raise TimeoutError("It has fallen silent.")
            self._heard()
            self._take(receiving.result())

    def _heard(self) -> None:
        if not self.joined.is_set():
            self.joined.set()
            self._hurry.set()  # what was sent before did not come here

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "live.delta":
            self._take_delta(message)
        elif message["type"] == "live.poke":
            self._take_poke(message["topic"])

    def _take_poke(self, topic: str) -> None:
        for feed in tuple(self._by_topic.get(topic, ())):
            feed.poke()
        if topic.startswith("session:"):
            for viewer in self._watching(topic):
                viewer.sign_out()

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


def _people(session_keys: Collection[str]) -> dict[str, tuple[User, Standing]]:
    """Return who is signed in by each session that is still good."""
    users = signed_in(session_keys)
    known = standings({user.pk: user for user in users.values()}.values())
    return {key: (user, known[user.pk]) for key, user in users.items()}


async def _in_time(action: Any) -> Any:
    async with asyncio.timeout(LAYER_TIMEOUT_S):
        return await action


async def _echo() -> None:
    """Say something every tick; that it comes back shows that the layer works."""
    while True:
        await asyncio.sleep(TICK_S)
        await group_send(ECHO)


async def _forget(layer: Any, channel: str) -> None:
    """Leave nothing behind in `layer`, whose connection may be broken."""
    if isinstance(layer, RedisPubSubChannelLayer):
        # In this layer it closes the connections of this loop, and no more than that.
        await layer.flush()
    elif channel:
        await layer.group_discard(GROUP, channel)


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
