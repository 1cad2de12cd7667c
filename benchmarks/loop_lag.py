"""How late the loop of a process is that drives 500 live runs, each a turn every 5 s.

The model sleeps for most of a turn, and calls a tool that is claimed and recorded. The
lag is by how much a sleep of 10 ms in the same loop is too long: what a page, a socket
or another run would wait. The database is a file of SQLite's, synced at each commit.
"""

from __future__ import annotations

from ground import sync_ms
from report import STORES, print_head
from stage import sqlite_stage


def main() -> None:
    print_head("Loop lag: 500 live runs in one process", packages=STORES)
    with sqlite_stage() as stage:
        probe = sync_ms(stage.folder)
        print(f"{stage.database}; sync probe: {probe:.2f} ms for 4 KB", flush=True)
        stage.show("loop_lag")


if __name__ == "__main__":
    main()
