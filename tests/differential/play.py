"""Playing one scenario on one side; as a script, showing where the sides differ.

python -m tests.differential.play approve_ --mode plain --show sdk,ours
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

from .record import comparable, differing
from .registry import Mode, Scenario, load
from .sides import Package, Side, named

# The SDK would send its traces to OpenAI; ours tells nobody unless asked to.
named("sdk", "set_trace_processors")([])

LIMIT_S = 60


async def played(scenario: Scenario, package: Package, mode: Mode) -> dict[str, Any]:
    """Return the record of `scenario`. Raises TimeoutError after LIMIT_S."""
    side = Side(package, streamed=mode == "streamed")
    async with asyncio.timeout(LIMIT_S):
        await scenario.play(side)
    return side.record()


async def against_itself(scenario: Scenario, mode: Mode) -> dict[str, Any]:
    """Return the SDK's record. Raises AssertionError when a second play differs."""
    first = await played(scenario, "sdk", mode)
    second = await played(scenario, "sdk", mode)
    assert list(differing(first, second)) == []
    return first


async def _shown(scenario: Scenario, mode: Mode, packages: list[str]) -> None:
    title = f"{scenario.name}[{mode}]"
    try:
        sdk = await against_itself(scenario, mode)
    except Exception as error:
        print(f"{title} the SDK: {type(error).__name__}: {error}")
        return
    if "sdk" in packages:
        print(title, json.dumps(sdk))
    if "ours" not in packages:
        return
    try:
        ours = await played(scenario, "ours", mode)
    except Exception as error:
        print(f"{title} ours: {type(error).__name__}: {error}")
        return
    for path, left, right in differing(comparable(sdk), comparable(ours)):
        print(f"{title} {path}\n    sdk  {left!r:.300}\n    ours {right!r:.300}")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("name", nargs="?", default="", help="the start of names")
    asked.add_argument("--mode", choices=["plain", "streamed"])
    asked.add_argument("--show", default="ours", help="sdk, ours or sdk,ours")
    given = asked.parse_args()
    for scenario in load().values():
        for mode in scenario.modes:
            if scenario.name.startswith(given.name) and given.mode in (None, mode):
                asyncio.run(_shown(scenario, mode, given.show.split(",")))


if __name__ == "__main__":
    main()
