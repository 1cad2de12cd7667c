"""The sweeper: finds what no wake-up told of, and what time has brought.

Guarantee: whatever is to be done stands in rows, and some process's next pass finds it,
whichever processes have died meanwhile. Every process has a sweeper, web processes too.
Any number may look at once: each change is a short transaction of its own that asks
whether its row still says so. A pass is a few queries on partial indexes; runs that
wait cost nothing, however many.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connections
from django.utils import timezone

from . import dispatch
from .dispatch import embedded
from .gate import gate
from .services import due

logger = logging.getLogger(__name__)

TELL_EVERY = timedelta(seconds=5)
CLOCK_STEP_S = 0.002
"""A wait is by another clock than the one on the wall; too early finds nothing."""
AWAY_AFTER = timedelta(seconds=60)
"""Without a pass for this long, this process was not there: asleep, or cut off."""


class Sweeper(threading.Thread):
    """Looks every PLACET_SWEEP_EVERY, and at once when a moment has come.

    A thread with a connection of its own: a loop that is busy does not hold it up.
    """

    def __init__(self, held_here: Callable[[], Collection[UUID]] = tuple) -> None:
        """Leave alone what this process itself holds, by `held_here`.

        Its heartbeat may only be late, as when the database was away for everybody.
        """
        super().__init__(name="runs-sweeper", daemon=True)
        self._held_here = held_here
        self._news = threading.Condition()
        self._is_ending = False
        self._next: datetime | None = None
        self._up_since: datetime | None = None
        self._looked_at: datetime | None = None
        self._told_at: datetime | None = None

    def stop(self) -> None:
        """Finish the pass in hand and leave."""
        with self._news:
            self._is_ending = True
            self._news.notify()
        self.join()

    def run(self) -> None:
        embedded.listen(self._woken)
        while not self._is_ending:
            self.look()
            with contextlib.suppress(DatabaseError):
                close_old_connections()  # none is kept while it rests
            self._rest()
        embedded.forget(self._woken)
        connections.close_all()

    def look(self) -> None:
        """Make one pass. What fails is logged, and found again by the next one."""
        now = timezone.now()
        for part in (
            self._free_abandoned,
            self._wake_due,
            self._tell_again,
            self._expire,
            self._look_after,
        ):
            try:
                part(now)
            except Exception:
                logger.exception("The sweeper could not look; it tries again")

    def _rest(self) -> None:
        """Wait for the next pass, or for the moment of a run that is sooner."""
        end = timezone.now() + settings.PLACET_SWEEP_EVERY
        with self._news:
            while not self._is_ending:
                until = end if self._next is None else min(end, self._next)
                left_s = (until - timezone.now()).total_seconds()
                if left_s < 0:
                    return
                self._news.wait(left_s + CLOCK_STEP_S)

    def _woken(self, run_id: UUID, at: datetime | None) -> None:
        if at is not None:
            self._look_at(at)

    def _look_at(self, at: datetime) -> None:
        with self._news:
            if self._next is None or at < self._next:
                self._next = at
                self._news.notify()

    def _free_abandoned(self, now: datetime) -> None:
        for run_id in due.abandoned_ids(now, excluding=self._held_here()):
            due.free(run_id)

    def _wake_due(self, now: datetime) -> None:
        for run_id in due.due_ids(now):
            due.wake_due(run_id)
        with self._news:
            self._next = None
        if (following := due.next_moment()) is not None:
            self._look_at(following)

    def _tell_again(self, now: datetime) -> None:
        if self._told_at is not None and now - self._told_at < TELL_EVERY:
            return
        self._told_at = now
        for run_id in due.untaken_ids(now):
            dispatch.wake(run_id)

    def _expire(self, now: datetime) -> None:
        if self._looked_at is None or now - self._looked_at > AWAY_AFTER:
            self._up_since = now
        gate().expire_due(now, up_since=self._up_since or now)
        self._looked_at = now

    def _look_after(self, now: datetime) -> None:
        gate().look_after(now)
