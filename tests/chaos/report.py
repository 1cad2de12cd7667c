"""What was done and what was found, as numbers and as a table."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .family import Child
from .kills import MOMENTS

LOG_CHARS = 2000


@dataclass(eq=False)
class Report:
    database: str
    """Its name and version."""
    seed: int
    killed: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Children seen dead at a point, before or after its commit."""
    killed_by_chance: int = 0
    """Children killed at any moment, and seen dead."""
    paused: set[int] = field(default_factory=set)
    dropped: int = 0
    missed: list[str] = field(default_factory=list)
    """Places that were not reached a second time: nobody was killed there."""
    violations: list[str] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    reached: set[str] = field(default_factory=set)
    """Points that some story reaches when nobody is killed."""
    writes: set[str] = field(default_factory=set)
    """The names of all writes there are."""
    counts: dict[str, int] = field(default_factory=dict)
    """Rows and lines there were in the end."""
    seconds: float = 0.0
    processor_seconds: float = 0.0
    """What it and all its children used of a processor."""

    @property
    def kills(self) -> int:
        return sum(self.killed.values()) + self.killed_by_chance

    def add(self, wrong: str, child: Child | None = None) -> None:
        """Note something that must not be, with the end of the log of `child`."""
        self.violations.append(wrong)
        if child is not None:
            log = child.log.read_text(errors="replace")
            self.logs.append(f"{wrong}\n{log[-LOG_CHARS:]}")

    def save(self, path: Path) -> None:
        points = sorted(self.writes | {point for point, _ in self.killed})
        path.write_text(
            json.dumps(
                {
                    "database": self.database,
                    "seed": self.seed,
                    "kills": self.kills,
                    "killed": {
                        point: [self.killed[point, when] for when in MOMENTS]
                        for point in points
                    },
                    "killed_by_chance": self.killed_by_chance,
                    "paused": len(self.paused),
                    "dropped": self.dropped,
                    "missed": self.missed,
                    "violations": self.violations,
                    "logs": self.logs,
                    "reached": sorted(self.reached),
                    "writes": sorted(self.writes),
                    "counts": self.counts,
                    "seconds": round(self.seconds, 1),
                    "processor_seconds": round(self.processor_seconds, 1),
                },
                indent=1,
            )
        )


def table(reports: list[dict[str, Any]]) -> str:
    """Return the reports as Markdown, one column a database."""
    names = [report["database"] for report in reports]
    lines = [_row("", names), _row("---", ["---:"] * len(names))]
    for title, key in (
        ("kills, each child seen dead", "kills"),
        ("of them at any moment", "killed_by_chance"),
        ("workers paused for longer than their lease", "paused"),
        ("connections cut", "dropped"),
        ("seed", "seed"),
        ("seconds", "seconds"),
        ("seconds of a processor", "processor_seconds"),
    ):
        lines.append(_row(title, [report[key] for report in reports]))
    for title in sorted({name for report in reports for name in report["counts"]}):
        lines.append(_row(title, [report["counts"].get(title) for report in reports]))
    found = [len(report["violations"]) for report in reports]
    lines.append(_row("**violations**", [f"**{count}**" for count in found]))
    lines += ["", _row("killed before / after", names)]
    lines.append(_row("---", ["---:"] * len(names)))
    for point in sorted({point for report in reports for point in report["killed"]}):
        pairs = [report["killed"].get(point, [0, 0]) for report in reports]
        lines.append(_row(point, [f"{before} / {after}" for before, after in pairs]))
    return "\n".join(lines)


def _row(title: str, cells: list[Any]) -> str:
    return f"| {' | '.join([title, *map(str, cells)])} |"
