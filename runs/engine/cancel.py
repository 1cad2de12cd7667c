"""Cancelling, by us and by others."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

CANCEL_PATIENCE_S = 2.0


def is_leaked_cancel() -> bool:
    """Say whether a CancelledError just caught came from code called, not to us."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() == 0


# Strong references to what would not end, so that it is not collected half-way.
_left_behind: set[asyncio.Future[Any]] = set()


async def cancel_all(tasks: Collection[asyncio.Future[Any]]) -> None:
    """Cancel `tasks` and wait until they have ended; what they raise is dropped.

    One that will not end is left behind after CANCEL_PATIENCE_S.
    """
    for task in tasks:
        task.cancel()
    if not tasks:
        return
    ended, stubborn = await asyncio.wait(tasks, timeout=CANCEL_PATIENCE_S)
    for task in stubborn:
        _left_behind.add(task)
        task.add_done_callback(_left_behind.discard)
    for task in ended:
        if not task.cancelled():
            task.exception()  # seen, so that nobody is told of it


class Stop(asyncio.Event):
    """An event that can be waited for beside others without a task for each wait."""

    def __init__(self) -> None:
        super().__init__()
        self._told: asyncio.Future[None] | None = None

    def set(self) -> None:
        super().set()
        if self._told is not None and not self._told.done():
            self._told.set_result(None)

    def told(self) -> asyncio.Future[Any]:
        """Return what is done once the event is set: the same for all who wait."""
        if self._told is None:
            self._told = asyncio.get_running_loop().create_future()
            if self.is_set():
                self._told.set_result(None)
        return self._told
