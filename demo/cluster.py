"""A set of several processes on one machine: two serve pages, three run runs.

`make cluster` starts it, to see what many machines do. It makes the database when it is
missing and may be made, migrates it and seeds the demo. Whoever dies later is told of
and stays dead, so that one sees the others go on; whoever does not even start ends all.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import psycopg
import redis
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier

ROOT = Path(__file__).resolve().parents[1]
DEFAULTS = {
    "DATABASE_URL": "postgresql://127.0.0.1:5432/placet",
    "REDIS_URL": "redis://127.0.0.1:6379/0",
}
WEBS, WORKERS = 2, 3
NAME = "cluster"
READY = ("Placet serves on", "Placet works")
REACH_S = 5
LINE_BYTES = 2**24
# `timeout` and others signal a process and then its group, which is one wish.
SAME_SIGNAL_S = 1.0
ALONE = "Without it Placet runs in one process: make demo"


class Member:
    """One process of the set; its lines are shown under its name."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()
        self._process = process
        self._following = asyncio.create_task(self._follow())

    @classmethod
    async def start(cls, name: str, *command: str) -> Member:
        """Start `manage.py command`, out of reach of the terminal's Ctrl-C.

        Ctrl-C goes to a whole process group: each member would get it beside our own
        signal, and a second one cuts it off.
        """
        process = await asyncio.create_subprocess_exec(
            *manage(*command),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            limit=LINE_BYTES,
            process_group=0,
        )
        return cls(name, process)

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def _follow(self) -> None:
        stream = self._process.stdout
        assert stream is not None  # noqa: S101  # it was asked for
        say(self.name, f"process {self._process.pid}")
        async for line in stream:
            text = line.decode(errors="replace").rstrip("\n")
            say(self.name, text)
            if text.startswith(READY):
                self.ready.set()
        say(self.name, f"ended with code {await self._process.wait()}")
        self.ended.set()


async def run(port: int) -> int:
    """Run the set until a signal, or until nobody is left; return the exit code."""
    asked, insisted = on_signals()
    members = [
        await Member.start(name, *command) for name, command in commands(port).items()
    ]
    ready = [member.ready for member in members]
    ended = [member.ended for member in members]
    await first(asked.wait(), every(ready), *(event.wait() for event in ended))
    if asked.is_set() or not all(event.is_set() for event in ready):
        say(NAME, "does not go on")
    else:
        say(NAME, "all are up; end all with Ctrl-C, or one with kill -9 and its number")
        await first(asked.wait(), every(ended))
    code = 0 if asked.is_set() else 1
    for member in members:
        member.send(signal.SIGTERM)
    await first(every(ended), insisted.wait())
    for member in members:
        member.send(signal.SIGKILL)
    await every(ended)
    return code


def on_signals() -> tuple[asyncio.Event, asyncio.Event]:
    """Return what the first and the second signal to end set."""
    loop, asked, insisted = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    first_at = 0.0

    def signalled() -> None:
        nonlocal first_at
        if not asked.is_set():
            say(NAME, "ends in order; once more Ctrl-C ends at once")
            first_at = loop.time()
            asked.set()
        elif loop.time() - first_at > SAME_SIGNAL_S:
            insisted.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, signalled)
    return asked, insisted


async def every(events: list[asyncio.Event]) -> None:
    """Return once all of them are set."""
    for event in events:
        await event.wait()


async def first(*waits: Coroutine[Any, Any, Any]) -> None:
    """Return once one of them is over."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def commands(port: int) -> dict[str, tuple[str, ...]]:
    """Return the command of each member by its name; with port 0 any free ones."""
    webs = {
        f"web-{n + 1}": ("serve", "--no-runners", "--port", str(port and port + n))
        for n in range(WEBS)
    }
    return webs | {f"worker-{n + 1}": ("worker",) for n in range(WORKERS)}


def manage(*command: str) -> list[str]:
    return [sys.executable, "manage.py", *command]


def say(name: str, text: str) -> None:
    print(f"{name:9}| {text}", flush=True)


def require_redis(url: str) -> None:
    """Exit with what to do when no Redis answers there."""
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=REACH_S) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        sys.exit(
            f"REDIS_URL leads to no Redis: {error}\n"
            f"Start one there, or name another: REDIS_URL={DEFAULTS['REDIS_URL']}\n"
            f"{ALONE}"
        )


def require_database(url: str) -> None:
    """Make the database when it is missing; exit with what to do when it cannot be."""
    try:
        try:
            connect(url).close()
        except psycopg.OperationalError:
            make_database(url)
        if is_in_use(url):
            sys.exit(
                "DATABASE_URL leads to a database that is no demo's, and the demo's "
                "people have passwords that everyone knows. Name an empty database."
            )
    except psycopg.Error as error:
        sys.exit(
            f"DATABASE_URL leads to no database: {error}\n"
            "Start a PostgreSQL there and make the database (createdb), or name "
            f"another: DATABASE_URL=postgresql://user:password@host:5432/name\n{ALONE}"
        )


def connect(url: str, name: str | None = None) -> psycopg.Connection:
    """Connect to the database at `url`, or to the one called `name` on its server."""
    return psycopg.connect(url, autocommit=True, connect_timeout=REACH_S, dbname=name)


def make_database(url: str) -> None:
    """Make the database if the server is there and lacks it."""
    name = str(conninfo_to_dict(url).get("dbname", ""))
    with connect(url, "postgres") as server:
        found = server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
        if not found.fetchone():
            server.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
            say(NAME, f"made the database {name}")


def is_in_use(url: str) -> bool:
    """Say whether something else than this demo has tables there."""
    with connect(url) as database:
        tables = database.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
        ).fetchall()
    return bool(tables) and ("demo_effect",) not in tables


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="The next one as well.")
    port: int = parser.parse_args().port
    for name, default in DEFAULTS.items():
        os.environ.setdefault(name, default)
    os.environ |= {"PLACET_DEMO": "true", "PYTHONUNBUFFERED": "1"}
    require_redis(os.environ["REDIS_URL"])
    require_database(os.environ["DATABASE_URL"])
    for command in (["migrate", "--verbosity", "0"], ["seed_demo"]):
        if code := subprocess.run(manage(*command), cwd=ROOT).returncode:  # noqa: S603
            return code
    return asyncio.run(run(port))


if __name__ == "__main__":
    sys.exit(main())
