"""Plans: messages that say which calls an agent is to make, turn by turn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

KEY = "chaos"
GATED = {"pay", "put", "close", "wire", "offer"}
IDEMPOTENT = {"put", "look"}
TOOLS = {*GATED, "send", "look", "hold"}
TOOLS_OF_A_STORM = (
    "pay",
    "pay",
    "put",
    "send",
    "send",
    "look",
    "close",
    "wire",
    "offer",
)
HANDOFF = "transfer_to_closer"
BROKEN = "broken"

Calls = Sequence[tuple[str, dict[str, Any]]]


def plan(name: str, *turns: Calls, **more: Any) -> str:
    """Return a message that has the agent make these calls, turn by turn."""
    return json.dumps({"name": name, "turns": turns, **more})


def read_plan(text: object) -> dict[str, Any] | None:
    """Return the plan that `text` is, if it is one."""
    try:
        data = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return data if isinstance(data, dict) and "turns" in data else None


def planned(plans: Sequence[dict[str, Any]]) -> Iterator[list[tuple[str, Any]]]:
    """Yield the calls of each turn, each with its call id."""
    for number, told in enumerate(plans):
        for turn, calls in enumerate(told["turns"]):
            yield [
                (f"{number}.{turn}.{place}", call) for place, call in enumerate(calls)
            ]
