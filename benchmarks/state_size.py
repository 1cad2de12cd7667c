"""What a state takes: kilobytes an item, and the time to write and read it.

Both engines run the same script and write what they have. The size is that of a run
with one call a turn, as compact JSON (ASCII, a kB is 1,000 bytes), over the items the
result lists. The SDK would take minutes for 2,500 such turns, so the times are those of
5,000 items in 50 turns of 50 calls.
"""

from __future__ import annotations

import asyncio
import gc
import json
import time
from statistics import median
from typing import Any

from report import print_bar, print_head
from side_by_side import OURS, SDK, SLICES, Engine


async def ended(engine: Engine, turns: int, calls: int) -> Any:
    """Return the result of a run of so many turns with so many calls each."""
    return await engine.run(engine.agent(engine.answers(turns, calls=calls)))


def kb_an_item(result: Any) -> float:
    """Return the size of its state over the number of its items."""
    text = json.dumps(result.to_state().to_json(), separators=(",", ":"))
    return len(text) / len(result.new_items) / 1000


async def round_trip_s(engine: Engine, result: Any) -> float:
    """Return the CPU seconds that `to_json` and `from_json` of its state take."""
    state = result.to_state()
    gc.collect()
    begin = time.process_time()
    written = state.to_json()
    await engine.module.RunState.from_json(result.last_agent, written)
    return time.process_time() - begin


async def main() -> None:
    print_head(f"State size: the same items; times are medians of {SLICES} slices")
    sizes = {
        engine.name: kb_an_item(await ended(engine, 100, 1)) for engine in (OURS, SDK)
    }
    print(f"SDK: {sizes['SDK']:.3f} kB an item")
    print_bar("ours, kB an item", sizes["ours"], 0.35)

    results = {engine: await ended(engine, 50, 50) for engine in (OURS, SDK)}
    taken: dict[str, list[float]] = {"ours": [], "SDK": []}
    for _ in range(SLICES):
        for engine, result in results.items():
            taken[engine.name].append(await round_trip_s(engine, result))
    ours, sdk = median(taken["ours"]), median(taken["SDK"])
    print(f"to_json and from_json at {len(results[OURS].new_items) - 1:,} items:")
    print(f"ours {ours * 1e3:.0f} ms, SDK {sdk * 1e3:.0f} ms")
    print_bar("ours beside the SDK's", ours / sdk, 0.2)


if __name__ == "__main__":
    asyncio.run(main())
