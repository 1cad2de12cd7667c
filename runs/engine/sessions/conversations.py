"""A session kept by OpenAI's conversations API."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..digest import JSONObject
from .finishing import finished
from .pairs import as_json, plain
from .server import session_client
from .session import SessionABC
from .settings import SessionSettings, checked_limit

if TYPE_CHECKING:
    from openai import AsyncOpenAI

ITEMS_A_REQUEST = 20
"""What the server takes at once."""

_NEEDS_ITS_ID = frozenset(
    {
        "code_interpreter_call",
        "computer_call",
        "file_search_call",
        "image_generation_call",
        "item_reference",
        "local_shell_call",
        "local_shell_call_output",
        "mcp_approval_request",
        "mcp_call",
        "mcp_list_tools",
        "program",
        "program_output",
        "reasoning",
        "web_search_call",
    }
)
"""Types the server refuses without an id; any other id it gives itself."""


async def start_openai_conversations_session(
    openai_client: AsyncOpenAI | None = None,
) -> str:
    """Open a conversation at OpenAI and return its id."""
    conversation = await session_client(openai_client).conversations.create(items=[])
    return conversation.id


class OpenAIConversationsSession(SessionABC):
    """A conversation that OpenAI keeps, opened when it is first used.

    What one object does happens one after the other; other writers of the same
    conversation are not waited for. Raises what the openai client raises.
    """

    def __init__(
        self,
        *,
        conversation_id: str | None = None,
        openai_client: AsyncOpenAI | None = None,
        session_settings: SessionSettings | Mapping[str, Any] | None = None,
    ) -> None:
        """Go on with the conversation of that id; None opens a new one."""
        self._session_id = conversation_id
        self._client = openai_client
        self.session_settings = SessionSettings.of(session_settings)
        self._turn = asyncio.Lock()

    @property
    def session_id(self) -> str:
        """The conversation's id. Raises ValueError before it is opened."""
        if self._session_id is None:
            raise ValueError(
                "The conversation is opened when it is first used, by get_items or "
                "add_items; it has no id before."
            )
        return self._session_id

    @session_id.setter
    def session_id(self, value: str) -> None:
        self._session_id = value

    async def get_items(self, limit: int | None = None) -> list[JSONObject]:
        """Return the newest `limit` items, oldest first.

        None means as many as `session_settings` say, or all. What the agent said
        comes without its id, which a model refuses apart from its reasoning.
        """
        if checked_limit(limit) is None:
            limit = SessionSettings.of(self.session_settings).limit
        async with self._turn:
            return [_readable(item) for item in await self._newest(limit)]

    async def add_items(self, items: list[Any]) -> None:
        """Append `items`, 20 a request.

        Beyond 20 it is not all or none: a request that fails leaves those before it
        stored. Such requests are not repeated by themselves, as one whose answer was
        lost may be stored; being cancelled waits for the one under way.
        """
        storable = [item for item in map(_writable, items) if _can_be_kept(item)]
        if not storable:
            return
        async with self._turn:
            conversation_id = await self._opened()
            client = session_client(self._client)
            if len(storable) > ITEMS_A_REQUEST:
                client = client.with_options(max_retries=0)
            for start in range(0, len(storable), ITEMS_A_REQUEST):
                part: Any = storable[start : start + ITEMS_A_REQUEST]
                create = client.conversations.items.create
                await finished(create(conversation_id=conversation_id, items=part))

    async def pop_item(self) -> JSONObject | None:
        """Take the newest item away and return it; None when there is none."""
        async with self._turn:
            newest = await self._newest(1)
            if not newest:
                return None
            items = session_client(self._client).conversations.items
            await finished(
                items.delete(newest[0]["id"], conversation_id=await self._opened())
            )
            return newest[0]

    async def clear_session(self) -> None:
        """Delete the conversation; the next use opens another, with another id."""
        async with self._turn:
            if self._session_id is None:
                return
            conversations = session_client(self._client).conversations
            await finished(conversations.delete(self._session_id))
            self._session_id = None

    async def _get_session_id(self) -> str:
        async with self._turn:
            return await self._opened()

    async def _opened(self) -> str:
        if self._session_id is None:
            self._session_id = await finished(
                start_openai_conversations_session(self._client)
            )
        return self._session_id

    async def _newest(self, limit: int | None) -> list[JSONObject]:
        conversation_id = await self._opened()
        if limit == 0:
            return []
        found: list[JSONObject] = []
        items = session_client(self._client).conversations.items
        async for item in items.list(conversation_id, order="desc"):
            found.append(as_json(item))
            if len(found) == limit:
                break
        return found[::-1]


def _readable(item: JSONObject) -> JSONObject:
    item = plain(item)
    if item.get("role") == "assistant":
        item.pop("id", None)
    return item


def _writable(item: Any) -> JSONObject:
    sent = plain(item)
    sent.pop("provider_data", None)
    if sent.get("type") not in _NEEDS_ITS_ID:
        sent.pop("id", None)
    return sent


def _can_be_kept(item: JSONObject) -> bool:
    if item.get("type") != "reasoning":
        return True
    return bool(item.get("id") or item.get("encrypted_content"))
