"""What the disk under a benchmark does."""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median


def sync_ms(folder: Path, *, times: int = 50) -> float:
    """Return the median milliseconds that a write of 4 kB takes to reach the disk."""
    taken = []
    with (folder / "probe").open("wb", buffering=0) as probe:
        for _ in range(times):
            begin = time.perf_counter()
            probe.write(b"x" * 4096)
            os.fsync(probe.fileno())
            taken.append((time.perf_counter() - begin) * 1e3)
    (folder / "probe").unlink()
    return median(taken)
