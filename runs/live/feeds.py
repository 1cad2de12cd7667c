"""What the sockets of one topic share in this process: each change is read once.

A feed reads when the hub says so and then has its sockets look. A socket elsewhere in
the log asks for the way from there, and whoever is there too gets the same.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol, Self
from uuid import UUID

from channels.db import database_sync_to_async
from django.contrib.auth.models import User

from runs import queries, timeline
from runs.models import EventKind, Run, RunEvent

from . import markup
from .standing import Standing

logger = logging.getLogger(__name__)

MESSAGE_CHARS = 100_000
KEPT_STEPS, KEPT_CHARS = 64, 2_000_000
"""Of a run, at most; a socket further back has the log read for itself."""
KEPT_S = 10.0
"""A step is rendered anew after this: what it shows of rights and times grows old."""


class Viewer(Protocol):
    """A socket, as a feed and the hub see it."""

    topic: str
    session_key: str
    user: User
    standing: Standing

    @property
    def feed_key(self) -> Hashable:
        """Sockets with the same key share a feed."""

    def new_feed(self) -> Feed:
        """Return the feed for this socket and those with its key."""

    def follow(self, feed: Feed) -> None:
        """Have it read from `feed` from now on."""

    def look(self) -> None:
        """Have it send the rows it lacks."""

    def look_at_text(self) -> None:
        """Have it send the live text it lacks."""

    def sign_out(self) -> None:
        """Have it close: its session is over."""


class Feed:
    """Reads for the sockets that follow it."""

    def __init__(self) -> None:
        self.viewers: set[Viewer] = set()
        self._due = False
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def behind(cls, feeds: Sequence[Self]) -> list[Self]:
        """Return those that lack rows, at the cost of one query. Called in a thread."""
        raise NotImplementedError

    async def refresh(self) -> None:
        """Read what is new since the last time, and wake the sockets if any is."""
        raise NotImplementedError

    def poke(self) -> None:
        """Read; pokes that come meanwhile are one more time."""
        self._due = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._follow())

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _follow(self) -> None:
        while self._due:
            self._due = False
            try:
                await self.refresh()
            except Exception:
                # The hub sees at its next round that rows are missing here.
                logger.exception("News could not be read; they are read again.")

    def wake(self) -> None:
        """Have the sockets look at what this has."""
        for viewer in tuple(self.viewers):
            viewer.look()


@dataclass(frozen=True, slots=True)
class Reader:
    """Who looks at a run, as far as what is shown depends on it."""

    user: User = field(compare=False)
    standing: Standing
    is_requester: bool
    is_owner: bool

    @classmethod
    def of(cls, run: Run, user: User, standing: Standing) -> Self:
        return cls(
            user,
            standing,
            is_requester=run.requester_id == user.pk,
            is_owner=run.conversation.owner_id == user.pk,
        )

    @property
    def may_read(self) -> bool:
        """Whether they may see the run; asking costs no query."""
        return self.is_requester or self.is_owner or _may_follow(self.standing)


@lru_cache(maxsize=1000)
def _may_follow(standing: Standing) -> bool:
    return queries.may_follow(standing.peer)


@dataclass(slots=True)
class Step:
    """A part of the way through a run's log: what is new after one row, up to another.

    Rendered once for all readers that are alike; a card that says what *this* person
    may decide once for each person.
    """

    run: Run
    after: int
    last_seq: int
    blocks: Sequence[timeline.Block]
    header_changed: bool
    is_personal: bool = field(init=False)
    made_at: float = field(default_factory=time.monotonic)
    chars: int = 0
    _messages: dict[Hashable, list[str]] = field(default_factory=dict)
    _parts: dict[Hashable, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.is_personal = any(block.is_personal for block in self.blocks)

    @property
    def is_old(self) -> bool:
        return time.monotonic() - self.made_at > KEPT_S

    def rendered(self, reader: Reader) -> list[str] | None:
        """Return the messages for `reader`, if somebody like them was here before."""
        return self._messages.get(self._key(reader))

    def render(self, reader: Reader) -> list[str]:
        """Return the messages for `reader`. Called in a thread."""
        key = self._key(reader)
        if key not in self._messages:
            self._messages[key] = messages = list(in_messages(self._render(reader)))
            self.chars += sum(map(len, messages))
        return self._messages[key]

    def _key(self, reader: Reader) -> Hashable:
        return (reader.user.pk, reader) if self.is_personal else reader

    def _render(self, reader: Reader) -> Iterator[str]:
        """Yield the blocks the browser has, to be replaced, then those it has not."""
        for block in self.blocks:
            if block.seq <= self.after:
                yield self._block(block, reader, oob=markup.REPLACE)
        for block in self.blocks:
            if block.seq > self.after:
                yield markup.appended(self.run.pk, self._block(block, reader))
        if self.header_changed:
            yield timeline.render_header(self.run, user=reader.user, oob=markup.REPLACE)
        yield markup.cursor(self.run.pk, self.last_seq)

    def _block(self, block: timeline.Block, reader: Reader, oob: str = "") -> str:
        if block.is_personal:
            return timeline.render_block(block, user=reader.user, oob=oob)
        key = (block.seq, reader)
        if key not in self._parts:
            html = timeline.render_block(block, user=reader.user, oob=oob)
            self._parts[key] = html
        return self._parts[key]


class RunFeed(Feed):
    """The log of one run: `head` is the newest row that is known of."""

    def __init__(self, run_id: UUID) -> None:
        super().__init__()
        self.run_id = run_id
        self.run: Run | None = None
        self.head = -1
        self.settled: RunEvent | None = None
        """The last event that stored an answer or withdrew what was written of it."""
        self._steps: OrderedDict[int, Step] = OrderedDict()
        self._reading: dict[int, asyncio.Task[Step | None]] = {}

    @classmethod
    def behind(cls, feeds: Sequence[Self]) -> list[Self]:
        heads = Run.objects.filter(pk__in=[feed.run_id for feed in feeds])
        last = dict(heads.values_list("pk", "last_seq"))
        return [feed for feed in feeds if last.get(feed.run_id) != feed.head]

    async def refresh(self) -> None:
        if self.run is None:
            return  # no socket has read yet; each does at first
        if earlier := self._reading.get(self.head):
            # It may have begun before what the poke is about was committed.
            await asyncio.wait({earlier})
        await self._read_from(self.head)

    async def step(self, after: int) -> Step | None:
        """Return what follows row `after`, or None when nothing does."""
        step = self._steps.get(after)
        if step is not None and not step.is_old:
            return step
        return await self._read_from(after)

    async def _read_from(self, after: int) -> Step | None:
        reading = self._reading.get(after)
        if reading is None:
            reading = asyncio.create_task(self._read_once(after))
            self._reading[after] = reading
        return await asyncio.shield(reading)

    async def _read_once(self, after: int) -> Step | None:
        try:
            return await self._read(after)
        finally:
            # Before anybody it woke can ask: they are to read anew, not get this again.
            del self._reading[after]

    async def _read(self, after: int) -> Step | None:
        people = [(viewer.user, viewer.standing) for viewer in self.viewers]
        load = database_sync_to_async(self._load)
        step: Step | None
        self.run, self.settled, step = await load(after, people)
        if step is not None:
            self._keep(step)
        reached = step.last_seq if step is not None else after
        if self.run is None or reached > self.head:
            self.head = max(self.head, reached)
            self.wake()
        if self.run is not None and self.run.last_seq > reached >= self.head:
            self.poke()  # committed between the reading of its rows and of the run
        return step

    def _load(
        self, after: int, people: Iterable[tuple[User, Standing]]
    ) -> tuple[Run | None, RunEvent | None, Step | None]:
        changes = timeline.changes(self.run_id, after=after)
        # After the events, so that a header is never older than they are.
        found = Run.objects.select_related("conversation__owner", "requester")
        run = found.filter(pk=self.run_id).first()
        if run is None:
            return None, None, None
        settled = self._settled_by(run.last_seq)
        if changes.last_seq == after:
            return run, settled, None
        step = Step(
            run, after, changes.last_seq, changes.blocks, changes.header_changed
        )
        if not step.is_personal:
            for reader in {Reader.of(run, *person) for person in people}:
                if reader.may_read:
                    step.render(reader)
        return run, settled, step

    def _settled_by(self, seq: int) -> RunEvent | None:
        kinds = (EventKind.RESPONSE, EventKind.RETRY)
        events = RunEvent.objects.filter(run_id=self.run_id, kind__in=kinds)
        return events.filter(seq__lte=seq).order_by("-seq").first()

    def _keep(self, step: Step) -> None:
        self._steps[step.after] = step
        self._steps.move_to_end(step.after)
        while len(self._steps) > 1 and self._keeps_too_much():
            self._steps.popitem(last=False)

    def _keeps_too_much(self) -> bool:
        kept = self._steps.values()
        if len(kept) > KEPT_STEPS or next(iter(kept)).is_old:
            return True
        return sum(step.chars for step in kept) > KEPT_CHARS


def in_messages(parts: Iterable[str]) -> Iterator[str]:
    """Yield the parts as messages of a size that neither server nor browser minds."""
    waiting: list[str] = []
    size = 0
    for part in parts:
        if waiting and size + len(part) > MESSAGE_CHARS:
            yield "".join(waiting)
            waiting, size = [], 0
        waiting.append(part)
        size += len(part)
    if html := "".join(waiting):
        yield html
