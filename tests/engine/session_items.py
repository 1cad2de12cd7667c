"""Items as sessions hold them, and a session that is a list."""

from __future__ import annotations

from typing import Any

from runs.engine.sessions import SessionABC, SessionSettings

Item = dict[str, Any]


def user(text: str) -> Item:
    return {"role": "user", "content": text}


def said(text: str, **more: Any) -> Item:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "role": "assistant", "content": [part], **more}


def call(call_id: str, arguments: str = "{}") -> Item:
    return {
        "type": "function_call",
        "call_id": call_id,
        "name": "look",
        "arguments": arguments,
    }


def output(call_id: str, text: str = "seen") -> Item:
    return {"type": "function_call_output", "call_id": call_id, "output": text}


def reasoning(item_id: str) -> Item:
    return {"type": "reasoning", "id": item_id, "summary": []}


class ListSession(SessionABC):
    """Keeps its items in a list, as a program's own session may."""

    def __init__(self, *items: Any, limit: int | None = None) -> None:
        self.session_id = "list"
        self.items = list(items)
        self.session_settings = SessionSettings(limit=limit)

    async def get_items(self, limit: int | None = None) -> list[Item]:
        return self.items if limit is None else self.items[-limit:]

    async def add_items(self, items: list[Any]) -> None:
        self.items += items

    async def pop_item(self) -> Item | None:
        return self.items.pop() if self.items else None

    async def clear_session(self) -> None:
        self.items.clear()
