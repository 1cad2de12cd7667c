"""Brings runs to where they wait for a decision, and leaves them there."""

from __future__ import annotations

import asyncio
from typing import Any

from asgiref.sync import sync_to_async
from django.core.management.base import BaseCommand, CommandParser

from bench_app.asking import ask, requests_of
from runs.executor import Executor
from runs.live.pokes import set_home

ROOM = 100


class Command(BaseCommand):
    help = "Brings runs to where they wait for a decision, and leaves them there."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("runs", type=int)

    def handle(self, *, runs: int, **options: Any) -> None:
        asyncio.run(_bring(runs))


async def _bring(count: int) -> None:
    set_home(asyncio.get_running_loop())
    executor = Executor(ROOM)
    await executor.start()
    runs = await sync_to_async(ask)(count)
    await sync_to_async(requests_of)(runs)
    await executor.stop()
