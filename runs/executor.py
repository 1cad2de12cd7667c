"""The runner: takes runs that need work and drives each to its next pause or end.

Guarantee: a run is driven by one worker at a time (its lease). A run may be looked at
any number of times, by any process; that is harmless, because looking means trying to
take the lease, and what is to be done stands in the run's rows. A process that dies
leaves leases that expire, and the sweeper of any process takes the runs over.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError

from . import dispatch, driving
from .db import Database
from .dispatch import embedded
from .driving import Execution
from .engine import LeaseLost
from .engine.cancel import cancel_all
from .engine.models import close_clients
from .heartbeat import Heartbeat
from .kept import KeptRuns
from .presence import Presence
from .services import lease as leases
from .services import upgrade
from .sweeper import Sweeper

logger = logging.getLogger(__name__)

TICK_S = 1.0


@dataclass(eq=False)
class Executor:
    """Drives up to `concurrency` runs at once on the running loop."""

    concurrency: int
    _held: dict[UUID, Execution] = field(default_factory=dict, init=False)
    _tasks: dict[UUID, asyncio.Task[bool]] = field(default_factory=dict, init=False)
    _abandoned: set[asyncio.Task[bool]] = field(default_factory=set, init=False)
    _told_again: set[UUID] = field(default_factory=set, init=False)
    """Runs that were woken while they had a task; it may have looked before that."""
    _db: Database = field(default_factory=Database, init=False)
    _kept: KeptRuns = field(default_factory=KeptRuns, init=False)
    _presence: Presence = field(default_factory=Presence, init=False)
    _leaving: bool = field(default=False, init=False)

    async def start(self) -> None:
        """Take up work: what is queued now, and whatever is woken from here on."""
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._look_again = asyncio.Event()
        self._heartbeat = Heartbeat(self)
        self._heartbeat.start()
        self._sweeper = Sweeper(lambda: self.held_runs)
        self._sweeper.start()
        embedded.listen(self._woken)
        self._over = asyncio.Event()
        self._listening = asyncio.create_task(dispatch.hear(self.name, self._over))
        self._helpers = {
            asyncio.create_task(self._sweep()),
            asyncio.create_task(self._tick()),
        }

    async def stop(self, grace_s: float | None = None) -> None:
        """Finish the steps in hand, give the runs back and leave.

        After `grace_s` (PLACET_LEAVE_GRACE) what still works is cut off; its started
        calls are in doubt, and a model's answer is asked for again.
        """
        if grace_s is None:
            grace_s = settings.PLACET_LEAVE_GRACE.total_seconds()
        if self._leaving:
            return
        self._leaving = True
        embedded.forget(self._woken)
        self._over.set()
        await cancel_all(self._helpers)
        for execution in self._held.values():
            execution.leave()
        if tasks := list(self._tasks.values()):
            await asyncio.wait(tasks, timeout=grace_s)
            late = list(self._held.values())
            await cancel_all([*self._tasks.values(), *self._abandoned])
            for execution in late:
                await execution.release()
        await asyncio.wait([self._listening], timeout=grace_s)
        await cancel_all({self._listening})
        await close_clients()
        await asyncio.to_thread(self._sweeper.stop)
        self._heartbeat.stop()
        self._presence.leave()
        await self._db.close()

    # Finding work

    def _woken(self, run_id: UUID, at: datetime | None) -> None:
        if at is not None:
            return  # the sweeper queues the run then
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody to tell
            self._loop.call_soon_threadsafe(self._wake, run_id)

    def _wake(self, run_id: UUID) -> None:
        """Take the run if there is room, or have its news looked at."""
        if run_id in self._tasks:
            self._told_again.add(run_id)
            self._look_again.set()
        elif not self._room():
            self._look_again.set()
        else:
            self._begin(run_id, peek=True)

    def _room(self) -> int:
        """Return how many more runs this process may drive now."""
        return 0 if self._leaving else self.concurrency - len(self._tasks)

    def _begin(self, run_id: UUID, *, peek: bool = False) -> None:
        # Not in the context of a page whose commit woke the run: its language, its time
        # zone and the thread it waits for are its own.
        context = self._context.copy()
        task = self._loop.create_task(self._work(run_id, peek), context=context)
        self._tasks[run_id] = task
        task.add_done_callback(partial(self._ended, run_id))

    async def _sweep(self) -> None:
        """Look for work whenever something is woken, and every so often anyway."""
        every_s = settings.PLACET_SWEEP_EVERY.total_seconds()
        await self._reconsider()
        while True:
            self._look_again.clear()
            try:
                await self._free_the_dead()
                await self._look()
            except Exception:
                logger.exception("The sweeper could not look for work; it tries again")
            try:
                async with asyncio.timeout(every_s):
                    await self._look_again.wait()
            except TimeoutError:
                continue

    async def _reconsider(self) -> None:
        """Have the runs looked at that wait for a go-ahead: this may be other code."""
        try:
            for run_id in await self._db.read(upgrade.awaiting):
                await self._db.write(run_id, upgrade.look_at, run_id)
        except DatabaseError:
            logger.exception("Runs that wait for a go-ahead were not looked at")

    async def _tick(self) -> None:
        """Tell the heartbeat that the loop is alive, however busy the database is."""
        while True:
            self._heartbeat.tick()
            self._kept.drop_old()
            await asyncio.sleep(TICK_S)

    async def _free_the_dead(self) -> None:
        """Take over at once from processes of this machine that died."""
        for owner in self._presence.dead_owners():
            await self._db.write(None, leases.expire, owner)
            self._presence.bury(owner)

    async def _look(self) -> None:
        if self._held:
            for news in await self._db.read(leases.news, list(self._held)):
                self._take_notice(news)
        if not (free := self._room()):
            return
        for run_id in await self._db.read(
            leases.runnable_ids, free, excluding=list(self._tasks)
        ):
            if run_id not in self._tasks and self._room():
                self._begin(run_id)

    def _take_notice(self, news: leases.Held) -> None:
        execution = self._held.get(news.run_id)
        if execution is None:
            return
        if news.epoch == execution.lease.epoch:
            execution.look(news)
            return
        # Taken from us. What its tools still do is evidence; the run itself is free,
        # also for this process.
        del self._held[news.run_id]
        self._abandoned.add(self._tasks.pop(news.run_id))

    def _ended(self, run_id: UUID, task: asyncio.Task[bool]) -> None:
        self._abandoned.discard(task)
        if self._tasks.get(run_id) is task:
            del self._tasks[run_id]
            self._held.pop(run_id, None)
            if run_id in self._told_again:
                self._told_again.discard(run_id)
                self._look_again.set()
        if task.cancelled():
            return
        if error := task.exception():
            logger.error(
                "A run was left", extra={"run_id": str(run_id)}, exc_info=error
            )
        elif task.result():
            self._look_again.set()  # there is room for another

    @property
    def name(self) -> str:
        """What its leases are held under."""
        return self._presence.owner

    @property
    def held_runs(self) -> list[UUID]:
        return list(self._held)

    async def _work(self, run_id: UUID, peek: bool) -> bool:
        """Take the run and drive it; False when it was not to be had."""
        try:
            execution = await driving.take(
                run_id, self.name, self._db, self._kept, peek=peek
            )
        except DatabaseError:
            logger.exception("A run was not taken", extra={"run_id": str(run_id)})
            return False
        if execution is None:
            return False
        self._held[run_id] = execution
        if self._leaving:
            execution.leave()
        try:
            await execution.drive_to_rest()
        except LeaseLost:
            logger.info("Lost the lease of a run", extra={"run_id": str(run_id)})
        except DatabaseError:
            # It is taken up where it stands: now, or when its lease has run out.
            logger.exception("A run lost its database", extra={"run_id": str(run_id)})
            await execution.give_up()
        finally:
            execution.gate.rest()
        return True
