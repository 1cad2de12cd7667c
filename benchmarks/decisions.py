"""From a decision to the tool it lets run: what is synced, and how long it takes.

On one machine the tool's body starts in the process that decides, beside the raw driver
that commits as many rows of the same size to the same database, in turns. Through
Procrastinate it starts in a worker, beside a bare job of a worker on the same terms:
both are timed from the return of their commit.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from ground import sync_ms
from report import STORES, print_bar, print_head
from stage import Stage, going, postgresql_stage, sqlite_stage

DECISIONS = 12
SYNC = re.compile(r" (?P<at>\d+\.\d+) fd?a?t?a?sync\(\d+<(?P<file>[^>]+)>", re.ASCII)
LOG, BASE = "placet.sqlite3-wal", "placet.sqlite3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    at: float
    """Seconds since 1970."""
    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """From the posting of a decision to its answer, or to its run's end."""

    begin: float
    end: float

    def names(self, syncs: list[Sync]) -> list[str]:
        """Return the files that were synced meanwhile."""
        return [sync.file for sync in syncs if self.begin <= sync.at <= self.end]


def count_syncs(stage: Stage) -> None:
    """Print how often a server syncs for a decision posted to it, and for its run."""
    strace = shutil.which("strace")
    if strace is None:
        print("  a server's syncs are left out: there is no strace", flush=True)
        return
    stage.show("ask", str(2 * DECISIONS + 2))
    to_the_end = _synced(stage, strace, "--to-the-end")
    decided = _synced(stage, strace)
    print_bar("syncs of the log for one posted decision", _of_one(decided), 1)
    own = _of_one(to_the_end) - _of_one(decided)
    checkpoints = sum(BASE in files for files in to_the_end + decided)
    print(
        f"  and for its run, to its end: {own:.2f}; with {checkpoints} of "
        f"{2 * DECISIONS} fell a checkpoint of the log, not counted",
        flush=True,
    )


def _of_one(decisions: list[list[str]]) -> float:
    """Return the syncs of the log for one decision, where no checkpoint fell."""
    counts = [files.count(LOG) for files in decisions if BASE not in files]
    return sum(counts) / len(counts)


def _synced(stage: Stage, strace: str, *options: str) -> list[list[str]]:
    """Return the files a server synced for each decision: with runs to the end, or not.

    The first decision is left out: a log just begun has its header synced as well.
    """
    path = stage.folder / "syncs"
    under = (strace, "-D", "-f", "-ttt", "-y", "-e", "trace=fsync,fdatasync")
    with going(
        *("serve", "--port", "0", *([] if options else ["--no-runners"])),
        environment=stage.environment,
        under=(*under, "-o", str(path)),
    ) as (_, line):
        port = re.search(r":(\d+)/", line)
        if port is None:
            raise SystemExit(f"The server did not start: {line}")
        told = stage.output("post_decisions", port[1], str(DECISIONS + 1), *options)
    syncs = _read(path)
    times = [[float(word) for word in line.split()] for line in told.splitlines()]
    return [Span(begin=begin, end=end).names(syncs) for begin, end in times[1:]]


def _read(trace: Path) -> list[Sync]:
    found = SYNC.finditer(trace.read_text())
    return [Sync(at=float(one["at"]), file=Path(one["file"]).name) for one in found]


def main() -> None:
    print_head("Decision to tool", packages=STORES)
    with sqlite_stage() as stage:
        probe = sync_ms(stage.folder)
        print(f"{stage.database}; sync probe: {probe:.2f} ms for 4 KB", flush=True)
        count_syncs(stage)
        stage.show("decisions")
    with postgresql_stage("placet_bench_decisions") as server:
        if server:
            print(f"{server.database}, a worker of its own", flush=True)
            server.show("decisions_apart")


if __name__ == "__main__":
    main()
