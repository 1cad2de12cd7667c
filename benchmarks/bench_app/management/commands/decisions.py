"""Decides about runs of this process, and says how soon their tools start."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand
from report import p99, print_bar

from approvals.models import ApprovalRequest
from bench_app import marks
from bench_app.asking import (
    Pressed,
    ask,
    make_reviewer,
    press,
    requests_of,
    wait_for,
)
from bench_app.raw import RawDriver
from runs import transactions
from runs.executor import Executor
from runs.live.hub import get_hub
from runs.live.pokes import set_home

SLICES, ROUNDS, COUNTED = 5, 40, 10
DECISION_ROWS, TAKING_ROWS = 7, 3
IDLE_S = 0.005
P50_AT_MOST_MS, P99_AT_MOST_MS = 3, 15


class Command(BaseCommand):
    help = "Decides about runs of this process, and says how soon their tools start."

    def handle(self, **options: Any) -> None:
        asyncio.run(_measure(make_reviewer()))


async def _measure(reviewer: User) -> None:
    set_home(asyncio.get_running_loop())
    executor = Executor(2 * ROUNDS)
    await get_hub().start()
    await executor.start()
    desk = Desk(executor, reviewer)
    commits = await _commits(desk)
    times = await _times(desk)
    await executor.stop()
    await get_hub().stop()
    _report_commits(commits)
    _report("service called → body, beside two raw commits", times.whole, times.two)
    _report("accepted → body, beside one raw commit", times.after, times.one)
    beyond = median(times.after) - median(times.one)
    print_bar("p50 from accepted, beyond the raw commit, ms", beyond, P50_AT_MOST_MS)
    beyond = p99(times.after) - p99(times.one)
    print_bar("p99 from accepted, beyond the raw commit, ms", beyond, P99_AT_MOST_MS)


@dataclass(slots=True)
class Desk:
    """Where runs of this process are decided, one after the other."""

    executor: Executor
    reviewer: User

    async def waiting(self, count: int) -> list[ApprovalRequest]:
        """Return the requests of so many runs that wait, with nothing else going on."""
        runs = await sync_to_async(ask)(count)
        requests = await sync_to_async(requests_of)(runs)
        await self._idle()
        return requests

    async def settle(self, request: ApprovalRequest) -> tuple[Pressed, float]:
        """Approve; return when, and when the tool's body began. The run ends."""
        pressed = await sync_to_async(press)(request, self.reviewer)
        body_at = await asyncio.to_thread(marks.marked_at, str(request.run_id))
        await self._idle()
        return pressed, body_at

    async def _idle(self) -> None:
        executor = self.executor
        await asyncio.to_thread(
            wait_for, "no run is held", lambda: not executor.held_runs, IDLE_S
        )


# Commits


async def _commits(desk: Desk) -> list[tuple[str, ...]]:
    """Return the writes of each commit that so many decisions and their runs make."""
    requests = await desk.waiting(COUNTED)
    seen: list[tuple[str, ...]] = []
    transactions.watcher = lambda when, writes: (
        seen.append(writes) if when == "after" else None
    )
    for request in requests:
        await desk.settle(request)
    transactions.watcher = None
    return seen


def _report_commits(commits: list[tuple[str, ...]]) -> None:
    names = Counter(
        " + ".join(write.rpartition(".")[2] for write in writes) for writes in commits
    )
    deciding = names.pop("decide", 0)
    own = ", ".join(f"{name} {count / COUNTED:g}" for name, count in names.items())
    print_bar("commits for one decision", deciding / COUNTED, 1)
    print(f"  and of its run, to its end: {own}", flush=True)


# Time


@dataclass(slots=True)
class Times:
    """Milliseconds of each round."""

    whole: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)
    two: list[float] = field(default_factory=list)
    one: list[float] = field(default_factory=list)


async def _times(desk: Desk) -> Times:
    times, raw = Times(), RawDriver()
    raw.make_table()
    for _ in range(SLICES):
        for request in await desk.waiting(ROUNDS):
            pressed, body_at = await desk.settle(request)
            times.whole.append((body_at - pressed.called_at) * 1e3)
            times.after.append((body_at - pressed.accepted_at) * 1e3)
            deciding, taking = _raw_commits_ms(raw, str(request.run_id))
            times.two.append(deciding + taking)
            times.one.append(taking)
    raw.close()
    return times


def _raw_commits_ms(raw: RawDriver, run: str) -> tuple[float, float]:
    """Return what the commits of a decision, and of taking up the run, cost bare."""
    begin = time.perf_counter()
    raw.commit_rows(run, DECISION_ROWS)
    decided = time.perf_counter()
    raw.commit_rows(run, TAKING_ROWS)
    return (decided - begin) * 1e3, (time.perf_counter() - decided) * 1e3


def _report(what: str, ours: list[float], raw: list[float]) -> None:
    print(
        f"  {what}: p50 {median(ours):.2f} and {median(raw):.2f} ms, "
        f"p99 {p99(ours):.2f} and {p99(raw):.2f} ms"
    )
