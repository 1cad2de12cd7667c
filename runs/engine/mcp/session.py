"""Servers reached through the package's client: listing, calling, reconnecting.

A server that ended while it was connected is started or reached again by the next
request. A request that was under way is not sent again, unless `max_retry_attempts`
says so: what it did is not known.
"""

from __future__ import annotations

import abc
import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from ..context import RunContextWrapper
from ..digest import JSONObject
from ..errors import UserError
from ..tools.tool import ToolErrorFunction
from ..tools.tool_guardrails import ToolInputGuardrail, ToolOutputGuardrail
from .approval import RequireApprovalSetting
from .connection import Connection, Streams
from .errors import MCPServerUnavailable, public_name
from .filters import ToolFilter, filtered
from .limits import (
    check_max_list_pages,
    check_seconds,
    connect_timeout_s,
    request_timeout_s,
)
from .package import CallToolResult, load
from .server import (
    UNSET,
    MCPServer,
    MCPToolCustomDataExtractor,
    MCPToolMetaResolver,
    Unset,
)

if TYPE_CHECKING:
    from ..agent import Agent

T = TypeVar("T")
Params = TypeVar("Params")

MAX_PAGES = 1_000
MAX_LISTED = 20_000
"""More than any agent can use; a server that lists without end stops here."""


class MCPServerWithSession(MCPServer, abc.ABC, Generic[Params]):
    """A server reached through a transport.

    What its arguments mean, beyond those of `MCPServer`:

    `params`: the transport's own. `name`: default made from them.
    `cache_tools_list`: list the tools once, until `invalidate_tools_cache`, or until
    the server says that they have changed.
    `client_session_timeout_seconds`: for each answer; None or 0: as long as it lives.
    `tool_filter`: which tools are listed; a dict of name lists, or a callable.
    `max_retry_attempts`: repetitions of a failed list or call; -1 repeats without end.
    `retry_backoff_seconds_base`, `retry_backoff_seconds_max`: the first wait, which
    doubles, and the longest (None: no limit).
    `message_handler`: awaited with each notification of the server, and each fault.
    `max_list_pages`: pages a list may have (None: 1,000); more are a UserError.
    `connect_timeout_seconds`: None means 30, or more when answers may take longer.
    Raises TypeError and ValueError for values out of range.
    """

    kind: ClassVar[str]

    def __init__(
        self,
        params: Params,
        cache_tools_list: bool = False,
        name: str | None = None,
        client_session_timeout_seconds: float | None = 5,
        tool_filter: ToolFilter = None,
        use_structured_content: bool = False,
        max_retry_attempts: int = 0,
        retry_backoff_seconds_base: float = 1.0,
        message_handler: Callable[[Any], Awaitable[None]] | None = None,
        require_approval: RequireApprovalSetting = None,
        failure_error_function: ToolErrorFunction | Unset | None = UNSET,
        tool_meta_resolver: MCPToolMetaResolver | None = None,
        custom_data_extractor: MCPToolCustomDataExtractor | None = None,
        retry_backoff_seconds_max: float | None = None,
        *,
        tool_input_guardrails: list[ToolInputGuardrail[Any]] | None = None,
        tool_output_guardrails: list[ToolOutputGuardrail[Any]] | None = None,
        max_list_pages: int | None = None,
        connect_timeout_seconds: float | None = None,
    ) -> None:
        super().__init__(
            use_structured_content=use_structured_content,
            require_approval=require_approval,
            failure_error_function=failure_error_function,
            tool_meta_resolver=tool_meta_resolver,
            custom_data_extractor=custom_data_extractor,
            tool_input_guardrails=tool_input_guardrails,
            tool_output_guardrails=tool_output_guardrails,
        )
        check_seconds(client_session_timeout_seconds, "client_session_timeout_seconds")
        check_seconds(retry_backoff_seconds_max, "retry_backoff_seconds_max")
        check_seconds(connect_timeout_seconds, "connect_timeout_seconds")
        check_max_list_pages(max_list_pages)
        self.params = params
        self.cache_tools_list = cache_tools_list
        self.client_session_timeout_seconds = client_session_timeout_seconds
        self.tool_filter = tool_filter
        self.max_retry_attempts = max_retry_attempts
        self.retry_backoff_seconds_base = retry_backoff_seconds_base
        self.retry_backoff_seconds_max = retry_backoff_seconds_max
        self.message_handler = message_handler
        self.max_list_pages = max_list_pages
        self.connect_timeout_seconds = connect_timeout_seconds
        self._name = name or f"{self.kind}: {self.address}"
        self._is_wanted = False
        self._connection: Connection | None = None
        self._left: set[Connection] = set()
        self._tools: list[Any] | None = None
        self._tools_are_stale = True
        self._invalidations = 0

    @property
    @abc.abstractmethod
    def address(self) -> str:
        """The command or URL, for the default name."""

    @abc.abstractmethod
    def create_streams(self) -> Streams:
        """Return a new transport; `connect` and each reconnection enter one."""

    @property
    def name(self) -> str:
        return self._name

    @property
    def session(self) -> Any:
        """The package's `ClientSession`; None while there is no connection."""
        connection = self._connection
        if connection is None or connection.is_over or connection.client is None:
            return None
        return connection.client.session

    @property
    def server_initialize_result(self) -> Any:
        """The server's `InitializeResult`; None for one that needs no handshake."""
        return getattr(self.session, "initialize_result", None)

    @property
    def cached_tools(self) -> list[Any] | None:
        return None if self._tools is None else _copies(self._tools)

    async def connect(self) -> None:
        """Start or reach the server; nothing when that is done.

        Raises MCPServerUnavailable, MCPPackageMissing.
        """
        self._is_wanted = True
        try:
            await self._connected()
        except BaseException:
            await self.cleanup()
            raise

    async def cleanup(self) -> None:
        """Leave the server; a process started for it has ended when this returns."""
        self._is_wanted = False
        if self._connection is not None:
            self._left.add(self._connection)
            self._connection = None
        for connection in list(self._left):
            await connection.close()
            self._left.discard(connection)

    def invalidate_tools_cache(self) -> None:
        """Have the next `list_tools` ask the server."""
        self._invalidations += 1
        self._tools_are_stale = True

    async def list_tools(
        self,
        run_context: RunContextWrapper[Any] | None = None,
        agent: Agent[Any] | None = None,
    ) -> list[Any]:
        self._check_is_connected()
        tools = self._tools
        if not tools or self._tools_are_stale or not self.cache_tools_list:
            tools = await self._fetch_tools()
        chosen = await filtered(
            tools,
            self.tool_filter,
            server_name=self.name,
            run_context=run_context,
            agent=agent,
        )
        return _copies(chosen)

    async def call_tool(
        self,
        tool_name: str,
        arguments: JSONObject | None,
        meta: JSONObject | None = None,
    ) -> CallToolResult:
        self._check_is_connected()
        self._check_required(tool_name, arguments or {})
        result: CallToolResult = await self._with_retries(
            lambda: self._ask(
                f"answer the call of {tool_name!r}",
                lambda client: client.call_tool(tool_name, arguments, meta=meta),
            )
        )
        return result

    async def list_prompts(self) -> Any:
        self._check_is_connected()
        pages = [page async for page in self._pages("prompts")]
        prompts = [prompt for page in pages for prompt in page.prompts]
        return pages[0].model_copy(update={"prompts": prompts, "next_cursor": None})

    async def get_prompt(self, name: str, arguments: JSONObject | None = None) -> Any:
        return await self._ask(
            f"give the prompt {name!r}",
            lambda client: client.get_prompt(name, arguments),
        )

    async def list_resources(self, cursor: str | None = None) -> Any:
        return await self._ask(
            "list its resources", lambda client: client.list_resources(cursor=cursor)
        )

    async def list_resource_templates(self, cursor: str | None = None) -> Any:
        return await self._ask(
            "list its templates",
            lambda client: client.list_resource_templates(cursor=cursor),
        )

    async def read_resource(self, uri: str) -> Any:
        return await self._ask(
            "give the resource", lambda client: client.read_resource(uri)
        )

    async def _fetch_tools(self) -> list[Any]:
        invalidations = self._invalidations
        pages = self._pages("tools")
        tools = [tool async for page in pages for tool in page.tools]
        if invalidations == self._invalidations:
            self._tools, self._tools_are_stale = tools, False
        return tools

    async def _pages(self, what: str) -> AsyncIterator[Any]:
        cursor: str | None = None
        seen: set[str | None] = set()
        listed = 0
        while len(seen) < (self.max_list_pages or MAX_PAGES):
            ask = functools.partial(self._ask_page, what, cursor)
            page = await self._with_retries(ask)
            listed += len(getattr(page, what))
            if listed > MAX_LISTED:
                raise self._lists_too_much(what, f"more than {MAX_LISTED:,}")
            yield page
            seen.add(cursor)
            cursor = page.next_cursor
            if cursor is None:
                return
            if cursor in seen:
                raise self._lists_too_much(what, "a page with a repeated cursor of its")
        raise self._lists_too_much(
            what, f"more than max_list_pages={len(seen)} pages of"
        )

    async def _ask_page(self, what: str, cursor: str | None) -> Any:
        return await self._ask(
            f"list its {what}",
            lambda client: getattr(client, f"list_{what}")(cursor=cursor),
        )

    def _lists_too_much(self, what: str, found: str) -> MCPServerUnavailable:
        return MCPServerUnavailable(self.name, f"lists {found} {what}; none is used.")

    async def _ask(self, doing: str, request: Callable[[Any], Awaitable[T]]) -> T:
        connection = await self._connected()
        timeout_s = request_timeout_s(self.client_session_timeout_seconds)
        return await connection.ask(request, doing=doing, timeout_s=timeout_s)

    async def _connected(self) -> Connection:
        """Return the connection, a new one in place of one that is over."""
        self._check_is_connected()
        connection = self._connection
        if connection is not None and not connection.is_over:
            if connection.loop is not asyncio.get_running_loop():
                raise UserError(
                    f"MCP server {public_name(self.name)!r} was connected in another "
                    "event loop; connect it in the loop that runs the agent."
                )
        else:
            connection = self._reconnect()
        await connection.open()
        return connection

    def _reconnect(self) -> Connection:
        self._left = {left for left in self._left if not left.has_left}
        if self._connection is not None:
            self._left.add(self._connection)
        seconds = self.client_session_timeout_seconds or None
        client = functools.partial(
            load().Client,
            mode="auto",
            cache=None,
            read_timeout_seconds=seconds,
            message_handler=self._on_message,
        )
        self.invalidate_tools_cache()
        self._connection = Connection(
            client,
            self.create_streams(),
            server=self.name,
            timeout_s=self.connect_timeout_seconds or connect_timeout_s(seconds),
        )
        return self._connection

    async def _on_message(self, message: Any) -> None:
        if getattr(message, "method", "") == "notifications/tools/list_changed":
            self.invalidate_tools_cache()
        if self.message_handler is not None:
            await self.message_handler(message)

    async def _with_retries(self, attempt: Callable[[], Awaitable[T]]) -> T:
        failures = 0
        while True:
            try:
                return await attempt()
            except Exception as error:
                is_ours = isinstance(error, UserError)
                if is_ours and not isinstance(error, MCPServerUnavailable):
                    raise  # no repetition mends how the program uses the server
                if failures == self.max_retry_attempts:
                    raise
            await asyncio.sleep(self._backoff_s(failures))
            failures += 1

    def _backoff_s(self, failures: int) -> float:
        # Past 2^60 seconds a longer wait is no different, but a float overflows.
        wait = self.retry_backoff_seconds_base * 2.0 ** min(failures, 60)
        longest = self.retry_backoff_seconds_max
        return wait if longest is None else min(wait, longest)

    def _check_is_connected(self) -> None:
        if not self._is_wanted:
            raise UserError(
                f"MCP server {public_name(self.name)!r} is not connected; "
                "call connect() first, or use it in `async with`."
            )

    def _check_required(self, tool_name: str, arguments: JSONObject) -> None:
        """Refuse a call that lacks what the tool, as last listed, requires."""
        if self._tools_are_stale or self._tools is None:
            return
        tool = next((tool for tool in self._tools if tool.name == tool_name), None)
        required = tool.input_schema.get("required") if tool is not None else None
        if not isinstance(required, list):
            return
        names = sorted(name for name in required if isinstance(name, str))
        if missing := [name for name in names if name not in arguments]:
            raise UserError(
                f"The call of {tool_name!r} on MCP server {public_name(self.name)!r} "
                f"lacks the required {', '.join(missing)}."
            )


def _copies(tools: list[Any]) -> list[Any]:
    """Return copies, so that no caller can change what the server listed."""
    return [tool.model_copy(deep=True) for tool in tools]
