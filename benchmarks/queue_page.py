"""The queue and a request at 1,000,000 requests, beside the same at 10,000.

Two servers on two databases are asked by turns, as a reviewer's browser asks. The
newest tenth of the requests waits, the others are decided; an argument sets another
share, as 1 for all of them. Both sizes show as many rows: 50 that wait and 10 decided.
The request is the newest, of a tool that all the others are of.
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
SLICES, TIMES = 8, 5
AT_MOST = 1.3
ROW, CARD = b'<li id="request-', b'id="card-'
NEWEST = "/requests/01900000-0000-7000-8000-{:012x}/"

MakeStage = Callable[[str], AbstractContextManager[Stage | None]]


def compare(make: MakeStage, share: float) -> None:
    """Print what the page takes at both sizes, where `share` of the requests waits."""
    with ExitStack() as stack:
        servers = {}
        for count in (FEW, MANY):
            stage = stack.enter_context(make(f"placet_bench_queue_{count}"))
            if stage is None:
                return
            session = stage.output("fill_queue", str(count), "--pending", str(share))
            servers[count] = served(stack, stage, session)
            database = stage.database
        print(f"{database}, {share:.0%} of them waiting", flush=True)
        _compare("the queue", servers, "/", holds=ROW, times=50)
        _compare("a request", servers, NEWEST, holds=CARD, times=1)


def _compare(
    name: str, servers: dict[int, Server], path: str, *, holds: bytes, times: int
) -> None:
    """Print the median milliseconds of a page of both servers, asked by turns."""
    taken: dict[int, list[float]] = {count: [] for count in servers}
    for slice_ in range(SLICES + 1):
        for count, server in servers.items():
            at = path.format(count)
            each = [server.page_ms(at, holds=holds, times=times) for _ in range(TIMES)]
            if slice_:  # the first is to warm up
                taken[count] += each
    few, many = median(taken[FEW]), median(taken[MANY])
    print(f"  {name}: {few:.1f} ms at {FEW:,}, {many:.1f} ms at {MANY:,}")
    print_bar(f"{name}, p50 at 1,000,000 beside 10,000", many / few, AT_MOST)


def main() -> None:
    print_head(
        f"Queue and request at {MANY:,} requests and at {FEW:,}", packages=STORES
    )
    share = float(sys.argv[1]) if len(sys.argv) > 1 else WAITING
    compare(lambda _: sqlite_stage(), share)
    compare(postgresql_stage, share)


if __name__ == "__main__":
    main()
