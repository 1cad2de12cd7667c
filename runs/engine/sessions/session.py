"""What a session is: the items of one conversation, kept for the runs that follow."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from ..digest import JSONObject
from ..errors import UserError
from .settings import SessionSettings


@runtime_checkable
class Session(Protocol):
    """Whatever keeps items in order; anything with these names will do.

    A method that also takes the keyword `wrapper` is given the run's context wrapper
    there, if all four take it.
    """

    session_id: str
    session_settings: SessionSettings | None = None

    async def get_items(self, limit: int | None = None) -> list[Any]:
        """Return the newest `limit` items, oldest first; None means all."""
        ...

    async def add_items(self, items: list[Any]) -> None:
        """Append `items`, all or none of them."""
        ...

    async def pop_item(self) -> Any:
        """Take the newest item away and return it; None when there is none."""
        ...

    async def clear_session(self) -> None:
        """Take all items away."""
        ...


class SessionABC(ABC):
    """Base of sessions: the four methods to write, and what follows from them."""

    session_id: str
    session_settings: SessionSettings | None = None

    @abstractmethod
    async def get_items(self, limit: int | None = None) -> list[JSONObject]:
        """Return the newest `limit` items, oldest first.

        None means as many as `session_settings` say; all, if they say nothing.
        """

    @abstractmethod
    async def add_items(self, items: list[Any]) -> None:
        """Append `items`, all or none of them."""

    @abstractmethod
    async def pop_item(self) -> JSONObject | None:
        """Take the newest item away and return it; None when there is none."""

    @abstractmethod
    async def clear_session(self) -> None:
        """Take all items away."""

    async def save_items(self, conversation_id: str | None, items: list[Any]) -> None:
        """Append `items`, as `add_items` does.

        Raises UserError when `conversation_id` is another than this session's id.
        """
        if conversation_id not in (None, self.session_id):
            raise UserError(
                f"This session holds {self.session_id!r}; make one with "
                f"session_id={conversation_id!r} to save items there."
            )
        await self.add_items(items)

    async def _get_session_id(self) -> str:
        # Public in practice: examples pass it on to other stores.
        return self.session_id


async def read_session(
    session: Session, limit: int | None, context: Any = None
) -> list[Any]:
    """Return what `session` holds; `context` goes to a session that asks for it."""
    told = _told(session, context)
    # Sessions of others may count their own limit only when none is given.
    given = told if limit is None else {"limit": limit, **told}
    found = session.get_items(**given)
    return list(await found if inspect.isawaitable(found) else found)


async def add_to_session(
    session: Session, items: Sequence[JSONObject], context: Any = None
) -> None:
    """Append `items` to `session`; `context` goes to a session that asks for it."""
    if not items:
        return
    added: Any = session.add_items(list(items), **_told(session, context))
    if inspect.isawaitable(added):
        await added


def _told(session: Session, context: Any) -> dict[str, Any]:
    methods: tuple[Callable[..., Any], ...] = (
        session.get_items,
        session.add_items,
        session.pop_item,
        session.clear_session,
    )
    return wrapper_for(methods, context)


def wrapper_for(methods: Sequence[Callable[..., Any]], context: Any) -> dict[str, Any]:
    """Return `context` as the keyword `wrapper`, if all of `methods` take it."""
    asks = context is not None and all(_takes_wrapper(method) for method in methods)
    return {"wrapper": context} if asks else {}


def _takes_wrapper(method: Callable[..., Any]) -> bool:
    try:
        parameter = inspect.signature(method).parameters.get("wrapper")
    except (TypeError, ValueError):
        return False
    return parameter is not None and parameter.kind in (
        parameter.POSITIONAL_OR_KEYWORD,
        parameter.KEYWORD_ONLY,
    )
