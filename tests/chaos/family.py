"""Children of one process that has everything imported: a fork costs milliseconds.

The parent has one thread, no loop and no connection to the database, so that a child
has nothing of it to break.
"""

from __future__ import annotations

import ctypes
import os
import random
import select
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
KILLED = -signal.SIGKILL


@dataclass(eq=False)
class Child:
    name: str
    pid: int
    log: Path
    returncode: int | None = None
    """That of `subprocess`: a negative one is the signal it died of."""

    def wait(self, timeout_s: float) -> int | None:
        """Return how the child ended, or None when it has not in time."""
        if self.returncode is None:
            opened = os.pidfd_open(self.pid)
            try:
                ended, _, _ = select.select([opened], [], [], timeout_s)
            finally:
                os.close(opened)
            if ended:
                _, status = os.waitpid(self.pid, 0)
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the child was seen to have ended."""
        if self.wait(0) is None:
            os.kill(self.pid, number)

    def end(self) -> None:
        """End it now, paused or not, and see it ended."""
        self.send(signal.SIGKILL)
        self.wait(60)


def fork(name: str, folder: Path, job: Callable[[], None]) -> Child:
    """Return a child that does `job` and ends; what it writes is in its log."""
    log = folder / f"{name}.log"
    if pid := os.fork():
        return Child(name, pid, log)
    try:
        _leave_home(log)
        job()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def _leave_home(log: Path) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    opened = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(opened, 1)
    os.dup2(opened, 2)
    random.seed()
