"""The queue's page at 1,000,000 requests beside the same page at 10,000.

Two servers on two databases are asked by turns, as a reviewer's browser asks. The
newest tenth of the requests waits, the others are decided; an argument sets another
share, as 1 for all of them. Both sizes show as many rows: 50 that wait and 10 decided.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from statistics import median

from report import STORES, print_bar, print_head
from stage import Stage, postgresql_stage, sqlite_stage
from stage.served import Server, served

FEW, MANY = 10_000, 1_000_000
WAITING = 0.1
SLICES, PAGES = 8, 5
AT_MOST = 1.3
ROW = b'<li id="request-'

MakeStage = Callable[[str], AbstractContextManager[Stage | None]]


def compare(make: MakeStage, share: float) -> None:
    """Print what the page takes at both sizes, where `share` of the requests waits."""
    with ExitStack() as stack:
        servers = []
        for count in (FEW, MANY):
            stage = stack.enter_context(make(f"placet_bench_queue_{count}"))
            if stage is None:
                return
            session = stage.output("fill_queue", str(count), "--pending", str(share))
            servers.append(served(stack, stage, session))
            database = stage.database
        few, many = _measured(*servers)
    print(
        f"{database}, {share:.0%} of them waiting: "
        f"{few:.1f} ms at {FEW:,}, {many:.1f} ms at {MANY:,}"
    )
    print_bar("p50 at 1,000,000 beside 10,000", many / few, AT_MOST)


def _measured(few: Server, many: Server) -> tuple[float, float]:
    """Return the median milliseconds of both servers, asked by turns."""
    taken: dict[int, list[float]] = {few.port: [], many.port: []}
    for slice_ in range(SLICES + 1):
        for server in (few, many):
            times = [server.page_ms(holds=ROW, times=50) for _ in range(PAGES)]
            if slice_:  # the first is to warm up
                taken[server.port] += times
    return median(taken[few.port]), median(taken[many.port])


def main() -> None:
    print_head(f"Queue page at {MANY:,} requests and at {FEW:,}", packages=STORES)
    share = float(sys.argv[1]) if len(sys.argv) > 1 else WAITING
    compare(lambda _: sqlite_stage(), share)
    compare(postgresql_stage, share)


if __name__ == "__main__":
    main()
