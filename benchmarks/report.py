"""How a benchmark says what it measured, on what, and whether a bar was met."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from statistics import quantiles

ENGINES = ("openai-agents", "openai", "pydantic")
STORES = ("django", "psycopg", "procrastinate")
"""What the figures depend on: for the engines alone, and for the whole app."""


def print_head(what: str, *, packages: Sequence[str] = ENGINES) -> None:
    """Say what is measured, and on what."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    print(f"\n{what}")
    print(
        f"{platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    print(f"Python {platform.python_version()}, {versions}", flush=True)


def print_bar(what: str, figure: float, at_most: float) -> None:
    """Print a figure beside its bar."""
    verdict = "met" if figure <= at_most else "MISSED"
    print(f"  {what}: {figure:.3f} (at most {at_most:g}: {verdict})", flush=True)


def print_exact(what: str, figure: float, exactly: float) -> None:
    """Print a figure that must be just so."""
    verdict = "met" if figure == exactly else "MISSED"
    print(f"  {what}: {figure:g} (exactly {exactly:g}: {verdict})", flush=True)


def print_least(what: str, figure: float, at_least: float) -> None:
    """Print a figure beside what it is to reach."""
    verdict = "met" if figure >= at_least else "MISSED"
    print(f"  {what}: {figure:.3f} (at least {at_least:g}: {verdict})", flush=True)


def p99(figures: Sequence[float]) -> float:
    """Return what ninety-nine of a hundred do not pass."""
    return quantiles(figures, n=100)[98]
