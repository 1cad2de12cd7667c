"""What one more turn costs, early and late in a run: it should be the same.

Slices of short and long runs alternate, so that a slow moment of the machine falls on
both; each figure is the median of five.
"""

from __future__ import annotations

import asyncio
import platform
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import openai
import pydantic

from runs.engine import Agent, Runner, function_tool
from runs.engine.testing import ScriptedModel, assistant_message, function_call

TURNS = (10, 100, 400, 2500)
SLICES = 5


@function_tool
async def look(what: str) -> str:
    """Look."""
    return f"saw {what}"


async def turn_us(turns: int, *, streamed: bool) -> float:
    """Return the microseconds a turn took in a run of so many tool turns."""
    steps = [
        [function_call("look", {"what": f"thing {n}"}, call_id=f"c{n}")]
        for n in range(turns)
    ]
    model = ScriptedModel(steps=[*steps, [assistant_message("end")]])
    agent = Agent(name="Bench", tools=[look], model=model)
    begin = time.perf_counter()
    if streamed:
        stream = Runner.run_streamed(agent, "go", max_turns=None)
        async for _ in stream.stream_events():
            pass
    else:
        await Runner.run(agent, "go", max_turns=None)
    return (time.perf_counter() - begin) * 1e6 / (turns + 1)


async def main() -> None:
    print(f"engine turns · {platform.platform()} · Python {platform.python_version()}")
    print(f"openai {openai.__version__} · pydantic {pydantic.VERSION}")
    for streamed in (False, True):
        taken: dict[int, list[float]] = {turns: [] for turns in TURNS}
        for _ in range(SLICES):
            for turns in TURNS:
                taken[turns].append(await turn_us(turns, streamed=streamed))
        base = statistics.median(taken[TURNS[0]])
        for turns in TURNS:
            median = statistics.median(taken[turns])
            name = "run_streamed" if streamed else "run"
            print(
                f"{name:12} {turns:5} turns: {median:7.0f} µs a turn, "
                f"{median / base:5.2f} of a turn at {TURNS[0]}"
            )


if __name__ == "__main__":
    asyncio.run(main())
