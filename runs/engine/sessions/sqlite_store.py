"""Sessions' items in a SQLite file, oldest first: plain sync calls, from any thread.

The tables are those of the OpenAI Agents SDK, so that either reads the other's files.
Writers of other threads and processes are waited for. Items are JSON in ASCII: a NUL
or a lone surrogate that a model wrote comes back as it was.
"""

from __future__ import annotations

import json
import logging
import re
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ..digest import JSONObject
from ..errors import UserError

BUSY_TIMEOUT_S = 20.0
"""How long a writer waits for another before sqlite3.OperationalError."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_log = logging.getLogger(__name__)


class SQLiteStore:
    """One connection; whoever uses it waits for whoever does already."""

    def __init__(self, path: str | Path, sessions: str, messages: str) -> None:
        """Open the file; `sessions` and `messages` name the tables.

        Raises UserError when it cannot be opened or a name is none for a table.
        """
        self._sql = _statements(sessions, messages)
        self._lock = threading.Lock()
        self._is_ready = False
        self._connection: sqlite3.Connection | None = _open(path)

    def newest(self, session_id: str, limit: int | None) -> list[JSONObject]:
        """Return the newest `limit` items, oldest first; broken rows do not count."""
        found: list[JSONObject] = []
        with self._open_connection() as connection:
            rows = connection.execute(self._sql["newest"], (session_id,))
            with closing(rows):
                for _, text in rows:
                    if limit is not None and len(found) == limit:
                        break
                    if (item := _read(text)) is not None:
                        found.append(item)
        return found[::-1]

    def append(self, session_id: str, texts: Sequence[str]) -> None:
        """Append items written by `written`, all or none of them."""
        with self._writing() as connection:
            self._append(connection, session_id, texts)

    def replace(self, session_id: str, texts: Sequence[str]) -> None:
        """Put items written by `written` in the place of all there are."""
        with self._writing() as connection:
            connection.execute(self._sql["clear"], (session_id,))
            self._append(connection, session_id, texts)

    def pop(self, session_id: str) -> JSONObject | None:
        """Take the newest item away, and broken rows after it; None when all are."""
        with self._writing() as connection:
            while True:
                rows = connection.execute(self._sql["newest"], (session_id,))
                with closing(rows):
                    row = rows.fetchone()
                if row is None:
                    return None
                connection.execute(self._sql["cut"], (session_id, row[0]))
                if (item := _read(row[1])) is not None:
                    return item

    def clear(self, session_id: str) -> None:
        with self._writing() as connection:
            connection.execute(self._sql["clear"], (session_id,))
            connection.execute(self._sql["forget"], (session_id,))

    def close(self) -> None:
        """Close the file once nobody uses it any more; again, does nothing."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _append(
        self, connection: sqlite3.Connection, session_id: str, texts: Sequence[str]
    ) -> None:
        connection.execute(self._sql["begin"], (session_id,))
        connection.executemany(
            self._sql["append"], [(session_id, text) for text in texts]
        )
        connection.execute(self._sql["touch"], (session_id,))

    @contextmanager
    def _open_connection(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._connection is None:
                raise UserError("The SQLite session is closed; make a new one.")
            if not self._is_ready:
                self._make_ready(self._connection)
                self._is_ready = True
            yield self._connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._open_connection() as connection, _transaction(connection):
            yield connection

    def _make_ready(self, connection: sqlite3.Connection) -> None:
        _use_wal(connection)
        with _transaction(connection):
            for statement in ("make_sessions", "make_messages", "make_index"):
                connection.execute(self._sql[statement])


def written(item: Any) -> str:
    """Return an item as text. Raises UserError when it is no JSON."""
    try:
        return json.dumps(item, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"A session keeps JSON; an item is none: {error}") from error


def _read(text: Any) -> JSONObject | None:
    """Return the item of a row; None, and a line in the log, when it is broken."""
    try:
        item = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        item = None
    if isinstance(item, dict):
        return item
    _log.warning("A row of a SQLite session holds no item and is left out.")
    return None


def _open(path: str | Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise UserError(
            f"The session's file {str(path)!r} cannot be opened: {error}."
        ) from error
    # Bytes, because text that is no UTF-8 would fail the query, not only its row.
    connection.text_factory = bytes
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    # Changing the journal does not wait for others by itself, whatever the timeout.
    end = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
            return
        except sqlite3.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    # IMMEDIATE: one that only turns out to write later fails at once, unwaited.
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _statements(sessions: str, messages: str) -> dict[str, str]:
    for name in (sessions, messages):
        if not _NAME.fullmatch(name):
            raise UserError(
                f"{name!r} is no name for a table; use letters, digits and underscores."
            )
    if sessions.lower() == messages.lower():
        raise UserError(
            f"Sessions and messages need a table each, not {sessions!r} both."
        )
    names = {"{sessions}": f'"{sessions}"', "{messages}": f'"{messages}"'}
    names["{index}"] = f'"idx_{messages}_session_id"'
    return {use: _named(text, names) for use, text in _TEMPLATES.items()}


def _named(text: str, names: dict[str, str]) -> str:
    for placeholder, name in names.items():
        text = text.replace(placeholder, name)
    return text


_TEMPLATES = {
    "make_sessions": """CREATE TABLE IF NOT EXISTS {sessions} (
        session_id TEXT PRIMARY KEY,
        created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
        updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)""",
    "make_messages": """CREATE TABLE IF NOT EXISTS {messages} (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        session_id TEXT NOT NULL
            REFERENCES {sessions} (session_id) ON DELETE CASCADE,
        message_data TEXT NOT NULL,
        created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)""",
    "make_index": """CREATE INDEX IF NOT EXISTS {index}
        ON {messages} (session_id, id)""",
    "newest": """SELECT id, message_data FROM {messages}
        WHERE session_id = ? ORDER BY id DESC""",
    "begin": "INSERT OR IGNORE INTO {sessions} (session_id) VALUES (?)",
    "append": "INSERT INTO {messages} (session_id, message_data) VALUES (?, ?)",
    "touch": """UPDATE {sessions} SET updated_at = CURRENT_TIMESTAMP
        WHERE session_id = ?""",
    "cut": "DELETE FROM {messages} WHERE session_id = ? AND id >= ?",
    "clear": "DELETE FROM {messages} WHERE session_id = ?",
    "forget": "DELETE FROM {sessions} WHERE session_id = ?",
}
