"""What tools have done to the world: lines of a file that no database knows."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "BENCH_EFFECTS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    run: str
    step: int
    tool: str
    key: str
    """The idempotency key that the tool was given."""


def record(effect: Effect) -> None:
    """Let it happen; a line that is appended at once is whole or not there."""
    line = f"{effect.run} {effect.step} {effect.tool} {effect.key}\n"
    file = os.open(_path(), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def recorded() -> Counter[Effect]:
    """Return how often each has happened."""
    lines = _path().read_text().splitlines() if _path().exists() else []
    return Counter(_read(line) for line in lines)


def _path() -> Path:
    return Path(os.environ[VARIABLE])


def _read(line: str) -> Effect:
    run, step, tool, key = line.split()
    return Effect(run=run, step=int(step), tool=tool, key=key)
