"""A session over a conversation's log: for programs that run agents themselves.

    session = ConversationSession(conversation.pk)
    result = await Runner.run(agent, "And the refund?", session=session)

It reads the rows that the conversation's runs have written and appends to them; an
item is stored once, whoever reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn
from uuid import UUID

from channels.db import database_sync_to_async

from .engine import UserError
from .engine.digest import JSONObject
from .engine.sessions import SessionABC, SessionSettings, storable
from .engine.sessions.pairs import as_json
from .engine.sessions.settings import checked_limit
from .history import history_before
from .models import Conversation, EventKind, Run, RunEvent
from .services.record import record_items


class ConversationSession(SessionABC):
    """What was said in a conversation, as the model of its next run reads it.

    With `run_id`, the session of a run that the app itself executes: it reads what
    came before that run, and stores nothing, as the run's items are in the log.
    """

    def __init__(
        self,
        conversation_id: UUID | str,
        *,
        run_id: UUID | str | None = None,
        session_settings: SessionSettings | Mapping[str, Any] | None = None,
    ) -> None:
        """Name the conversation. Raises ValueError when that is no id."""
        self._conversation_id = UUID(str(conversation_id))
        self._run_id = UUID(str(run_id)) if run_id is not None else None
        self.session_id = str(self._conversation_id)
        self.session_settings = SessionSettings.of(session_settings)

    async def get_items(self, limit: int | None = None) -> list[JSONObject]:
        """Return the newest `limit` items, oldest first.

        None means as many as `session_settings` say, or all. Calls of an unfinished
        run that wait for their outputs are left out. Raises Conversation.DoesNotExist
        or Run.DoesNotExist.
        """
        if checked_limit(limit) is None:
            limit = SessionSettings.of(self.session_settings).limit
        items: list[JSONObject] = await database_sync_to_async(self._read)()
        return items if limit is None else items[max(len(items) - limit, 0) :]

    async def add_items(self, items: list[Any]) -> None:
        """Append `items` to the log, all or none.

        Raises ConversationBusy while a run of the conversation is unfinished,
        UserError on what no log can keep, Conversation.DoesNotExist.
        """
        rows = [as_json(item) for item in items]
        if rows and self._run_id is None:
            await database_sync_to_async(record_items)(self._conversation_id, rows)

    async def pop_item(self) -> NoReturn:
        """Raise UserError: what was said stays said."""
        _refuse()

    async def clear_session(self) -> NoReturn:
        """Raise UserError: what was said stays said."""
        _refuse()

    def _read(self) -> list[JSONObject]:
        conversation = Conversation.objects.get(pk=self._conversation_id)
        if self._run_id is not None:
            return history_before(conversation.runs.get(pk=self._run_id))
        latest = conversation.runs.order_by("-id").first()
        if latest is None or not latest.is_open:
            return history_before(Run(conversation=conversation, previous=latest))
        before = history_before(latest)
        rows = RunEvent.objects.filter(run=latest, kind=EventKind.ITEM, frame="")
        said = [row.data["raw"] for row in rows.order_by("seq")]
        return [*before, *storable(said, before)]


def _refuse() -> NoReturn:
    raise UserError(
        "A conversation's log is only ever appended to: what people decided refers to "
        "it. Open a new conversation to begin afresh."
    )
