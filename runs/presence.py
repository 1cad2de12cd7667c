"""Which runner processes of this machine are alive.

Each holds a lock on a file of its own, which the kernel lets go of however the process
ends. So after a kill -9 the next process need not wait for the leases to run out. It
only saves time: a runner on another machine is found dead by its leases alone.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings


class Presence:
    """This process's own mark, and a look at the others'."""

    def __init__(self) -> None:
        self.owner = f"{os.getpid()}-{uuid.uuid4().hex}"
        self._folder: Path = settings.DATA_DIR / "runners"
        self._folder.mkdir(parents=True, exist_ok=True)
        # Locked before it has its name: nobody sees it unlocked while we live.
        unnamed = self._folder / f".{self.owner}"
        self._mark = unnamed.open("w")
        fcntl.flock(self._mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unnamed.rename(self._folder / self.owner)

    def dead_owners(self) -> list[str]:
        """Return the owners whose process has ended without leaving."""
        return list(self._dead())

    def bury(self, owner: str) -> None:
        """Forget a dead owner whose leases have been seen to."""
        (self._folder / owner).unlink(missing_ok=True)

    def leave(self) -> None:
        self.bury(self.owner)
        self._mark.close()

    def _dead(self) -> Iterator[str]:
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.iterdir():
            theirs = path.name != self.owner and not path.name.startswith(".")
            if theirs and not _is_locked(path):
                yield path.name


def _is_locked(path: Path) -> bool:
    try:
        with path.open() as mark:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return True  # it has just left, or was buried by another
