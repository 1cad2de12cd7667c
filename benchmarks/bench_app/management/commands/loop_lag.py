"""Drives many live runs in this process, and says how late its loop is."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

from asgiref.sync import sync_to_async
from django.core.management.base import BaseCommand, CommandParser
from django.db.models import QuerySet
from report import print_bar

from runs.executor import Executor
from runs.live.pokes import set_home
from runs.models import EventKind, Run, RunEvent, RunStatus
from runs.services import start_run
from runs.transactions import together

SAMPLE_S = 0.01
LOOK_S = 0.25
PATIENCE_S = 60
AT_MOST_MS = 50
ROOM = 600


@dataclass(slots=True)
class Watch:
    """What was seen of the loop while it worked."""

    late_ms: list[float] = field(default_factory=list)
    """By how much each short sleep was too long."""
    wall_s: float = 0
    process_s: float = 0
    loop_s: float = 0
    """CPU seconds of the whole process, and of the thread of its loop."""


class Command(BaseCommand):
    help = "Drives many live runs in this process, and says how late its loop is."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--runs", type=int, default=500)
        parser.add_argument("--warm-up", type=float, default=8, help="Seconds.")
        parser.add_argument("--seconds", type=float, default=20)

    def handle(
        self, *, runs: int, warm_up: float, seconds: float, **options: Any
    ) -> None:
        with together():
            for number in range(runs):
                start_run("watching", f"Watch {number}.", trigger=Run.Trigger.COMMAND)
        Run.objects.update(max_turns=1_000_000)
        asyncio.run(_drive(runs, warm_up, seconds))


async def _drive(runs: int, warm_up_s: float, seconds: float) -> None:
    set_home(asyncio.get_running_loop())
    executor = Executor(ROOM)
    await executor.start()
    async with asyncio.timeout(PATIENCE_S):
        # Their answers come with no event that this loop could wait for.
        while await sync_to_async(_answered)() < runs:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)
    await asyncio.sleep(warm_up_s)
    before = await sync_to_async(_turns)()
    watch = await _watched(seconds)
    turns = await sync_to_async(_turns)() - before
    live = await sync_to_async(_live)()
    await executor.stop(grace_s=0)
    _report(watch, turns, live)


async def _watched(seconds: float) -> Watch:
    watch, begin = Watch(), time.perf_counter()
    process, thread = time.process_time(), time.thread_time()
    while (now := time.perf_counter()) - begin < seconds:
        await asyncio.sleep(SAMPLE_S)
        watch.late_ms.append((time.perf_counter() - now - SAMPLE_S) * 1e3)
    watch.wall_s = time.perf_counter() - begin
    watch.process_s = time.process_time() - process
    watch.loop_s = time.thread_time() - thread
    return watch


def _report(watch: Watch, turns: int, live: int) -> None:
    p99 = quantiles(watch.late_ms, n=100)[98]
    print(
        f"{live} live runs, {turns / watch.wall_s:.0f} turns a second in all; "
        f"CPU {watch.process_s / watch.wall_s:.0%} of a core, "
        f"the loop's thread {watch.loop_s / watch.wall_s:.0%}, "
        f"{watch.process_s / turns * 1e3:.1f} ms a turn"
    )
    print(
        f"loop lag p50 {median(watch.late_ms):.1f} ms, most {max(watch.late_ms):.0f} ms"
    )
    print_bar("loop lag p99, ms", p99, AT_MOST_MS)


def _live() -> int:
    return Run.objects.filter(status=RunStatus.RUNNING).count()


def _answered() -> int:
    """Return how many runs have had their first answer."""
    return _live_answers().values("run").distinct().count()


def _turns() -> int:
    return _live_answers().count()


def _live_answers() -> QuerySet[RunEvent]:
    return RunEvent.objects.filter(kind=EventKind.RESPONSE)
