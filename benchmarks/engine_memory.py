"""What a long run keeps in memory, beside the text that it carries.

Counted is what tracemalloc says is allocated, and still held, from the start of a run
of 2,500 tool turns with outputs of 1 kB until its result is there: items, records of
answers, usage, indexes, and the texts themselves. The text it carries is the arguments
and outputs of its calls, in characters; these are ASCII, so that each takes a byte.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from dataclasses import dataclass

from report import print_bar, print_head
from side_by_side import OURS, SDK, Engine

TURNS = 2500
SDK_TURNS = 100
"""Traced, it takes too long for more."""
OUTPUT = 1000


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes."""

    kept: int
    peak: int
    text: int


async def memory(engine: Engine, turns: int) -> Memory:
    """Return what a run of so many tool turns took."""
    padding = ":".ljust(OUTPUT, ".")
    # The answers are made as they are asked for: only the run holds them.
    agent = engine.agent(engine.answers(turns), padding=padding)
    gc.collect()
    tracemalloc.start()
    result = await engine.run(agent)
    gc.collect()
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    items = result.to_input_list()
    text = sum(len(item.get("arguments", item.get("output", ""))) for item in items)
    return Memory(kept, peak, text)


async def main() -> None:
    print_head("Engine memory: held after a run, by tracemalloc; outputs of 1 kB")
    for engine, turns in ((OURS, TURNS), (SDK, SDK_TURNS)):
        await memory(engine, 1)  # what a first run makes once
        found = await memory(engine, turns)
        times = found.kept / found.text
        print(
            f"{engine.name:5} {turns:5} turns: {found.kept / 1e6:.2f} MB kept "
            f"(at most held: {found.peak / 1e6:.2f}), "
            f"{times:.2f} times {found.text / 1e6:.2f} MB of text"
        )
        if engine is OURS:
            print_bar("kept beside the text", times, 3)


if __name__ == "__main__":
    asyncio.run(main())
