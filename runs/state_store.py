"""Run states of programs that run agents themselves, kept on the app's database.

store = RunStateStore(agent=agent, session_id="order-41")
try:
    run_input = await store.load()
except FileNotFoundError:
    run_input = "Refund order 41"
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from channels.db import database_sync_to_async
from django.utils import timezone

from . import codec
from .engine import Agent, InvalidRunState, RunState, UserError
from .engine.helpers import load_state_with_migration
from .engine.helpers.secrecy import decrypt_text, encrypt_text, is_encrypted
from .models import SavedState
from .services import saved_states

T = TypeVar("T")
MAX_KEY = SavedState._meta.get_field("key").max_length or 0


class RunStateStore:
    """Keeps one state for each session: the newest that was saved and not cleared."""

    def __init__(
        self,
        agent: Agent[Any],
        session_id: str | None = None,
        *,
        encryption_key: str | bytes | None = None,
        context_serializer: Callable[[Any], Any] | None = None,
        context_deserializer: Callable[[Any], Any] | None = None,
        strict_context: bool = False,
    ) -> None:
        """`agent` is the root agent; without a `session_id` one is made up.

        With an `encryption_key` (`new_state_key()`) states are stored encrypted, bound
        to their row, and a state that is not is refused. The context's functions are
        those of `RunState.to_json` and `from_json`. Raises UserError on an id that
        cannot be stored.
        """
        self.agent = agent
        self.session_id = uuid.uuid4().hex if session_id is None else session_id
        self._key = encryption_key
        self._written = partial(
            RunState.to_json,
            context_serializer=context_serializer,
            strict_context=strict_context,
        )
        self._context_deserializer = context_deserializer
        self._is_closed = False
        _check_key(self.session_id)

    async def save(self, state: RunState[Any]) -> None:
        """Store the state in the place of the one before.

        Raises TypeError when it is no RunState, and what `RunState.to_json` raises.
        """
        if not isinstance(state, RunState):
            raise TypeError(
                f"Save a RunState, as result.to_state(); not {type(state).__name__}."
            )
        data = self._written(state)
        write = partial(self._write, data)
        await self._ask(saved_states.save, self.session_id, self.agent.name, write)

    async def load(self) -> RunState[Any]:
        """Return the state, migrated to the current schema.

        Raises FileNotFoundError when none is stored; RunStateVersionError,
        InvalidRunState and UserError as `RunState.from_json` does, and InvalidRunState
        when it is not encrypted as it should be.
        """
        stored = await self._ask(saved_states.load, self.session_id)
        if stored is None:
            raise FileNotFoundError(
                f"No state is saved for session {self.session_id!r}; begin with an "
                "input instead."
            )
        return await load_state_with_migration(
            self._read(stored),
            self.agent,
            context_deserializer=self._context_deserializer,
        )

    async def clear(self) -> None:
        """Take the state out of use. Nothing is deleted: `delete_before` does that."""
        await self._ask(saved_states.clear, self.session_id)

    async def delete_before(self, cutoff: datetime) -> int:
        """Delete this session's states last saved or cleared before `cutoff`.

        Returns how many. A `cutoff` without a time zone is in the system's.
        """
        return await self._ask(
            saved_states.delete_before, cutoff.astimezone(), key=self.session_id
        )

    async def close(self) -> None:
        """End the use of this store: its methods raise UserError from here on.

        Connections belong to the app; none is held between two calls.
        """
        self._is_closed = True

    async def _ask(self, service: Callable[..., T], *args: Any, **options: Any) -> T:
        if self._is_closed:
            raise UserError("This RunStateStore is closed; make a new one.")
        answer: T = await database_sync_to_async(service)(*args, **options)
        return answer

    def _write(self, data: Mapping[str, Any], place: str) -> str:
        text = codec.dumps(data)
        return encrypt_text(text, self._key, place) if self._key else text

    def _read(self, stored: saved_states.Stored) -> str:
        if self._key:
            return decrypt_text(stored.text, self._key, stored.place)
        if is_encrypted(stored.text):
            raise InvalidRunState(
                "The saved state is encrypted; give the store its encryption_key."
            )
        return stored.text


async def cleanup_old_states(days: float = 30) -> int:
    """Delete every state last saved or cleared more than `days` ago; return how many.

    Active ones too: a session untouched for so long begins anew.
    """
    cutoff = timezone.now() - timedelta(days=days)
    deleted: int = await database_sync_to_async(saved_states.delete_before)(cutoff)
    return deleted


def _check_key(key: object) -> None:
    if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY:
        raise UserError(f"A session id is text of 1 to {MAX_KEY} characters.")
    if codec.storable(key) != key:
        raise UserError(f"The session id {key!r} cannot be stored; use plain text.")
