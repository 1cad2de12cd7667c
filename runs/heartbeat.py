"""Keeps a process's leases for as long as its loop is alive, and says that it lives.

A thread with a connection of its own: a loop that is merely busy keeps its runs. What
it writes is late at worst: a lease that runs out is taken by another process, and the
epoch refuses what the first one still writes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Protocol
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, connections

from .services import lease as leases
from .services import workers

logger = logging.getLogger(__name__)

RENEW_TRIES, RENEW_AGAIN_S = 5, 0.05
# A loop that has not ticked for this long drives nothing: its leases may go.
LOOP_SILENCE = timedelta(seconds=20)


class Holder(Protocol):
    """A runner, as its heartbeat knows it."""

    @property
    def name(self) -> str:
        """What its leases are held under."""

    @property
    def concurrency(self) -> int:
        """How many runs it drives at most."""

    @property
    def held_runs(self) -> list[UUID]:
        """The runs whose leases it has now."""


class Heartbeat(threading.Thread):
    """Renews the leases of one runner."""

    def __init__(self, worker: Holder) -> None:
        super().__init__(name="runs-heartbeat", daemon=True)
        self._worker = worker
        self._end = threading.Event()
        self.tick()

    def tick(self) -> None:
        """Say that the loop is alive; called from the loop."""
        self._ticked = time.monotonic()

    def stop(self) -> None:
        self._end.set()
        self.join()

    def run(self) -> None:
        every_s = settings.PLACET_LEASE.total_seconds() / 3
        self._try(self._enter)
        while not self._end.wait(every_s):
            silent_s = time.monotonic() - self._ticked
            if silent_s <= LOOP_SILENCE.total_seconds():
                self._try(self._beat)
        self._try(partial(workers.leave, self._worker.name))
        connections.close_all()

    def _enter(self) -> None:
        workers.enter(self._worker.name, concurrency=self._worker.concurrency)

    def _beat(self) -> None:
        self._renew()
        if not workers.beat(self._worker.name):
            self._enter()

    def _renew(self) -> None:
        """Renew every lease; a row that is being written is free again in a moment."""
        left = self._worker.held_runs
        for _ in range(RENEW_TRIES):
            left = leases.renew(self._worker.name, left)
            if not left or self._end.wait(RENEW_AGAIN_S):
                return

    def _try(self, told: Callable[[], None]) -> None:
        try:
            told()
        except DatabaseError:
            logger.exception("The heartbeat could not reach the database")
