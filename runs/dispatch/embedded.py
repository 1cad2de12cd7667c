"""Wake-ups within one process: whoever runs here is told directly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from functools import partial
from uuid import UUID

from django.db import transaction

Listener = Callable[[UUID, datetime | None], None]
_listeners: set[Listener] = set()


def listen(listener: Listener) -> None:
    """Have `listener` told of each wake-up; it is called from any thread."""
    _listeners.add(listener)


def forget(listener: Listener) -> None:
    _listeners.discard(listener)


def tell(run_id: UUID, at: datetime | None = None) -> None:
    """Tell the listeners of this process now."""
    for listener in tuple(_listeners):
        listener(run_id, at)


async def hear(name: str, stop: asyncio.Event) -> None:
    """There is no other process to hear of."""
    await stop.wait()


def wake(run_id: UUID, at: datetime | None = None) -> None:
    transaction.on_commit(partial(tell, run_id, at))
