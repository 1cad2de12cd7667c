"""What it costs to store a step of a run, on both databases.

Late in a run beside early in one; and how many steps a second 64 runs store beside the
raw driver, which writes the same rows on one connection, a commit for each.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from ground import drop, postgresql, set_up, sync_ms

NAME = "placet_bench_checkpoints"
RUNS = 64
TEXT = "x" * 5000
SLICE_S = 1.0
FULL = {"sqlite": 0.8, "postgresql": 0.85}


def measure() -> None:
    folder = set_up()
    from django.db import connection
    from report import print_bar, print_head
    from side_by_side import SLICES

    from runs import codec, services
    from runs.db import Database
    from runs.engine import LogEntry
    from runs.live.pokes import set_home
    from runs.models import Run
    from runs.registry import register
    from runs.services import lease as leases
    from runs.services import steps
    from runs.engine import Agent

    register(Agent(name="Bench"), key="bench")
    vendor = connection.vendor
    print_head(f"Checkpoints on {vendor}: median of {SLICES} slices")
    print(f"  sync probe: {sync_ms(folder):.2f} ms")
    step = LogEntry(kind="item", payload={"type": "message", "raw": {"text": TEXT}})

    def held() -> Any:
        run = services.start_run("bench", "go", trigger=Run.Trigger.COMMAND)
        lease = leases.take(run.pk, "bench")
        assert lease is not None
        run.refresh_from_db()
        return lease, codec.loads(run.head)

    def checkpoint(lease: Any, head: Any) -> None:
        steps.append_step(lease, [step], head)

    def cost_ms(lease: Any, head: Any, times: int) -> float:
        taken = []
        for _ in range(times):
            begin = time.perf_counter()
            checkpoint(lease, head)
            taken.append((time.perf_counter() - begin) * 1e3)
        return median(taken)

    early, late = [], []
    long_lease, head = held()
    for _ in range(100):
        steps.append_step(long_lease, [step] * 100, head)
    for _ in range(2 * SLICES + 1):
        short_lease, head = held()
        checkpoint(short_lease, head)
        early.append(cost_ms(short_lease, head, 20))
        late.append(cost_ms(long_lease, head, 20))
    print(
        f"  one step: {median(early):.2f} ms at item 10, {median(late):.2f} at 10,000"
    )
    print_bar(
        "a step at item 10,000 beside one at 10", median(late) / median(early), 1.15
    )

    leases_ = [held() for _ in range(RUNS)]

    async def ours() -> float:
        set_home(asyncio.get_running_loop())
        database, done = Database(), 0
        end = time.perf_counter() + SLICE_S

        async def run(lease: Any, head: Any) -> None:
            nonlocal done
            while time.perf_counter() < end:
                await database.write(lease.run_id, checkpoint, lease, head)
                done += 1

        begin = time.perf_counter()
        await asyncio.gather(*(run(*held) for held in leases_))
        taken = time.perf_counter() - begin
        await database.close()
        set_home(None)
        return done / taken

    raw = _raw(vendor, str(connection.settings_dict["NAME"]))
    rates = [(asyncio.run(ours()), raw()) for _ in range(SLICES)]
    for mine, bare in rates:
        print(f"    {mine:7.0f} a second, raw driver {bare:7.0f}")
    ratio = median(mine / bare for mine, bare in rates)
    print_bar_least(
        f"steps a second of {RUNS} runs beside the raw driver", ratio, FULL[vendor]
    )
    connection.close()
    shutil.rmtree(folder)


def print_bar_least(what: str, figure: float, at_least: float) -> None:
    verdict = "met" if figure >= at_least else "MISSED"
    print(f"  {what}: {figure:.3f} (at least {at_least:g}: {verdict})")


def _raw(vendor: str, name: str) -> Callable[[], float]:
    """Return what measures the raw driver: the rows of a step, a commit each."""
    import uuid

    mark = "?" if vendor == "sqlite" else "%s"
    ids = [uuid.uuid4().hex for _ in range(RUNS)]
    if vendor == "sqlite":
        import sqlite3

        base: Any = sqlite3.connect(f"{name}.raw", isolation_level=None)
        base.execute("PRAGMA journal_mode=WAL")
        base.execute("PRAGMA synchronous=FULL")
        begin = "BEGIN IMMEDIATE"
    else:
        import psycopg

        base = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
        begin = "BEGIN"
    base.execute(
        "CREATE TABLE IF NOT EXISTS raw_run (id TEXT PRIMARY KEY, seq INT, head TEXT)"
    )
    base.execute(
        "CREATE TABLE IF NOT EXISTS raw_event "
        "(run TEXT, seq INT, payload TEXT, PRIMARY KEY (run, seq))"
    )
    for id_ in ids:
        base.execute(f"INSERT INTO raw_run VALUES ({mark}, 0, '')", (id_,))
    head = "h" * 600

    def checkpoint(id_: str) -> None:
        base.execute(begin)
        [seq] = base.execute(
            f"UPDATE raw_run SET seq = seq + 1, head = {mark} WHERE id = {mark} RETURNING seq",
            (head, id_),
        ).fetchone()
        base.execute(
            f"INSERT INTO raw_event VALUES ({mark}, {mark}, {mark})", (id_, seq, TEXT)
        )
        base.execute("COMMIT")

    def rate() -> float:
        done, begin_s = 0, time.perf_counter()
        while (taken := time.perf_counter() - begin_s) < SLICE_S:
            checkpoint(ids[done % RUNS])
            done += 1
        return done / taken

    return rate


def main() -> None:
    if len(sys.argv) > 1:
        return measure()
    environment = {**os.environ}
    environment.pop("DATABASE_URL", None)
    subprocess.run([sys.executable, __file__, "here"], env=environment, check=True)
    if address := postgresql(NAME):
        environment["DATABASE_URL"] = address
        subprocess.run([sys.executable, __file__, "here"], env=environment, check=True)
        drop(address)


if __name__ == "__main__":
    main()
