"""What a whole turn costs in the app, beside a turn of the bare SDK.

In the app: engine, journal, events and their pokes, on SQLite with full syncs. The
database lies in memory, so that work is compared and not the disk. A turn is measured
from one call of the model to the next, in runs of both that alternate.
"""

from __future__ import annotations

import asyncio
import gc
import shutil
import time
from collections.abc import AsyncIterator
from statistics import median
from typing import Any

from ground import set_up

folder = set_up(in_memory=True)

from asgiref.sync import sync_to_async
from report import print_bar, print_head
from side_by_side import OURS, SDK, SLICES

from runs import engine, services
from runs.executor import Executor
from runs.live.hub import get_hub
from runs.models import Run
from runs.registry import register
from runs.transactions import together

TURNS = (10, 400)
AT_MOST = {10: 1.5, 400: 0.3}


class Stopwatch:
    """From the first answer of a script to its last."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.calls = 0

    def called(self, left: bool) -> None:
        now = time.perf_counter(), time.process_time()
        if not self.calls:
            self.begin = now
        self.calls += 1
        self.end = now
        if not left:
            self.over.set()

    def turn_us(self) -> tuple[float, float]:
        """Return the microseconds of a turn, by the clock and of the processor."""
        wall, cpu = (
            end - begin for begin, end in zip(self.begin, self.end, strict=True)
        )
        return wall * 1e6 / (self.calls - 1), cpu * 1e6 / (self.calls - 1)


class Timed(engine.Model):
    """The next answer of the current script, with a look at the clock."""

    def use(self, answers: list[Any], watch: Stopwatch) -> None:
        self._answers, self._watch = answers[::-1], watch

    async def get_response(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("The app streams.")

    async def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        answer = self._answers.pop()
        self._watch.called(bool(self._answers))
        for event in answer:
            yield event


timed = Timed()
agent = OURS.agent([])
agent.model = timed
register(agent, key="bench")


async def in_the_app(turns: int) -> tuple[float, float]:
    watch = Stopwatch()
    timed.use(list(OURS.answers(turns, streamed=True)), watch)
    gc.collect()
    run = await sync_to_async(start)()
    await watch.over.wait()
    while (await Run.objects.aget(pk=run.pk)).is_open:
        await asyncio.sleep(0.05)
    return watch.turn_us()


def start() -> Run:
    with together():
        run = services.start_run("bench", "go", trigger=Run.Trigger.COMMAND)
        Run.objects.filter(pk=run.pk).update(max_turns=10_000)
    return run


async def of_the_sdk(turns: int) -> tuple[float, float]:
    watch = Stopwatch()
    bare = SDK.agent(list(SDK.answers(turns)))
    script, left = bare.model.get_response, list(range(turns + 1))

    async def get_response(*args: Any, **kwargs: Any) -> Any:
        left.pop()
        watch.called(bool(left))
        return await script(*args, **kwargs)

    bare.model.get_response = get_response
    gc.collect()
    await SDK.run(bare)
    return watch.turn_us()


async def main() -> None:
    print_head(f"A whole turn in the app: median of {SLICES} slices, data in {folder}")
    await get_hub().start()
    executor = Executor(10)
    await executor.start()
    taken: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for _ in range(SLICES):
        for turns in TURNS:
            for name, play in (("app", in_the_app), ("SDK", of_the_sdk)):
                for _ in range(max(1, 40 // turns)):
                    taken.setdefault((name, turns), []).append(await play(turns))
    await executor.stop()
    await get_hub().stop()
    for turns in TURNS:
        app, sdk = (_medians(taken[name, turns]) for name in ("app", "SDK"))
        print(
            f"{turns:5} turns: app {app[0]:5.0f} µs a turn ({app[1]:5.0f} of the "
            f"processor), SDK {sdk[0]:5.0f} ({sdk[1]:5.0f})"
        )
        ratio = app[0] / sdk[0]
        print_bar(f"the app's turn beside the SDK's at {turns}", ratio, AT_MOST[turns])
        print(f"    of the processor: {app[1] / sdk[1]:.3f}")
    shutil.rmtree(folder)


def _medians(taken: list[tuple[float, float]]) -> tuple[float, float]:
    return median(wall for wall, _ in taken), median(cpu for _, cpu in taken)


if __name__ == "__main__":
    asyncio.run(main())
