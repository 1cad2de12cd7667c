"""A place for a benchmark: a data folder, a database, and processes on them.

Each is made for one benchmark and gone with it. What needs the app's own code is a
management command of `bench_app`, so that each process knows one database.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

BENCHMARKS = Path(__file__).parents[1]
ROOT = BENCHMARKS.parent
SERVER = os.environ.get(
    "TEST_DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/placet"
)
MEMORY = "/dev/shm"  # noqa: S108  folders of our own are made in it
REACH_S = 3
LEAVE_S = 20
Popen = subprocess.Popen


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where the commands of one benchmark run."""

    database: str
    """SQLite or PostgreSQL, and its version."""
    folder: Path
    environment: Mapping[str, str]

    def show(self, *command: str) -> None:
        """Run a management command that prints for itself."""
        subprocess.run(_manage(command), cwd=ROOT, env=self.environment, check=True)

    def output(self, *command: str) -> str:
        """Return what a management command printed."""
        return subprocess.run(
            _manage(command),
            cwd=ROOT,
            env=self.environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout


@contextmanager
def sqlite_stage(*, in_memory: bool = False, **more: str) -> Iterator[Stage]:
    """Yield a migrated SQLite database in a data folder of its own.

    `in_memory`: on a file system in memory, where a sync costs nothing.
    """
    parent = MEMORY if in_memory else None
    with tempfile.TemporaryDirectory(prefix="placet-bench-", dir=parent) as folder:
        name = f"SQLite {sqlite3.sqlite_version}{' in memory' if in_memory else ''}"
        yield _migrated(name, Path(folder), more | {"DATABASE_URL": ""})


@contextmanager
def postgresql_stage(name: str, **more: str) -> Iterator[Stage | None]:
    """Yield a migrated PostgreSQL database of this name; None without a server."""
    try:
        server = psycopg.connect(
            _at("postgres"), autocommit=True, connect_timeout=REACH_S
        )
    except psycopg.OperationalError as error:
        print(f"PostgreSQL is left out: {error}", flush=True)
        yield None
        return
    version = server.info.server_version // 10_000
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
    make = sql.SQL("CREATE DATABASE {}")
    with server, tempfile.TemporaryDirectory(prefix="placet-bench-") as folder:
        server.execute(drop.format(sql.Identifier(name)))
        server.execute(make.format(sql.Identifier(name)))
        try:
            more = more | {"DATABASE_URL": _at(name)}
            yield _migrated(f"PostgreSQL {version}", Path(folder), more)
        finally:
            server.execute(drop.format(sql.Identifier(name)))


@contextmanager
def going(
    *command: str,
    environment: Mapping[str, str] = os.environ,
    under: Sequence[str] = (),
) -> Iterator[tuple[Popen[str], str]]:
    """Yield a management command that goes on, and the line by which it was ready.

    `under`: what runs it, a program that becomes the process itself.
    """
    process = Popen(
        [*under, *_manage(command)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process, process.stdout.readline() if process.stdout else ""
    finally:
        process.terminate()
        try:
            process.communicate(timeout=LEAVE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _migrated(database: str, folder: Path, more: Mapping[str, str]) -> Stage:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "PYTHONPATH": str(BENCHMARKS),
        "PYTHONUNBUFFERED": "1",
        "PLACET_APPS": "bench_app",
        "PLACET_DATA_DIR": str(folder),
        "PLACET_LOG_LEVEL": "WARNING",
        "BENCH_EFFECTS": str(folder / "effects"),
        "BENCH_MARKS": str(folder / "marks"),
        # Of all processes alike, whatever their data folder.
        "PLACET_SECRET_KEY": "only-for-benchmarks-" + "x" * 50,
        **more,
    }
    stage = Stage(database=database, folder=folder, environment=environment)
    stage.show("migrate", "-v0")
    return stage


def _manage(command: tuple[str, ...]) -> list[str]:
    return [sys.executable, "manage.py", *command]


def _at(database: str) -> str:
    """Return the server's address of a database."""
    return urlsplit(SERVER)._replace(path=f"/{database}").geturl()
