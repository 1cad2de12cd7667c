"""The server of a benchmark, a process of its own; started and ordered about from here.

    python -m live.served PORT

It serves the app's own sockets and, for comparison, `/ws/plain/`: a consumer that is
itself a member of a group of the channel layer and sends on what comes there.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")


def folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder for a database: in memory if it can be, to measure no disk."""
    memory = Path("/dev/shm")  # noqa: S108  whose name nobody else can take
    return tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)


class Served:
    """A server as its starter sees it."""

    def __init__(self, data_dir: str, *, port: int = 0, **environment: str) -> None:
        self._environment = {
            **os.environ,
            "PLACET_DATA_DIR": data_dir,
            "PLACET_LOG_LEVEL": "ERROR",
            **environment,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "live.served", str(port)],
            cwd=Path(__file__).parents[1],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        told = self._answer()
        self.port: int = told["port"]
        self.run: str = told["run"]
        self.cookies: list[str] = told["cookies"]

    async def order(self, what: str, **how: Any) -> dict[str, Any]:
        """Have the server do something; return its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **how}) + "\n")
        self._process.stdin.flush()
        return await asyncio.to_thread(self._answer)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("The server of the benchmark has ended.")
        answer: dict[str, Any] = json.loads(line)
        return answer


def serve(port: int) -> None:
    """Be the server."""
    from runs.live.server import Server  # isort: skip  # first: it installs the reactor
    import django

    django.setup()
    from channels.auth import AuthMiddlewareStack
    from channels.routing import ProtocolTypeRouter, URLRouter
    from channels.security.websocket import AllowedHostsOriginValidator
    from django.core.management import call_command
    from django.urls import path
    from twisted.internet import reactor

    call_command("migrate", verbosity=0)
    from config.sockets import urlpatterns

    from .orders import Orders, PlainConsumer, make_world

    world = make_world()
    loop = reactor._asyncioEventloop
    orders = Orders(world.run)
    plain = path("ws/plain/", PlainConsumer.as_asgi())
    sockets = URLRouter([plain, *urlpatterns])

    def say(answer: dict[str, Any]) -> None:
        print(json.dumps(answer), flush=True)

    def listening(_: str, port: int) -> None:
        say({"port": port, "run": str(world.run), "cookies": world.cookies})
        threading.Thread(target=read, daemon=True).start()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(obey_line, line)

    tasks: set[asyncio.Task[None]] = set()

    def keep(work: Coroutine[Any, Any, None]) -> None:
        task = loop.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def obey_line(line: str) -> None:
        keep(obey(json.loads(line)))

    async def obey(order: dict[str, Any]) -> None:
        do = getattr(orders, order.pop("do"))
        say(await do(**order))

    Server(
        ProtocolTypeRouter(
            {"websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(sockets))}
        ),
        host="127.0.0.1",
        port=port,
        ready=lambda: keep(orders.begin()),
        listening=listening,
    ).run()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
