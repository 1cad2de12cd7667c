"""What the pages that people wait for take: 10,000 calls wait, and a run is long.

The server's own time with the connection to it, as a reviewer's browser would see it
on this machine. The request that is opened belongs to a run of 10,000 outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from statistics import median

from report import STORES, print_bar, print_head
from stage import Stage, postgresql_stage, sqlite_stage
from stage.served import Server, served

WAITING, OUTPUTS = 10_000, 10_000
TIMES = 15
QUEUE_MS, REQUEST_MS = 200, 100
VIEWS = ("all", "mine", "groups", "due", "high", "snoozed")
OTHERS = ("conversations", "history", "rules", "ops")
LONG_RUN = "01900000-0000-7000-8000-000000000001"
REQUEST = "01900000-0000-7000-8000-0000000003e8"
"""The one in a thousand that belongs to that run."""

MakeStage = Callable[[str], AbstractContextManager[Stage | None]]


def measure(make: MakeStage) -> None:
    """Print the median of each page on one database."""
    with ExitStack() as stack:
        stage = stack.enter_context(make("placet_bench_pages"))
        if stage is None:
            return
        filled = ("fill_queue", str(WAITING), "--events", str(OUTPUTS))
        server = served(stack, stage, stage.output(*filled))
        print(stage.database)
        for view in VIEWS:
            taken = _median(server, f"/?view={view}")
            print_bar(f"ms, the queue's view “{view}”", taken, QUEUE_MS)
        print_bar("ms, the queue searched", _median(server, "/?q=refund"), QUEUE_MS)
        request = _median(server, f"/requests/{REQUEST}/")
        print_bar("ms, the request of a long run", request, REQUEST_MS)
        print(f"  ms, that long run: {_median(server, f'/runs/{LONG_RUN}/'):.1f}")
        for name in OTHERS:
            print(f"  ms, {name}: {_median(server, f'/{name}/'):.1f}")


def _median(server: Server, path: str) -> float:
    server.page_ms(path, holds=b"</html>")  # to warm up
    return median(server.page_ms(path, holds=b"</html>") for _ in range(TIMES))


def main() -> None:
    print_head(f"Pages where {WAITING:,} calls wait", packages=STORES)
    measure(lambda _: sqlite_stage())
    measure(postgresql_stage)


if __name__ == "__main__":
    main()
