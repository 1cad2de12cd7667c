"""A worker of bare jobs, on the same terms as that of the app's own."""

from __future__ import annotations

import asyncio
from typing import Any

from django.core.management.base import BaseCommand

from bench_app.jobs import QUEUE
from runs.dispatch.procrastinate import do_jobs


class Command(BaseCommand):
    help = "Do the benchmark's bare jobs until SIGTERM."

    def handle(self, **options: Any) -> None:
        self.stdout.write("Ready")
        self.stdout.flush()
        asyncio.run(do_jobs(QUEUE))
