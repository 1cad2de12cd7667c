"""How a benchmark says what it measured, on what, and whether a bar was met."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median

ENGINES = ("openai-agents", "openai", "pydantic")
STORES = ("django", "psycopg", "procrastinate")
"""What the figures depend on: for the engines alone, and for the whole app."""

PROBES = 41
BLOCK = b"\0" * 4096


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


def print_sync_probe(folder: Path) -> None:
    """Say what a commit costs at least on the disk of `folder`, at this moment."""
    print(f"sync probe: {sync_ms(folder):.2f} ms for 4 KB", flush=True)


def sync_ms(folder: Path) -> float:
    """Return the median milliseconds of writing 4 KB and syncing them."""
    taken = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(PROBES):
            begin = time.perf_counter()
            os.pwrite(file.fileno(), BLOCK, 0)
            os.fsync(file.fileno())
            taken.append((time.perf_counter() - begin) * 1e3)
    return median(taken)
