"""What a process feels of many runs that wait: for a worker, and for people.

One server with its runners on SQLite. First 100,000 runs that wait for people are put
beside it: what it keeps in memory, its threads and tasks must not change. Then 10,000
are queued. While its runners work through them, a reviewer's page and the health check
are asked, by turns with slices in which the queue is held back and nothing runs.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from statistics import median

from report import STORES, print_bar, print_head
from stage import Stage, going, sqlite_stage

WAITING, QUEUED = 100_000, 10_000
PATHS = ("/", "/healthz")
SLICES, TIMES = 3, 8
SETTLE_S = 2.0
MB_WAITING, MB_QUEUED = 5, 100
SLOWER = 10
PATIENCE_S = 30


@dataclass(slots=True)
class Server:
    pid: int
    port: int
    session: str
    database: Path
    taken: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    """Milliseconds by path and what the runners did meanwhile."""

    def ask(self, meanwhile: str) -> None:
        """Ask for both pages, several times by turns."""
        for _ in range(TIMES):
            for path in PATHS:
                taken = self.taken.setdefault((path, meanwhile), [])
                taken.append(self._answer_ms(path))

    def p50(self, path: str, meanwhile: str) -> float:
        return median(self.taken[path, meanwhile])

    def status(self, name: str) -> int:
        """Return a figure of the process, as the kernel names it."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)
        return int(found[1]) if found else 0

    def count(self, status: str) -> int:
        return self._sql("SELECT COUNT(*) FROM runs_run WHERE status = ?", status)

    def move(self, old: str, new: str) -> None:
        """Give the runs for workers another status, all at once."""
        self._sql(
            "UPDATE runs_run SET status = ?"
            " WHERE status = ? AND agent_key = 'answering'",
            new,
            old,
        )

    def until(self, claim: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not claim():
            if time.monotonic() > end:
                raise SystemExit(f"It did not come to {what}.")
            time.sleep(0.05)

    def _answer_ms(self, path: str) -> float:
        begin = time.perf_counter()
        connection = HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", path, headers={"Cookie": f"sessionid={self.session}"})
        response = connection.getresponse()
        response.read()
        connection.close()
        if response.status != 200:
            raise SystemExit(f"{path} answered {response.status}.")
        return (time.perf_counter() - begin) * 1e3

    def _sql(self, statement: str, *values: str) -> int:
        with closing(sqlite3.connect(self.database, timeout=60)) as database, database:
            row = database.execute(statement, values).fetchone()
            return int(row[0]) if row else 0


def waiting(stage: Stage, server: Server) -> None:
    """Print what 100,000 runs that wait for people change in the process."""
    runner = stage.output("count_tasks").split()
    server.ask("warming up")
    time.sleep(SETTLE_S)
    before = server.status("VmRSS"), server.status("Threads")
    stage.show("fill_backlog", "waiting", str(WAITING))
    server.ask("others wait")
    time.sleep(SETTLE_S)
    after = server.status("VmRSS"), server.status("Threads")
    told = stage.output("count_tasks").split()
    print(
        f"{WAITING:,} waiting runs: {before[0] / 1e3:.1f} MB before, "
        f"{after[0] / 1e3:.1f} MB after; threads {before[1]} and {after[1]}; "
        f"a runner's tasks {runner[0]} and {told[0]}, its threads {runner[1]} and "
        f"{told[1]}"
    )
    print_bar("MB more", (after[0] - before[0]) / 1e3, MB_WAITING)
    print_bar("tasks and threads of a runner more", _more(runner, told), 0)


def _more(before: list[str], after: list[str]) -> int:
    return sum(map(int, after)) - sum(map(int, before))


def queued(stage: Stage, server: Server) -> None:
    """Print what a queue of 10,000 runs does to the memory and the pages."""
    before = server.status("VmRSS")
    stage.show("fill_backlog", "queued", str(QUEUED))
    for _ in range(SLICES):
        server.move("queued", "failed")
        server.until(lambda: not server.count("running"), "rest")
        server.ask("nothing runs")
        server.move("failed", "queued")
        server.until(lambda: server.count("running") > 0, "work")
        server.ask("the queue runs")
    after, left = server.status("VmRSS"), server.count("queued")
    if not left:
        raise SystemExit("The queue was empty before the last slice had ended.")
    print(
        f"{QUEUED:,} queued runs, {left:,} still there at the end: "
        f"{before / 1e3:.1f} MB before, {after / 1e3:.1f} MB after"
    )
    print_bar("MB more", (after - before) / 1e3, MB_QUEUED)
    for path in PATHS:
        idle, busy = (
            server.p50(path, meanwhile)
            for meanwhile in ("nothing runs", "the queue runs")
        )
        print(f"GET {path}: p50 {busy:.1f} ms while the queue runs, {idle:.1f} ms else")
        print_bar("p50 beside that of a runner at rest", busy / idle, SLOWER)


def main() -> None:
    print_head(
        f"Backlog: {WAITING:,} runs that wait for people, {QUEUED:,} for a worker",
        packages=STORES,
    )
    # Pokes that come late on a crowded machine are no news here.
    with sqlite_stage(PLACET_LOG_LEVEL="ERROR") as stage:
        session = stage.output("fill_queue", "1000").strip()
        serve = going("serve", "--port", "0", environment=stage.environment)
        with serve as (process, line):
            found = re.search(r":(\d+)/", line)
            if found is None:
                raise SystemExit(f"The server did not start: {line}")
            database = stage.folder / "placet.sqlite3"
            server = Server(process.pid, int(found[1]), session, database)
            waiting(stage, server)
            queued(stage, server)


if __name__ == "__main__":
    main()
