"""Drives runs of the app and of the SDK by turns, and says what a turn costs."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any, TypeAlias

from asgiref.sync import sync_to_async
from django.core.management.base import BaseCommand
from report import print_bar
from side_by_side import OURS, SDK, SLICES

from bench_app.asking import wait_for
from runs import engine
from runs.executor import Executor
from runs.live.hub import get_hub
from runs.live.pokes import set_home
from runs.models import Run
from runs.registry import register
from runs.services import start_run
from runs.transactions import together

TURNS = (10, 400)
TURNS_A_SLICE = 40
"""At least; so a short run is driven several times."""
AT_MOST = {10: 1.5, 400: 0.3}
KEY = "scripted"
LOOK_S = 0.02


class Command(BaseCommand):
    help = "Drives runs of the app and of the SDK by turns; prints what a turn costs."

    def handle(self, **options: Any) -> None:
        asyncio.run(_measure())


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds of a turn."""

    wall: float
    cpu: float
    """Of all threads of the process."""


Play: TypeAlias = Callable[[int], Awaitable[Cost]]


@dataclass(slots=True)
class Stopwatch:
    """From the first answer of a script to its last."""

    turns: int
    over: asyncio.Event = field(default_factory=asyncio.Event)
    _seen: list[tuple[float, float]] = field(default_factory=list)

    def answered(self) -> None:
        self._seen.append((time.perf_counter(), time.process_time()))
        if len(self._seen) > self.turns:
            self.over.set()

    def cost(self) -> Cost:
        (wall, cpu), (wall_end, cpu_end) = self._seen[0], self._seen[-1]
        each = 1e6 / self.turns
        return Cost((wall_end - wall) * each, (cpu_end - cpu) * each)


class Timed(engine.Model):
    """Gives the answers of the current script, each with a look at the clock."""

    def use(self, watch: Stopwatch) -> None:
        self._watch = watch
        # Made before the clock runs, as the SDK's are.
        self._answers = iter(list(OURS.answers(watch.turns, streamed=True)))

    async def get_response(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("The app streams.")

    async def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        answer = next(self._answers)
        self._watch.answered()
        for event in answer:
            yield event


@dataclass(slots=True)
class App:
    """The app's runner in this process, with one agent."""

    model: Timed = field(default_factory=Timed)
    executor: Executor = field(default_factory=lambda: Executor(10))

    def __post_init__(self) -> None:
        agent = OURS.agent([])
        agent.model = self.model
        register(agent, key=KEY)

    async def turn(self, turns: int) -> Cost:
        watch = Stopwatch(turns)
        self.model.use(watch)
        gc.collect()
        await sync_to_async(_start)()
        await watch.over.wait()
        await asyncio.to_thread(
            wait_for, "no run is held", lambda: not self.executor.held_runs, LOOK_S
        )
        return watch.cost()

    async def traced_turn(self, turns: int) -> Cost:
        engine.set_tracing_disabled(False)
        try:
            return await self.turn(turns)
        finally:
            engine.set_tracing_disabled(True)


def _start() -> None:
    with together():
        run = start_run(KEY, "go", trigger=Run.Trigger.COMMAND)
        Run.objects.filter(pk=run.pk).update(max_turns=10_000)


async def _sdk_turn(turns: int) -> Cost:
    watch = Stopwatch(turns)
    agent = SDK.agent(list(SDK.answers(turns)))
    script = agent.model.get_response

    async def get_response(*args: Any, **kwargs: Any) -> Any:
        watch.answered()
        return await script(*args, **kwargs)

    agent.model.get_response = get_response
    gc.collect()
    await SDK.run(agent)
    return watch.cost()


async def _measure() -> None:
    set_home(asyncio.get_running_loop())
    app = App()
    await get_hub().start()
    await app.executor.start()
    costs: defaultdict[tuple[str, int], list[Cost]] = defaultdict(list)
    await app.turn(TURNS[0])  # to warm up
    for _ in range(SLICES):
        for turns in TURNS:
            for name, play in _plays(app, turns):
                for _ in range(max(1, TURNS_A_SLICE // turns)):
                    costs[name, turns].append(await play(turns))
    await app.executor.stop()
    await get_hub().stop()
    for turns in TURNS:
        _report(turns, {name: costs[name, turns] for name, _ in _plays(app, turns)})


def _plays(app: App, turns: int) -> list[tuple[str, Play]]:
    plays: list[tuple[str, Play]] = [("app", app.turn), ("SDK", _sdk_turn)]
    return [*plays, ("traced", app.traced_turn)] if turns == TURNS[0] else plays


def _report(turns: int, costs: dict[str, list[Cost]]) -> None:
    medians = {
        name: Cost(median(one.wall for one in each), median(one.cpu for one in each))
        for name, each in costs.items()
    }
    shown = ", ".join(
        f"{name} {cost.wall:.0f} µs ({cost.cpu:.0f} of the processor)"
        for name, cost in medians.items()
    )
    print(f"{turns} turns, each: {shown}")
    app, sdk = medians["app"], medians["SDK"]
    print_bar(
        f"the app's turn beside the SDK's at {turns}",
        app.wall / sdk.wall,
        AT_MOST[turns],
    )
    print(f"  of the processor: {app.cpu / sdk.cpu:.3f}", flush=True)
