"""The one door from the runner's loop to the database.

A worker's reads and writes go through one thread: in order, on one connection that is
checked before each unit of work. Pages have connections of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import close_old_connections, connections

P = ParamSpec("P")
T = TypeVar("T")


class DatabaseThread:
    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="runs-db")

    async def run(
        self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Return what `function` gives; cancelling the wait does not undo it."""

        def unit() -> T:
            close_old_connections()
            return function(*args, **kwargs)

        return await sync_to_async(unit, thread_sensitive=False, executor=self._pool)()

    async def close(self) -> None:
        await sync_to_async(
            connections.close_all, thread_sensitive=False, executor=self._pool
        )()
        self._pool.shutdown(wait=False)
