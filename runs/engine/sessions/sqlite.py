"""A session in a SQLite file, or in memory."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..digest import JSONObject
from ..errors import UserError
from ..threads import in_thread
from .finishing import finished
from .pairs import as_json
from .session import SessionABC
from .settings import SessionSettings, checked_limit
from .sqlite_store import SQLiteStore, written


class SQLiteSession(SessionABC):
    """Keeps the items of one conversation in SQLite.

    Tasks and threads may share one session, processes a file; each write is all or
    nothing. SQLite works in a thread, so the loop never waits for a disk.
    """

    def __init__(
        self,
        session_id: str = "default",
        db_path: str | Path = ":memory:",
        sessions_table: str = "agent_sessions",
        messages_table: str = "agent_messages",
        session_settings: SessionSettings | Mapping[str, Any] | None = None,
    ) -> None:
        """Open the session; `:memory:` is a database of this object's own.

        A file may hold many sessions, told apart by `session_id`. Raises UserError
        when the id cannot be stored, the file not opened, or a name is no table's.
        """
        self.session_id = _checked_id(session_id)
        self.session_settings = SessionSettings.of(session_settings)
        self.db_path = db_path
        self.sessions_table = sessions_table
        self.messages_table = messages_table
        self._store = SQLiteStore(db_path, sessions_table, messages_table)
        # Most programs never close a session; its file is closed when it is dropped.
        weakref.finalize(self, self._store.close)

    async def get_items(self, limit: int | None = None) -> list[JSONObject]:
        """Return the newest `limit` items, oldest first.

        None means as many as `session_settings` say, or all. A row that holds no item
        is left out, and does not count.
        """
        if checked_limit(limit) is None:
            limit = SessionSettings.of(self.session_settings).limit
        return await in_thread(self._store.newest, self.session_id, limit)

    async def add_items(self, items: list[Any]) -> None:
        """Append `items`, all or none. Raises UserError when one is no JSON object."""
        await self._append(self.session_id, items)

    async def save_items(self, conversation_id: str | None, items: list[Any]) -> None:
        """Append `items` to the session of that id in the same file; None means this.

        Read them with `SQLiteSession(conversation_id, db_path)`.
        """
        into = self.session_id if conversation_id is None else conversation_id
        await self._append(_checked_id(into), items)

    async def replace_items(self, items: list[Any]) -> None:
        """Put `items` in the place of all this session holds, in one step."""
        texts = [written(as_json(item)) for item in items]
        await finished(in_thread(self._store.replace, self.session_id, texts))

    async def pop_item(self) -> JSONObject | None:
        """Take the newest item away and return it; None when there is none."""
        return await finished(in_thread(self._store.pop, self.session_id))

    async def clear_session(self) -> None:
        """Take all items of this session away."""
        await finished(in_thread(self._store.clear, self.session_id))

    def close(self) -> None:
        """Close the file, once what is under way has ended.

        A session used after it raises UserError.
        """
        self._store.close()

    async def _append(self, session_id: str, items: list[Any]) -> None:
        if not items:
            return
        # Written here and now: what the caller changes afterwards is not stored.
        texts = [written(as_json(item)) for item in items]
        await finished(in_thread(self._store.append, session_id, texts))


def _checked_id(session_id: str) -> str:
    if not isinstance(session_id, str):
        raise UserError(f"A session's id is text, not {session_id!r}.")
    try:
        session_id.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"A session's id must be storable as UTF-8, unlike {session_id!r}."
        ) from error
    return session_id
