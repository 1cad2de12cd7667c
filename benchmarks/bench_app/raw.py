"""The driver alone, on one connection of its own to Django's database."""

from __future__ import annotations

import os
import sqlite3
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from django.db import connection
from django.utils import timezone

from approvals.models import ApprovalRequest, Decision
from runs.models import Run, RunEvent

BEGIN = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "BEGIN"}
MARK = {"sqlite": "?", "postgresql": "%s"}
STORE = (
    f"UPDATE {Run._meta.db_table} SET last_seq = last_seq + 1, "  # noqa: S608
    "head = %s, turn = %s, usage = %s WHERE id = %s RETURNING last_seq"
)
APPEND = (
    f"INSERT INTO {RunEvent._meta.db_table} "  # noqa: S608
    "(run_id, seq, kind, frame, call_key, payload, created_at) "
    "VALUES (%s, %s, %s, %s, %s, %s, %s)"
)
READS = (
    f"SELECT * FROM {Run._meta.db_table} WHERE id = %s",  # noqa: S608
    f"SELECT * FROM {RunEvent._meta.db_table} WHERE run_id = %s ORDER BY seq",  # noqa: S608
    f"SELECT * FROM {ApprovalRequest._meta.db_table} request "  # noqa: S608
    f"JOIN {Decision._meta.db_table} ON request_id = request.id WHERE run_id = %s",
)
PLAIN = (
    "CREATE TABLE IF NOT EXISTS bench_row (id INTEGER PRIMARY KEY, run TEXT, text TEXT)"
)
ADD = "INSERT INTO bench_row (run, text) VALUES (%s, %s)"
ROW_CHARS = 400


class RawDriver:
    """Writes what it is told to, in short transactions of as few statements as can be.

    Its settings are Django's where they cost: write-ahead log, full syncs and foreign
    keys on SQLite, the defaults of the server and of psycopg on PostgreSQL.
    """

    def __init__(self) -> None:
        self._base: Any = _connected()
        self._is_sqlite = connection.vendor == "sqlite"
        mark, self._begin = MARK[connection.vendor], BEGIN[connection.vendor]
        self._store, self._append, self._add = (
            statement.replace("%s", mark) for statement in (STORE, APPEND, ADD)
        )

    def checkpoint(self, run_id: UUID, head: str, usage: str, payload: str) -> None:
        """Store one step of the run in the app's tables; all texts are ready."""
        run = run_id.hex if self._is_sqlite else run_id
        now = self._time(timezone.now())
        execute = self._base.execute
        execute(self._begin)
        [seq] = execute(self._store, (head, 1, usage, run)).fetchone()
        execute(self._append, (run, seq, "item", "", "", payload, now))
        execute("COMMIT")

    def read(self, run_id: UUID) -> int:
        """Read a run, its log and what is decided about it; return how many rows."""
        run = run_id.hex if self._is_sqlite else run_id
        return sum(len(self._base.execute(read, (run,)).fetchall()) for read in READS)

    def commit_rows(self, run: str, count: int) -> None:
        """Add rows to a table without any index, in one commit."""
        execute = self._base.execute
        execute(self._begin)
        for _ in range(count):
            execute(self._add, (run, "x" * ROW_CHARS))
        execute("COMMIT")

    def make_table(self) -> None:
        """Make the table of `commit_rows`."""
        self._base.execute(PLAIN)

    def close(self) -> None:
        self._base.close()

    def _time(self, value: datetime) -> Any:
        return connection.ops.adapt_datetimefield_value(value)


def _connected() -> Any:
    if connection.vendor == "postgresql":
        return psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
    base = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        base.execute(f"PRAGMA {pragma}")
    return base
