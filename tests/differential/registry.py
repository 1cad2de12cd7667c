"""The scenarios: each a name, the paragraph it plays, and an async function."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from .sides import Side

Mode = Literal["plain", "streamed"]
Play = Callable[[Side], Awaitable[None]]
BOTH: tuple[Mode, ...] = ("plain", "streamed")


@dataclass(frozen=True, kw_only=True)
class Scenario:
    name: str
    covers: str
    """A paragraph of the contract's section 2, or a bullet of what must be there."""
    modes: tuple[Mode, ...]
    play: Play


SCENARIOS: dict[str, Scenario] = {}


def scenario(covers: str, *, modes: tuple[Mode, ...] = BOTH) -> Callable[[Play], Play]:
    """Register the function under its own name."""

    def register(play: Play) -> Play:
        name = getattr(play, "__name__")  # noqa: B009 - a Callable has no such name
        assert name not in SCENARIOS, name
        SCENARIOS[name] = Scenario(name=name, covers=covers, modes=modes, play=play)
        return play

    return register


def load() -> dict[str, Scenario]:
    """Import every module of scenarios and return all of them by name."""
    from . import scenarios

    for module in pkgutil.iter_modules(scenarios.__path__):
        importlib.import_module(f"{scenarios.__name__}.{module.name}")
    return SCENARIOS
