"""Stores steps of runs, and says what they cost: late and early in a run, and many."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import connection
from report import print_bar, print_least

from bench_app.raw import RawDriver
from runs import codec
from runs.db import Database
from runs.engine import Call, LogEntry, Outcome, OutcomeKind
from runs.live.pokes import set_home
from runs.models import Run
from runs.services import lease as leases
from runs.services import start_run, steps
from runs.services.lease import Lease

SLICES = 5
EARLY, LATE, AT_A_TIME = 10, 10_000, 10
RUNS = 64
SLICE_S = 1.2
STEP = LogEntry(kind="item", payload={"type": "message", "raw": {"text": "x" * 5000}})
LOOK: dict[str, Any] = {
    "tool": "look",
    "agent_path": "Worker",
    "arguments": '{"step":0}',
    "schema_hash": "0" * 64,
    "digest": "0" * 64,
}
PAYLOAD = codec.dumps(STEP.payload)
FLAT_AT_MOST = 1.15
OF_RAW_AT_LEAST = {"sqlite": 0.8, "postgresql": 0.85}


class Command(BaseCommand):
    help = "Stores steps of runs, and says what they cost."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--rate-only",
            action="store_true",
            help="Only how many a second, beside no bar.",
        )

    def handle(self, *, rate_only: bool, **options: Any) -> None:
        if not rate_only:
            _compare_late_with_early()
        rates = _rates()
        ratio = median(ours / raw for ours, raw in rates)
        shown = ", ".join(f"{ours:.0f}/{raw:.0f}" for ours, raw in rates)
        print(f"  steps of 5 KB a second, {RUNS} runs / raw driver: {shown}")
        if rate_only:
            print(f"  beside the raw driver: {ratio:.3f} (no bar)", flush=True)
        else:
            at_least = OF_RAW_AT_LEAST[connection.vendor]
            print_least("beside the raw driver", ratio, at_least)


@dataclass(slots=True)
class Held:
    """A run that this process holds."""

    lease: Lease
    head: dict[str, Any]
    calls: int = 0

    def checkpoint(self) -> None:
        steps.append_step(self.lease, [STEP], self.head)

    def call(self) -> None:
        """Claim a call that needs nobody's approval, and record its outcome."""
        self.calls += 1
        key = f"call_{self.calls}"
        call = Call(key=key, call_id=key, **LOOK)
        outcome = Outcome(kind=OutcomeKind.SUCCEEDED, output="done")
        steps.claim_call(self.lease, call)
        steps.record_outcome(self.lease, call, outcome, [STEP], self.head)


def _held() -> Held:
    run = start_run("working", "Go.", trigger=Run.Trigger.COMMAND)
    lease = leases.take(run.pk, "bench")
    if lease is None:
        raise SystemExit("A run just started was not to be had.")
    return Held(lease, codec.loads(Run.objects.get(pk=run.pk).head))


def _grown(items: int) -> Held:
    held = _held()
    for _ in range(items // 100):
        steps.append_step(held.lease, [STEP] * 100, held.head)
    for _ in range(items % 100):
        held.checkpoint()
    return held


# One more step, late and early


def _compare_late_with_early() -> None:
    late = _grown(LATE)
    for what, do in (("a step", Held.checkpoint), ("claim and record", Held.call)):
        early_ms, late_ms = [], []
        for _ in range(2 * SLICES):
            early = _grown(EARLY)
            for _ in range(AT_A_TIME):
                early_ms.append(_cost_ms(do, early))
                late_ms.append(_cost_ms(do, late))
        print(
            f"  {what}: {median(early_ms):.2f} ms at item {EARLY}, "
            f"{median(late_ms):.2f} ms at item {LATE:,}"
        )
        ratio = median(late_ms) / median(early_ms)
        print_bar(f"{what} at {LATE:,} beside {EARLY}", ratio, FLAT_AT_MOST)


def _cost_ms(do: Callable[[Held], None], held: Held) -> float:
    begin = time.perf_counter()
    do(held)
    return (time.perf_counter() - begin) * 1e3


# Many


def _rates() -> list[tuple[float, float]]:
    """Return the steps a second of many runs, and of the raw driver, by turns."""
    runs, raw = [_held() for _ in range(RUNS)], RawDriver()
    rates = [(asyncio.run(_ours(runs)), _raw(raw, runs)) for _ in range(SLICES + 1)]
    raw.close()
    return rates[1:]  # the first is to warm up


async def _ours(runs: list[Held]) -> float:
    set_home(asyncio.get_running_loop())
    database, begin = Database(), time.perf_counter()
    done = sum(await asyncio.gather(*(_steps(database, held) for held in runs)))
    taken = time.perf_counter() - begin
    await database.close()
    set_home(None)
    return done / taken


async def _steps(database: Database, held: Held) -> int:
    """Store one step after another; return how many there was time for."""
    done, end = 0, time.perf_counter() + SLICE_S
    while time.perf_counter() < end:
        await database.write(held.lease.run_id, held.checkpoint)
        done += 1
    return done


def _raw(raw: RawDriver, runs: list[Held]) -> float:
    head, usage = codec.dumps(runs[0].head), codec.dumps(runs[0].head["usage"])
    done, begin = 0, time.perf_counter()
    while (taken := time.perf_counter() - begin) < SLICE_S:
        raw.checkpoint(runs[done % RUNS].lease.run_id, head, usage, PAYLOAD)
        done += 1
    return done / taken
