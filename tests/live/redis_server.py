"""A Redis of a test's own, to be killed, stopped and started again."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time

import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests import servers

START_S = 10


def need_program() -> str:
    """Return where `redis-server` is; leaves the test out where it is not."""
    program = shutil.which("redis-server")
    if program is None:
        leave = pytest.fail if servers.REQUIRED else pytest.skip
        leave("There is no redis-server to start and kill.")
    return str(program)


class RedisServer:
    """Listens once made."""

    def __init__(self) -> None:
        self._program = need_program()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port: int = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        options = {"port": str(self._port), "save": "", "appendonly": "no"}
        words = [
            word for name, value in options.items() for word in (f"--{name}", value)
        ]
        self._process = subprocess.Popen(
            [self._program, *words, "--bind", "127.0.0.1"], stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_S
        while not self._answers():
            assert time.monotonic() < deadline, "The Redis of the test does not answer."

    def kill(self) -> None:
        """End it as a power cut does."""
        self._process.kill()
        self._process.wait()

    def hang(self) -> None:
        """Have it hold its connections and say nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def cut(self, *kinds: str) -> None:
        """End every connection to it, or those of these kinds: pubsub, normal."""
        with Redis.from_url(self.url) as client:
            for kind in kinds or ("pubsub", "normal"):
                client.execute_command("CLIENT", "KILL", "TYPE", kind)

    def _answers(self) -> bool:
        try:
            with Redis.from_url(self.url, socket_timeout=1) as client:
                return bool(client.ping())
        except RedisError:
            return False
