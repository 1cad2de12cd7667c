"""The runners alone, for a process or machine of their own."""

from __future__ import annotations

import asyncio
import os
import signal
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from runs.executor import Executor
from runs.live.pokes import set_home
from runs.management.migrated import require_migrations


class Command(BaseCommand):
    help = "Run the runs, without pages, until SIGINT or SIGTERM."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--concurrency",
            type=int,
            default=settings.PLACET_CONCURRENCY,
            help="How many runs at once.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        require_migrations()
        asyncio.run(self._work(Executor(options["concurrency"])))

    async def _work(self, executor: Executor) -> None:
        loop, signalled = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, signalled.set)
        set_home(loop)
        await executor.start()
        self.stdout.write("Placet works (Ctrl-C ends it)")
        self.stdout.flush()
        await signalled.wait()
        for number in (signal.SIGINT, signal.SIGTERM):
            # A second signal ends at once, also past a tool that will not end.
            loop.add_signal_handler(number, os._exit, 1)
        await executor.stop()
