"""A worker of bare jobs: Procrastinate's own, which hears of each job at once."""

from __future__ import annotations

import asyncio
from typing import Any

from django.core.management.base import BaseCommand

from bench_app.jobs import QUEUE
from runs.dispatch.procrastinate import connected


class Command(BaseCommand):
    help = "Do the benchmark's bare jobs until SIGTERM."

    def handle(self, **options: Any) -> None:
        self.stdout.write("Ready")
        self.stdout.flush()
        asyncio.run(_do_jobs())


async def _do_jobs() -> None:
    async with connected() as jobs:
        await jobs.run_worker_async(
            queues=[QUEUE], delete_jobs="always", install_signal_handlers=False
        )
