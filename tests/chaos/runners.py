"""Runners in this process, beside what its pages do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from django.db import connections

from runs.executor import Executor
from runs.live.pokes import set_home

GRACE_S = 10.0


async def beside_runners(story: Callable[[], None]) -> None:
    executor = Executor(concurrency=20)
    set_home(asyncio.get_running_loop())
    await executor.start()
    try:
        await asyncio.to_thread(with_connection, story)
    finally:
        await executor.stop(GRACE_S)


def with_connection(story: Callable[[], None]) -> None:
    try:
        story()
    finally:
        connections.close_all()
