"""A database of the harness's own, made and dropped; none of anybody else's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

SQLITE = "sqlite"
POSTGRESQL = "postgresql"
KINDS = (SQLITE, POSTGRESQL)
DEFAULT_URL = "postgresql://postgres@127.0.0.1:5432/placet"
PATIENCE_S = 5


class Unreachable(Exception):
    """There is no PostgreSQL at the address; the text says so."""


def server_url() -> str:
    return os.environ.get("TEST_DATABASE_URL") or DEFAULT_URL


@contextmanager
def postgresql() -> Iterator[str]:
    """Yield the address of a fresh database. Raises Unreachable."""
    name = f"placet_chaos_{os.getpid()}"
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


def _ask(command: str, name: str) -> None:
    admin = urlunsplit(urlsplit(server_url())._replace(path="/postgres"))
    try:
        with psycopg.connect(
            admin, autocommit=True, connect_timeout=PATIENCE_S
        ) as server:
            server.execute(sql.SQL(command).format(sql.Identifier(name)))
    except psycopg.OperationalError as error:
        raise Unreachable(f"No PostgreSQL at {server_url()}: {error}") from error
