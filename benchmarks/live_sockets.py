"""How long an event takes from its commit to a browser: 500 sockets, 20 events/s.

Beside our server, in the same run and by turns, a plain consumer: each socket a member
of a group, each event rendered once and sent to the group. Same server class, same
middleware, same messages; two processes of the same program, of which one rests.

Both use the in-memory layer: for the plain consumer it is the shorter way, with no
other process between `group_send` and the sockets.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from statistics import median, quantiles

from live.served import Served, folder
from live.sockets import Socket, open_socket
from report import print_bar, print_head

SOCKETS, SLICES, EVENTS, EVERY_S = 500, 3, 40, 0.05
AT_ONCE = 25
SETTLE_S = 1.0
CURSOR = re.compile(r'data-after="(\d+)"')


class Watcher:
    """Takes what comes to one socket: which event, and when."""

    def __init__(self) -> None:
        self.seen = 0
        self.came: dict[int, float] = {}

    def take(self, message: str, at: float) -> None:
        for found in CURSOR.findall(message):
            for seq in range(self.seen + 1, int(found) + 1):
                self.came[seq] = at
            self.seen = max(self.seen, int(found))


class Side:
    """One of the two servers, with its browsers."""

    def __init__(self, name: str, folder: str) -> None:
        self.name = name
        self.plain = name == "plain"
        self.served = Served(folder)
        self.watchers = [Watcher() for _ in range(SOCKETS)]
        self.sockets: list[Socket] = []

    async def connect(self) -> None:
        path = "/ws/plain/" if self.plain else f"/ws/runs/{self.served.run}/"
        for first in range(0, SOCKETS, AT_ONCE):
            some = range(first, first + AT_ONCE)
            self.sockets += await asyncio.gather(
                *(self._open(path, number) for number in some)
            )

    async def _open(self, path: str, number: int) -> Socket:
        cookie = self.served.cookies[number]
        return await open_socket(
            self.served.port, path, cookie, self.watchers[number].take
        )

    async def slice(self) -> float:
        """Return what an event took to a socket, the median; print more about it."""
        order = {"count": EVENTS, "every_s": EVERY_S, "plain": self.plain}
        told = await self.served.order("write", **order)
        committed: dict[int, float] = dict(told["committed"])
        await self._arrive(max(committed))
        took = [
            watcher.came[seq] - at
            for watcher in self.watchers
            for seq, at in committed.items()
            if seq in watcher.came
        ]
        came = len(took) / len(committed) / SOCKETS
        cpu_ms = told["cpu_s"] / len(committed) * 1000
        print(
            f"{self.name:6} {ms(took)}, came {came:.1%}, CPU {cpu_ms:.0f} ms an event"
        )
        return median(took)

    async def _arrive(self, last: int) -> None:
        """Return once all has come, or nothing more comes."""
        before = -1
        while any(watcher.seen < last for watcher in self.watchers):
            now = sum(len(watcher.came) for watcher in self.watchers)
            if now == before:
                return
            before = now
            await asyncio.sleep(SETTLE_S)

    def end(self) -> None:
        for socket in self.sockets:
            socket.close()
        self.served.kill()


def ms(took: Iterable[float]) -> str:
    cuts = quantiles(took, n=100)
    return f"p50 {cuts[49] * 1000:7.1f} ms, p99 {cuts[98] * 1000:7.1f} ms"


async def main() -> None:
    print_head(
        f"Live sockets: {SOCKETS} at {1 / EVERY_S:g} events a second, from commit to "
        f"socket; median of {SLICES} slices of {EVENTS} events, in-memory layer",
        packages=("django", "daphne", "channels", "autobahn"),
    )
    with folder() as one, folder() as two:
        sides = [Side("ours", one), Side("plain", two)]
        try:
            p50 = await measured(sides)
        finally:
            for side in sides:
                side.end()
    print_bar(
        "p50 of ours beside the plain consumer's", p50["ours"] / p50["plain"], 0.2
    )


async def measured(sides: list[Side]) -> dict[str, float]:
    for side in sides:
        await side.connect()
        print("Not counted, to be warm:")
        await side.slice()
    slices: dict[str, list[float]] = {side.name: [] for side in sides}
    for _ in range(SLICES):
        for side in sides:
            slices[side.name].append(await side.slice())
    return {name: median(values) for name, values in slices.items()}


if __name__ == "__main__":
    asyncio.run(main())
