"""Says what a runner with nothing to do keeps going."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from runs.executor import Executor

LOOKS = 3


class Command(BaseCommand):
    help = "Prints the tasks and threads of a runner that has looked for work."

    def handle(self, **options: Any) -> None:
        tasks, threads = asyncio.run(_counted())
        self.stdout.write(f"{tasks} {threads}")


async def _counted() -> tuple[int, int]:
    executor = Executor(concurrency=settings.PLACET_CONCURRENCY)
    await executor.start()
    await asyncio.sleep(LOOKS * settings.PLACET_SWEEP_EVERY.total_seconds())
    counted = len(asyncio.all_tasks()), threading.active_count()
    await executor.stop()
    return counted
