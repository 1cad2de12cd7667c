"""A database of the harness's own, made and dropped; none of anybody else's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import LiteralString
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

SQLITE = "sqlite"
POSTGRESQL = "postgresql"
KINDS = (SQLITE, POSTGRESQL)
DEFAULT_URL = "postgresql://postgres@127.0.0.1:5432/placet"
PATIENCE_S = 5
PREFIX = "placet_chaos_"


class Unreachable(Exception):
    """There is no PostgreSQL at the address; the text says so."""


def server_url() -> str:
    return os.environ.get("TEST_DATABASE_URL") or DEFAULT_URL


def place() -> str:
    """Return where the server should be, without what may be secret."""
    address = urlsplit(server_url())
    return f"{address.hostname}:{address.port or 5432}"


def left_by_the_dead() -> list[str]:
    """Return the databases of harnesses of this machine that have ended."""
    names = _ask("SELECT datname FROM pg_database", "")
    ours = [name for (name,) in names if name.startswith(PREFIX)]
    alive = [f"{PREFIX}{pid}" for pid in os.listdir("/proc")]
    return sorted(set(ours) - set(alive))


@contextmanager
def postgresql() -> Iterator[str]:
    """Yield the address of a fresh database. Raises Unreachable."""
    name = f"{PREFIX}{os.getpid()}"
    for abandoned in left_by_the_dead():
        _ask("DROP DATABASE IF EXISTS {} WITH (FORCE)", abandoned)
    _ask("CREATE DATABASE {}", name)
    try:
        yield urlunsplit(urlsplit(server_url())._replace(path=f"/{name}"))
    finally:
        _ask("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


def drop_connections(url: str, share: float, chance: float) -> int:
    """End the connections to the database of `url` that chance picks; return how many.

    `share` of those there are, beginning at `chance`, both from 0 to 1.
    """
    with psycopg.connect(url, autocommit=True, connect_timeout=PATIENCE_S) as own:
        pids = own.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() ORDER BY pid"
        ).fetchall()
        first = int(chance * len(pids))
        chosen = [*pids[first:], *pids[:first]][: max(1, int(share * len(pids)))]
        for (pid,) in chosen:
            own.execute("SELECT pg_terminate_backend(%s)", [pid])
    return len(chosen)


def _ask(command: LiteralString, name: str) -> list[tuple[str, ...]]:
    admin = urlunsplit(urlsplit(server_url())._replace(path="/postgres"))
    try:
        with psycopg.connect(
            admin, autocommit=True, connect_timeout=PATIENCE_S
        ) as server:
            query = sql.SQL(command)
            told = server.execute(query.format(sql.Identifier(name)) if name else query)
            return told.fetchall() if told.description else []
    except psycopg.OperationalError as error:
        raise Unreachable(f"No PostgreSQL at {place()}: {error}") from error
