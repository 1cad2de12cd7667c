"""Conversations that the model's server keeps: it is sent only what is new to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..digest import JSONObject

if TYPE_CHECKING:
    from .run_state import RunState


@dataclass(slots=True, kw_only=True)
class ServerConversation:
    """Which conversation, and how much of the run it holds."""

    conversation_id: str | None = None
    previous_response_id: str | None = None
    auto_previous_response_id: bool = False
    seen: int = 0
    """How many of the run's items the server has: it was sent or wrote them."""

    @classmethod
    def of(
        cls,
        conversation_id: str | None,
        previous_response_id: str | None,
        auto_previous_response_id: bool,
    ) -> ServerConversation | None:
        """Return the conversation these settings name; None when they name none."""
        if not (conversation_id or previous_response_id or auto_previous_response_id):
            return None
        return cls(
            conversation_id=conversation_id,
            previous_response_id=previous_response_id,
            auto_previous_response_id=auto_previous_response_id,
        )

    def unseen(self, state: RunState[Any]) -> list[JSONObject]:
        """Return what the server has yet to be sent."""
        return state.transcript.reading_since(self.seen)

    def note_answer(self, state: RunState[Any], response_id: str | None) -> None:
        """Remember that the server has all items by now, its own answer last."""
        self.seen = len(state.transcript.items)
        if self.conversation_id is None and response_id is not None:
            self.previous_response_id = response_id

    def to_json(self) -> JSONObject:
        return {
            "conversation_id": self.conversation_id,
            "previous_response_id": self.previous_response_id,
            "auto_previous_response_id": self.auto_previous_response_id,
            "seen": self.seen,
        }
