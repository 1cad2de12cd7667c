"""From a decision to the tool it lets run: one machine, beside two raw commits.

Each round decides a waiting run's call through the service and takes the time until the
tool's body starts. The raw driver writes as many rows of the same size in two commits,
decision and then lease with claim, on a database with the same settings, in turns.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from ground import set_up, sync_ms

folder = set_up()

from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, User
from report import print_bar, print_head
from side_by_side import SLICES

from approvals.models import ApprovalRequest, RequestStatus
from approvals.services import decide
from runs import services
from runs.engine import Agent, Model, function_tool
from runs.engine.testing import ScriptedModel, assistant_message, function_call
from runs.executor import Executor
from runs.live.hub import get_hub
from runs.models import Run
from runs.registry import register

ROUNDS = 40
"""Decisions of one slice."""

started: dict[str, float] = {}


@function_tool(needs_approval=True)
def pay(order: str) -> str:
    """Pay an order."""
    started[order] = time.perf_counter()
    return "paid"


class Payer(Model):
    """Asks for one payment, then ends; what it pays stands in its input."""

    async def get_response(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("The app streams.")

    async def stream_response(self, _: Any, given: Any, *args: Any, **more: Any) -> Any:
        order = given[0]["content"]
        call = function_call("pay", {"order": order}, call_id=f"call_{order}")
        step = [assistant_message("end")] if len(given) > 1 else [call]
        async for event in ScriptedModel([step]).stream_response(
            _, given, *args, **more
        ):
            yield event


register(Agent(name="Payer", tools=[pay], model=Payer()), key="payer")


def waiting(order: str) -> ApprovalRequest | None:
    return ApprovalRequest.objects.filter(
        status=RequestStatus.PENDING, arguments__contains=f'"{order}"'
    ).first()


async def until(claim: Any, *args: Any) -> Any:
    while not (found := await sync_to_async(claim)(*args)):
        await asyncio.sleep(0.005)
    return found


def rested(run: Run) -> bool:
    return Run.objects.filter(pk=run.pk, status="waiting").exists()


def ended(run: Run) -> bool:
    return Run.objects.filter(pk=run.pk, status="completed").exists()


async def one(order: str, reviewer: User) -> tuple[float, float]:
    """Return the milliseconds to the body, from the call of the service and its end."""
    run = await sync_to_async(services.start_run)(
        "payer", order, trigger=Run.Trigger.COMMAND
    )
    request = await until(waiting, order)
    await until(rested, run)

    def press() -> tuple[float, float]:
        begin = time.perf_counter()
        decide(request.pk, verdict="approve", by=reviewer, digest_seen=request.digest)
        return begin, time.perf_counter()

    begin, accepted = await sync_to_async(press)()
    await until(ended, run)
    return (started[order] - begin) * 1e3, (started[order] - accepted) * 1e3


class Raw:
    """The driver alone: rows of the size of a decision's, and of a claim's."""

    def __init__(self, place: Path) -> None:
        self.base = sqlite3.connect(place, isolation_level=None)
        self.base.execute("PRAGMA journal_mode=WAL")
        self.base.execute("PRAGMA synchronous=FULL")
        self.base.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a, b)")

    def commits_ms(self) -> float:
        begin = time.perf_counter()
        for row_count in (7, 3):
            self.base.execute("BEGIN IMMEDIATE")
            for _ in range(row_count):
                self.base.execute("INSERT INTO t (a, b) VALUES (?, ?)", (1, "x" * 400))
            self.base.execute("COMMIT")
        return (time.perf_counter() - begin) * 1e3


async def main() -> None:
    print_head(f"Decision to tool body, one machine: {SLICES} slices of {ROUNDS}")
    reviewer = await sync_to_async(User.objects.create_user)("ada")
    await sync_to_async(reviewer.groups.add)(await Group.objects.aget(name="reviewers"))
    await get_hub().start()
    executor, raw = Executor(20), Raw(folder / "raw.sqlite3")
    await executor.start()
    await one("warm-up", reviewer)
    whole: list[float] = []
    after: list[float] = []
    bare: list[float] = []
    for number in range(SLICES):
        for round_ in range(ROUNDS):
            taken = await one(f"o{number}x{round_}", reviewer)
            whole.append(taken[0])
            after.append(taken[1])
            bare.append(raw.commits_ms())
    await executor.stop()
    await get_hub().stop()
    print(f"  sync probe: {sync_ms(folder):.2f} ms")
    for name, figures in (
        ("service called → body starts", whole),
        ("committed → body starts", after),
        ("two raw commits", bare),
    ):
        print(f"  {name:30} p50 {median(figures):6.2f} ms, p99 {p99(figures):6.2f} ms")
    print_bar("p50 over two raw commits, ms", median(whole) - median(bare), 3)
    print_bar("p99 over two raw commits, ms", p99(whole) - p99(bare), 15)
    shutil.rmtree(folder)


def p99(figures: list[float]) -> float:
    return quantiles(figures, n=100)[98]


if __name__ == "__main__":
    asyncio.run(main())
