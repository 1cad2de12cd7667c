"""The one door from the runner's loop to the database.

Writes of all runs go to a writer thread, which commits those that wait together: a
disk syncs so many commits a second, however many runs share each. Every write is told
of its own end, after the commit; one that fails takes none with it. On PostgreSQL
there are a few writers, so that a run whose row is locked holds up few others.

Reads have threads of their own and wait for no commit. Pages have connections of their
own.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, Protocol, TypeAlias, TypeVar
from uuid import UUID

from django.db import DatabaseError, connection, transaction

from .transactions import others_wait, together

P = ParamSpec("P")
T = TypeVar("T")

READERS = 2
POSTGRESQL_WRITERS = 3
MOST_TOGETHER = 64
"""Writes of one commit: more would let the first wait for the last."""
PAUSE_S, PAUSE_EVERY_S = 0.005, 0.05
"""SQLite's lock goes to whoever asks at the right moment. A writer that is never done
leaves such moments: to the threads that wait, and every so often to other processes."""
RESTED_S = 5.0
"""After so long a connection may have been cut: it is asked before it is used."""


class Breakable(Protocol):
    """A lease, as the writer knows it."""

    run_id: UUID

    def break_(self) -> None:
        """Let nothing more be written under it. Called in the writer's thread."""


class Database:
    """The threads of one runner."""

    def __init__(self) -> None:
        writers = POSTGRESQL_WRITERS if connection.vendor == "postgresql" else 1
        self._writes: list[_Queue] = [SimpleQueue() for _ in range(writers)]
        self._reads: _Queue = SimpleQueue()
        self._threads = [_Thread(queue, _commit_together) for queue in self._writes]
        self._threads += [_Thread(self._reads, _each) for _ in range(READERS)]

    async def read(
        self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Return what `function`, which writes nothing, gives."""
        return await _put(self._reads, partial(function, *args, **kwargs))

    async def write(
        self,
        run_id: UUID | None,
        function: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Return what `function`, a write about the run, gives, after its commit.

        Writes of one run (None: of no single one) happen in their order. Cancelling
        the wait undoes nothing.
        """
        return await _put(self._lane(run_id), partial(function, *args, **kwargs))

    async def step(
        self,
        lease: Breakable,
        function: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Return what `function`, a step of the run that is held, gives; as `write`.

        One that fails breaks the lease before the next is made: what the run has in
        memory is ahead of what is stored from then on.
        """
        do = partial(function, *args, **kwargs)
        return await _put(self._lane(lease.run_id), do, broken=lease.break_)

    def _lane(self, run_id: UUID | None) -> _Queue:
        return self._writes[run_id.int % len(self._writes) if run_id else 0]

    async def close(self) -> None:
        """End the threads once all that waits is done."""
        for queue in self._writes:
            queue.put(None)
        for _ in range(READERS):
            self._reads.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)


class _Work:
    """Something to do in a thread, for a loop that waits for its result."""

    def __init__(
        self, do: Callable[[], Any], broken: Callable[[], None] | None
    ) -> None:
        self._do = do
        self._broken = broken
        self.loop = asyncio.get_running_loop()
        self.told: asyncio.Future[Any] = self.loop.create_future()
        self.error: BaseException | None = None
        self._value: Any = None

    def run(self) -> None:
        self.error = None
        try:
            self._value = self._do()
        except BaseException as error:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Note that it has failed; nothing that builds on it is to be stored."""
        self.error = error
        if self._broken is not None and isinstance(error, DatabaseError):
            self._broken()

    def tell(self) -> None:
        """Give the result to whoever waits; called on the loop."""
        if self.told.done():
            return  # nobody waits any more
        if self.error is None:
            self.told.set_result(self._value)
        else:
            self.told.set_exception(self.error)


_Queue: TypeAlias = "SimpleQueue[_Work | None]"


async def _put(
    queue: _Queue, do: Callable[[], T], broken: Callable[[], None] | None = None
) -> T:
    work = _Work(do, broken)
    queue.put(work)
    result: T = await work.told
    return result


class _Thread(threading.Thread):
    """Takes work from a queue, on a connection that it keeps."""

    def __init__(
        self, queue: _Queue, serve: Callable[[_Queue, list[_Work]], bool]
    ) -> None:
        super().__init__(name="runs-db", daemon=True)
        self._queue = queue
        self._serve = serve
        self.start()

    def run(self) -> None:
        used_at = paused_at = -math.inf
        more = True
        while more and (first := self._queue.get()) is not None:
            if time.monotonic() - used_at > RESTED_S:
                _drop_broken_connection()
            batch = [first]
            more = self._serve(self._queue, batch)
            if any(isinstance(work.error, DatabaseError) for work in batch):
                _drop_broken_connection()
            used_at = time.monotonic()
            _tell(batch)
            paused_at = self._pause(paused_at)
        connection.close()

    def _pause(self, paused_at: float) -> float:
        """Let others write, where this thread alone would; return when it last did."""
        now = time.monotonic()
        if connection.vendor != "sqlite" or self._serve is _each or self._queue.empty():
            return now
        if others_wait() or now - paused_at > PAUSE_EVERY_S:
            time.sleep(PAUSE_S)
            return time.monotonic()
        return paused_at


def _each(queue: _Queue, batch: list[_Work]) -> bool:
    """Do the one piece of work; True: there may be more."""
    batch[0].run()
    return True


def _commit_together(queue: _Queue, batch: list[_Work]) -> bool:
    """Do all work that waits in one transaction; False when the queue has ended."""
    more = _take_waiting(queue, batch)
    if len(batch) == 1:
        batch[0].run()
        return more
    try:
        with together():
            for work in batch:
                work.run()
                if transaction.get_rollback():
                    raise _Spoiled
    except _Spoiled:
        # Nothing of it is stored: each is done again, and fails or not, alone.
        for work in batch:
            work.run()
    except BaseException as error:
        for work in batch:
            work.fail(error)
    return more


class _Spoiled(Exception):
    """A write has spoiled the transaction of its neighbours."""


def _take_waiting(queue: _Queue, batch: list[_Work]) -> bool:
    while len(batch) < MOST_TOGETHER:
        try:
            work = queue.get_nowait()
        except Empty:
            return True
        if work is None:
            return False
        batch.append(work)
    return True


def _tell(batch: Sequence[_Work]) -> None:
    for loop in {work.loop for work in batch}:
        mine = [work for work in batch if work.loop is loop]
        try:
            loop.call_soon_threadsafe(_tell_now, mine)
        except RuntimeError:
            continue  # the loop has ended: nobody waits


def _tell_now(batch: Sequence[_Work]) -> None:
    for work in batch:
        work.tell()


def _drop_broken_connection() -> None:
    if connection.connection is not None and not connection.is_usable():
        connection.close()
