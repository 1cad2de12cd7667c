"""What it costs to store a step of a run, on both databases.

Late in a run beside early in one; and how many steps of 5 KB a second 64 runs store
beside the raw driver, which writes the same rows to the same tables on one connection,
from texts that are ready, a commit for each. The disk takes part in both. In memory,
where a sync costs nothing, only the work is left: the harder comparison.
"""

from __future__ import annotations

from ground import sync_ms
from report import STORES, print_head
from stage import Stage, postgresql_stage, sqlite_stage


def measure(stage: Stage, *options: str) -> None:
    print(
        f"{stage.database}; sync probe: {sync_ms(stage.folder):.2f} ms for 4 KB",
        flush=True,
    )
    stage.show("checkpoints", *options)


def main() -> None:
    print_head("Checkpoints", packages=STORES)
    with sqlite_stage() as stage:
        measure(stage)
    with sqlite_stage(in_memory=True) as stage:
        measure(stage, "--rate-only")
    with postgresql_stage("placet_bench_checkpoints") as server:
        if server:
            measure(server)


if __name__ == "__main__":
    main()
