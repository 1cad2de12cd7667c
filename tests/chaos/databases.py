"""A database of the harness's own, made and dropped."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import LiteralString

import psycopg
from psycopg import sql

from tests import servers

SQLITE = "sqlite"
POSTGRESQL = "postgresql"
KINDS = (SQLITE, POSTGRESQL)


@contextmanager
def postgresql() -> Iterator[str]:
    """Yield the address of a fresh database; it is dropped in the end."""
    name = f"placet_chaos_{uuid.uuid4().hex[:12]}"
    _ask("CREATE DATABASE {}", name)
    try:
        yield servers.database_url(name)
    finally:
        _ask("DROP DATABASE {} WITH (FORCE)", name)


def drop_connections(url: str, share: float, chance: float) -> int:
    """End the connections to the database of `url` that chance picks; return how many.

    `share` of those there are, beginning at `chance`, both from 0 to 1.
    """
    with psycopg.connect(url, autocommit=True) as own:
        pids = own.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() ORDER BY pid"
        ).fetchall()
        first = int(chance * len(pids))
        chosen = [*pids[first:], *pids[:first]][: max(1, int(share * len(pids)))]
        for (pid,) in chosen:
            own.execute("SELECT pg_terminate_backend(%s)", [pid])
    return len(chosen)


def _ask(command: LiteralString, name: str) -> None:
    maintenance = servers.database_url("postgres")
    with psycopg.connect(maintenance, autocommit=True) as server:
        server.execute(sql.SQL(command).format(sql.Identifier(name)))
