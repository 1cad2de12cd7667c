"""A burst of 500 events to 50 sockets while the layer dies and every socket is lost.

A server on a Redis of the benchmark's own. In the midst of the burst the Redis is
killed and started again, and every socket breaks off and comes back once, after the
last event it saw. What came is then compared with what was written.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import subprocess
import sys
import time

from live.served import Served, folder
from live.sockets import Socket, open_socket
from report import print_exact, print_head

SOCKETS, EVENTS = 50, 500
BREAK_OFF_AFTER = 150
"""Events that a socket has seen when it breaks off."""
DEADLINE_S = 45.0
EVENT = re.compile(r'<li id="block-[^"]+-(\d+)"')
CURSOR = re.compile(r'data-after="(\d+)"')


class Browser:
    """Holds every event that came, and goes on from the last after a break."""

    def __init__(self, served: Served, number: int) -> None:
        self.came: list[int] = []
        self.after = 0
        self.broke_off = asyncio.Event()
        self._served = served
        self._cookie = served.cookies[number]
        self._socket: Socket | None = None
        self._lost = asyncio.Event()

    async def live(self) -> None:
        while True:
            self._lost.clear()
            path = f"/ws/runs/{self._served.run}/?after={self.after}"
            self._socket = await open_socket(
                self._served.port, path, self._cookie, self.take
            )
            await self._lost.wait()

    def take(self, message: str, at: float) -> None:
        if self._lost.is_set():
            return  # it came too late for this browser
        self.came += map(int, EVENT.findall(message))
        self.after = max([self.after, *map(int, CURSOR.findall(message))])
        if self.after >= BREAK_OFF_AFTER and not self.broke_off.is_set():
            self.broke_off.set()
            self._break_off()

    def _break_off(self) -> None:
        assert self._socket is not None
        self._socket.close()
        self._lost.set()


class Redis:
    """The layer."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        program = shutil.which("redis-server")
        assert program, "This benchmark needs redis-server."
        port = ("--port", str(self._port), "--bind", "127.0.0.1")
        self._process = subprocess.Popen(
            [program, *port, "--save", "", "--appendonly", "no"],
            stdout=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


async def burst(served: Served, redis: Redis) -> list[Browser]:
    """Return the browsers once all have everything, or time is up."""
    browsers = [Browser(served, number) for number in range(SOCKETS)]
    living = [asyncio.create_task(browser.live()) for browser in browsers]
    began = time.monotonic()
    writing = asyncio.create_task(
        served.order("write", count=EVENTS, every_s=0, plain=False)
    )
    await asyncio.wait(
        [asyncio.ensure_future(browser.broke_off.wait()) for browser in browsers],
        return_when=asyncio.FIRST_COMPLETED,
    )
    redis.kill()
    await asyncio.sleep(0.5)
    redis.start()
    await writing
    while any(browser.after < EVENTS for browser in browsers):
        if time.monotonic() - began > DEADLINE_S:
            break
        await asyncio.sleep(0.05)
    print(f"  {EVENTS} events, all there after {time.monotonic() - began:.1f} s")
    for task in living:
        task.cancel()
    return browsers


def report(browsers: list[Browser]) -> bool:
    delivered = sum(len(set(browser.came)) for browser in browsers)
    doubles = sum(len(b.came) - len(set(b.came)) for b in browsers)
    out_of_order = sum(browser.came != sorted(browser.came) for browser in browsers)
    came_back = sum(browser.broke_off.is_set() for browser in browsers)
    print_exact("sockets that broke off and came back", came_back, SOCKETS)
    print_exact("share delivered", delivered / (EVENTS * SOCKETS), 1)
    print_exact("doubles", doubles, 0)
    print_exact("sockets with a wrong order", out_of_order, 0)
    return (delivered, doubles, out_of_order) == (EVENTS * SOCKETS, 0, 0)


async def main() -> bool:
    print_head(
        f"Live burst: {EVENTS} events to {SOCKETS} sockets; Redis killed and started, "
        "every socket lost once",
        packages=("daphne", "channels", "channels-redis", "redis", "autobahn"),
    )
    redis = Redis()
    with folder() as database:
        served = Served(database, REDIS_URL=redis.url)
        try:
            return report(await burst(served, redis))
        finally:
            served.kill()
            redis.kill()


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main()) else 1)
