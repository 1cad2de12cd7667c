"""What a whole turn costs in the app, beside a turn of the bare SDK.

In the app: engine, journal, events and their pokes, on SQLite with full syncs. The
database lies in memory, so that work is compared and not the disk. A turn is measured
from one call of the model to the next, in runs of both that alternate. Tracing is off
in both; what it adds to the app's turn is said beside it.
"""

from __future__ import annotations

from report import ENGINES, STORES, print_head
from stage import sqlite_stage


def main() -> None:
    print_head("Whole turns", packages=(*STORES, *ENGINES))
    with sqlite_stage(in_memory=True) as stage:
        print(stage.database, flush=True)
        stage.show("whole_turns")


if __name__ == "__main__":
    main()
