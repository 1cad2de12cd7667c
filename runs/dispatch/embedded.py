"""Wake-ups within one process: whoever runs here is told directly."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

Listener = Callable[[UUID], None]
_listeners: set[Listener] = set()


def listen(listener: Listener) -> None:
    """Have `listener` told of each wake-up; it is called from any thread."""
    _listeners.add(listener)


def forget(listener: Listener) -> None:
    _listeners.discard(listener)


def wake(run_id: UUID) -> None:
    for listener in tuple(_listeners):
        listener(run_id)
