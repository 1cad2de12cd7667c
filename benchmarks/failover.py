"""How soon the runs of a killed worker go on elsewhere, and whether all is done once.

A worker holds 200 live runs, each a turn of one and a half seconds by turns with a tool
that may be repeated and one that may not, and is killed with -9. On PostgreSQL two more
workers stand by, each with a data folder of its own, as on other machines: they learn
of the death by the leases alone. On SQLite there is one more, on the same machine.

A run goes on when the log shows a step under its new lease: a new claim, output or
answer, or a question to a person where the kill fell into a call that may not be
repeated. Such a question is answered here by what really happened.
"""

from __future__ import annotations

from ground import sync_ms
from report import STORES, print_head
from stage import Stage, postgresql_stage, sqlite_stage

LEASE_S = "5"


def measure(stage: Stage, *options: str) -> None:
    print(f"sync probe: {sync_ms(stage.folder):.2f} ms for 4 KB", flush=True)
    stage.show("failover", *options)


def main() -> None:
    print_head(
        f"Failover: a worker killed with 200 live runs, lease {LEASE_S} s",
        packages=STORES,
    )
    with postgresql_stage("placet_bench_failover", PLACET_LEASE_S=LEASE_S) as stage:
        if stage:
            print(f"{stage.database}, 2 more workers, a data folder each")
            measure(stage, "--others", "2", "--apart")
    with sqlite_stage(PLACET_LEASE_S=LEASE_S) as stage:
        print(f"{stage.database}, 1 more worker, the same data folder")
        measure(stage, "--others", "1")


if __name__ == "__main__":
    main()
