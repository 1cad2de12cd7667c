"""What a turn costs, early and late in a run, here and in the SDK.

Short and long runs of both engines alternate, so that a slow moment of the machine
falls on all of them. The model's answers are made before the clock starts, and the
clock is the process's own: nothing here waits, and what others compute does not count.
"""

from __future__ import annotations

import asyncio
import gc
import time
from statistics import median

from report import print_bar, print_head
from side_by_side import OURS, SDK, SLICES, Engine

TURNS = (1, 10, 100, 400, 2500)
SDK_TURNS = (1, 10, 100, 400)
"""For 2,500 it takes minutes."""

Taken = dict[tuple[str, int], list[float]]
"""CPU microseconds a turn, by engine and length of the run, slice by slice."""


async def turn_us(engine: Engine, turns: int, *, streamed: bool) -> float:
    """Return the CPU microseconds that a turn took in a run of so many tool turns.

    A short run is made several times: alone it is over before the clock can tell.
    """
    agents = [
        engine.agent(list(engine.answers(turns, streamed=streamed)))
        for _ in range(max(1, 40 // turns))
    ]
    gc.collect()
    times = []
    for agent in agents:
        begin = time.process_time()
        await (engine.run_streamed(agent) if streamed else engine.run(agent))
        times.append((time.process_time() - begin) * 1e6 / (turns + 1))
    return median(times)


async def measured(*, streamed: bool) -> Taken:
    taken: Taken = {}
    for _ in range(SLICES):
        for turns in TURNS:
            for engine in (OURS, SDK) if turns in SDK_TURNS else (OURS,):
                cost = await turn_us(engine, turns, streamed=streamed)
                taken.setdefault((engine.name, turns), []).append(cost)
    return taken


def report(name: str, taken: Taken) -> None:
    cost = {key: median(slices) for key, slices in taken.items()}
    for turns in TURNS:
        ours, sdk = cost["ours", turns], cost.get(("SDK", turns))
        beside = f", SDK {sdk:6.0f}, ratio {ours / sdk:.3f}" if sdk else ""
        print(f"{name:12} {turns:5} turns: {ours:4.0f} µs a turn{beside}")
    late = cost["ours", 2500] / cost["ours", 10]
    print_bar("a turn of 2,500 beside one of 10", late, 1.15)
    for turns, at_most in ((10, 0.35), (400, 0.03)):
        ratio = cost["ours", turns] / cost["SDK", turns]
        print_bar(f"ours beside the SDK's at {turns} turns", ratio, at_most)


async def main() -> None:
    print_head(f"Engine turns: median of {SLICES} slices, tracing off on both sides")
    report("run", await measured(streamed=False))
    report("run_streamed", await measured(streamed=True))


if __name__ == "__main__":
    asyncio.run(main())
