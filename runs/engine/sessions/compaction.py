"""A session that OpenAI's compaction API keeps short."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    Protocol,
    TypedDict,
    TypeGuard,
    runtime_checkable,
)

from ..digest import JSONObject
from ..models.stream import usage_from_openai
from .conversations import OpenAIConversationsSession
from .finishing import finished
from .pairs import as_json, orphans, plain
from .server import session_client
from .session import Session, SessionABC, wrapper_for
from .settings import SessionSettings

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from ..context import RunContextWrapper

THRESHOLD = 10
"""How many items that are no user's words make a session long."""

Mode = Literal["previous_response_id", "input", "auto"]

_MODEL = re.compile(r"(?:.*/)?(?:ft:)?(?:gpt-|o\d).*", re.DOTALL)
_log = logging.getLogger(__name__)


class OpenAIResponsesCompactionArgs(TypedDict, total=False):
    """What `run_compaction` may be told."""

    response_id: str
    """The model's last answer."""
    compaction_mode: Mode
    """Where the server finds the history: at the last answer, or in the request."""
    store: bool
    """False: the server has not kept the last answer."""
    force: bool
    """Compact now, however short the session is."""


@runtime_checkable
class OpenAIResponsesCompactionAwareSession(Session, Protocol):
    """A session that can make itself shorter."""

    async def run_compaction(
        self, args: OpenAIResponsesCompactionArgs | None = None
    ) -> None:
        """Make the session shorter, if it is long."""
        ...


def is_openai_responses_compaction_aware_session(
    session: Session | None,
) -> TypeGuard[OpenAIResponsesCompactionAwareSession]:
    """Say whether `session` can make itself shorter."""
    return callable(getattr(session, "run_compaction", None))


async def compact_after_turn(
    session: Session | None,
    response_id: str | None,
    *,
    store: bool | None = None,
    context: RunContextWrapper[Any] | None = None,
) -> None:
    """Let a session that can do so make itself shorter, after a turn was saved.

    What that costs counts in the run of `context`, if the session takes a `wrapper`.
    """
    if response_id and is_openai_responses_compaction_aware_session(session):
        args = OpenAIResponsesCompactionArgs(response_id=response_id)
        if store is not None:
            args["store"] = store
        compact = session.run_compaction
        await compact(args, **wrapper_for([compact], context))


def select_compaction_candidate_items(items: list[JSONObject]) -> list[JSONObject]:
    """Return the items that count as long: no user's words, nothing compacted yet."""
    return [
        item
        for item in items
        if item.get("role") != "user" and item.get("type") != "compaction"
    ]


def default_should_trigger_compaction(context: dict[str, Any]) -> bool:
    """Say whether ten or more items may be compacted."""
    return len(context["compaction_candidate_items"]) >= THRESHOLD


class OpenAIResponsesCompactionSession(SessionABC):
    """Any other session, made shorter by OpenAI when it has become long.

    Everything goes through to `underlying_session`. `run_compaction` puts what the
    server makes of all its items in their place: nothing else of this object happens
    meanwhile, and where that fails the items are put back. A session that has
    `replace_items`, as SQLiteSession, does it in one step. Other writers of the
    underlying session are not waited for.
    """

    def __init__(
        self,
        session_id: str,
        underlying_session: Session,
        *,
        client: AsyncOpenAI | None = None,
        model: str = "gpt-4.1",
        compaction_mode: Mode = "auto",
        should_trigger_compaction: Callable[[dict[str, Any]], bool] | None = None,
        max_rollback_items: int | None = None,
    ) -> None:
        """`should_trigger_compaction` is told response_id, compaction_mode,
        compaction_candidate_items and session_items; None means ten candidates.

        A session of more than `max_rollback_items` is never replaced: run_compaction
        raises ValueError. Raises ValueError on a session the server keeps itself, on
        a model that cannot compact, and on a `max_rollback_items` below 1.
        """
        if isinstance(underlying_session, OpenAIConversationsSession):
            raise ValueError(
                "OpenAIConversationsSession is kept, and kept short, by the server; "
                "use it alone."
            )
        if not _MODEL.fullmatch(model):
            raise ValueError(f"{model!r} cannot compact; choose an OpenAI model.")
        if max_rollback_items is not None and max_rollback_items < 1:
            raise ValueError("max_rollback_items is 1 or more, or None for no bound.")
        self.session_id = session_id
        self.session_settings = underlying_session.session_settings
        self.underlying_session = underlying_session
        self.model = model
        self.compaction_mode = compaction_mode
        self.should_trigger_compaction = (
            should_trigger_compaction or default_should_trigger_compaction
        )
        self.max_rollback_items = max_rollback_items
        self._client = client
        self._response_id: str | None = None
        self._turn = asyncio.Lock()

    @property
    def client(self) -> AsyncOpenAI:
        """The client that asks. Raises UserError without a key."""
        return session_client(self._client)

    async def get_items(self, limit: int | None = None) -> list[JSONObject]:
        """Return what the underlying session does."""
        return await self.underlying_session.get_items(limit)

    async def add_items(self, items: list[Any]) -> None:
        """Append `items` to the underlying session."""
        async with self._turn:
            await self.underlying_session.add_items(items)

    async def pop_item(self) -> JSONObject | None:
        """Take the newest item away and return it; None when there is none."""
        async with self._turn:
            self._response_id = None
            popped: JSONObject | None = await self.underlying_session.pop_item()
            return popped

    async def clear_session(self) -> None:
        """Take all items away."""
        async with self._turn:
            self._response_id = None
            await self.underlying_session.clear_session()

    async def run_compaction(
        self,
        args: OpenAIResponsesCompactionArgs | None = None,
        *,
        wrapper: RunContextWrapper[Any] | None = None,
    ) -> None:
        """Replace the items by what the server makes of them, if there are many.

        While a call waits for its output nothing is replaced. What it costs is added to
        the usage of `wrapper`'s run. Raises ValueError when
        the mode needs a response id and there is none.
        """
        given = args or OpenAIResponsesCompactionArgs()
        async with self._turn:
            self._response_id = given.get("response_id") or self._response_id
            mode = self._mode(given)
            before = [as_json(item) for item in await self._all_items()]
            items = [plain(item) for item in before]
            context = {
                "response_id": self._response_id,
                "compaction_mode": mode,
                "compaction_candidate_items": select_compaction_candidate_items(items),
                "session_items": items,
            }
            if not (given.get("force") or self.should_trigger_compaction(context)):
                return
            if orphans(items):
                _log.info("A session is not compacted while calls wait for outputs.")
                return
            made = await self._compacted(mode, items, wrapper)
            await finished(self._replace(before, made))

    def _mode(self, given: OpenAIResponsesCompactionArgs) -> Mode:
        mode = given.get("compaction_mode") or self.compaction_mode
        if mode == "auto":
            is_kept = self._response_id and given.get("store") is not False
            return (
                "previous_response_id" if is_kept and self._is_read_whole else "input"
            )
        if mode == "previous_response_id" and not self._response_id:
            raise ValueError("This compaction mode needs a response_id; give one.")
        return mode

    @property
    def _is_read_whole(self) -> bool:
        # A model that was given the newest items only knows nothing of the others.
        return SessionSettings.of(self.session_settings).limit is None

    async def _all_items(self) -> list[Any]:
        # A limit of its own: the session's settings may hide older items.
        bound = self.max_rollback_items
        most = 2**31 - 1 if bound is None else bound + 1
        items = await self.underlying_session.get_items(most)
        if bound is not None and len(items) > bound:
            raise ValueError(
                f"The session holds more than {bound} items; nothing was compacted."
            )
        return items

    async def _compacted(
        self, mode: Mode, items: list[Any], wrapper: RunContextWrapper[Any] | None
    ) -> list[JSONObject]:
        model: Any = self.model
        compact = self.client.responses.compact
        if mode == "input":
            answer = await compact(model=model, input=items)
        else:
            answer = await compact(model=model, previous_response_id=self._response_id)
        if wrapper is not None:
            wrapper.usage.add(usage_from_openai(answer.usage))
        made = [plain(item) for item in answer.output]
        if any(item.get("type") == "reasoning" for item in made):
            return made
        # An answer's id is refused where the reasoning it came from is gone.
        return [_without_id(item) for item in made]

    async def _replace(
        self, before: list[JSONObject], compacted: list[JSONObject]
    ) -> None:
        session = self.underlying_session
        if replace_items := getattr(session, "replace_items", None):
            await replace_items(compacted)
            return
        try:
            await session.clear_session()
            await session.add_items(compacted)
        except Exception:
            await session.clear_session()
            await session.add_items(before)
            raise


def _without_id(item: JSONObject) -> JSONObject:
    if item.get("role") != "assistant":
        return item
    return {name: value for name, value in item.items() if name != "id"}
