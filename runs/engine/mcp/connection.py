"""One connection to a server, owned by one task.

anyio's cancel scopes must be left by the task that entered them. So a task of its own
enters the package's client, waits until it is asked to leave or the server's stream
ends, and leaves it: `open`, `ask` and `close` may come from any task of the loop. A
request runs in a task too, in its caller's context, and ends with whichever comes
first: its answer, its deadline, its caller, or the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from pydantic import ValidationError

from ..cancel import cancel_all
from .errors import (
    MCPServerTimeout,
    MCPServerUnavailable,
    first_cause,
    public_name,
    reason,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")
Streams = AbstractAsyncContextManager[Any]
"""A transport: entered, it gives a stream to read from and one to write to."""
MakeClient = Callable[[Streams], AbstractAsyncContextManager[Any]]

CONNECTION_CLOSED = -32000
REQUEST_TIMEOUT = -32001
"""Codes of the package's `MCPError`. Source: mcp_types.jsonrpc."""

CLOSED = "Connection closed"
"""The package's text where it, and not the server, says so."""

CLOSE_TIMEOUT_S = 15.0
"""The package takes up to 7 seconds to end a process that will not end."""


class Connection:
    """A client of the package while it is entered. Belongs to the loop it began in."""

    def __init__(
        self,
        make_client: MakeClient,
        streams: Streams,
        *,
        server: str,
        timeout_s: float,
    ) -> None:
        """Begin to connect, for at most `timeout_s` seconds."""
        self.server = server
        self.loop = asyncio.get_running_loop()
        self.client: Any = None
        self.note = ""
        """What was last noticed that an error should mention."""
        self._server_is_gone = False
        self._leave = asyncio.Event()
        self._opened: asyncio.Future[None] = self.loop.create_future()
        self._requests: set[asyncio.Task[Any]] = set()
        owned = self._own(make_client(self._watched(streams)), timeout_s)
        self._owner = asyncio.create_task(owned, name=f"mcp {public_name(server)}"[:60])

    @property
    def is_over(self) -> bool:
        """True once nothing more can be asked here."""
        return self._leave.is_set() or self._owner.done() or self.loop.is_closed()

    @property
    def has_left(self) -> bool:
        """True once a process started for it has ended."""
        return self._owner.done()

    async def open(self) -> None:
        """Wait until the server can be asked. Raises MCPServerUnavailable."""
        await asyncio.shield(self._opened)

    async def ask(
        self,
        request: Callable[[Any], Awaitable[T]],
        *,
        doing: str,
        timeout_s: float | None,
    ) -> T:
        """Return the server's answer to `request`, called with the package's client.

        `doing` completes "it did not …" in errors. `timeout_s` is for all of it; None
        waits for as long as the server lives. Raises MCPServerTimeout,
        MCPServerUnavailable, and what the request raises.
        """
        task = asyncio.ensure_future(_awaited(request(self.client)))
        self._requests.add(task)
        try:
            await asyncio.wait(
                {task, self._owner},
                timeout=timeout_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            return self._answer(task, doing, timeout_s)
        finally:
            self._requests.discard(task)
            await cancel_all({task})

    def _answer(
        self, task: asyncio.Future[T], doing: str, timeout_s: float | None
    ) -> T:
        if task.done() and not task.cancelled():
            error = task.exception()
            code = getattr(error, "code", None)
            # A server may send these codes too; then its own text is in the message.
            if code == REQUEST_TIMEOUT:
                what = f"did not {doing} in time ({error}); what it did is not known."
                raise MCPServerTimeout(self.server, what) from error
            # Over HTTP one answer may break off while the connection goes on.
            has_closed = self.is_over or str(error) == CLOSED
            if code == CONNECTION_CLOSED and has_closed:
                raise self.unavailable(f"ended before it could {doing}") from error
            if isinstance(error, ValidationError) and error.title.endswith("Result"):
                fields = {".".join(map(str, part["loc"])) for part in error.errors()}
                what = f"gave what is not MCP when it was to {doing}"
                raise self.unavailable(
                    f"{what} (wrong: {', '.join(sorted(fields)[:5])})"
                ) from error
            return task.result()
        if self.is_over:
            raise self.unavailable(f"was left before it could {doing}")
        # Nothing else bounds writing to a server that does not read.
        self._leave.set()
        what = (
            f"did not {doing} within {timeout_s:g} seconds; what it did is not known."
        )
        raise MCPServerTimeout(self.server, what)

    async def close(self) -> None:
        """Leave the server; a process started for it has ended when this returns."""
        self._leave.set()
        if self.loop.is_closed():
            return
        if not self._opened.done():
            self._owner.cancel()
        await asyncio.wait({self._owner}, timeout=CLOSE_TIMEOUT_S)
        await cancel_all({self._owner, *self._requests})

    def unavailable(self, what: str) -> MCPServerUnavailable:
        """Return the error that says so, with what was noticed besides."""
        noticed = f" ({self.note})" if self.note else ""
        return MCPServerUnavailable(self.server, f"{what}{noticed}.")

    async def _own(
        self, client: AbstractAsyncContextManager[Any], timeout_s: float
    ) -> None:
        deadline = asyncio.timeout(timeout_s)
        try:
            async with deadline, client as self.client:
                deadline.reschedule(None)
                self._opened.set_result(None)
                await self._leave.wait()
        except (Exception, asyncio.CancelledError) as error:
            if self._opened.done():
                # It was of use until now; whoever waits for an answer is told.
                logger.info(
                    "The connection to an MCP server broke",
                    extra={"server": public_name(self.server), "why": reason(error)},
                )
            elif not self._opened.cancelled():
                self._opened.set_exception(self._failure(error, timeout_s, deadline))
                self._opened.exception()  # seen, even if nobody waits any more
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            self._server_is_gone = True
            self._leave.set()

    def _failure(
        self, error: BaseException, timeout_s: float, deadline: asyncio.Timeout
    ) -> MCPServerUnavailable:
        if deadline.expired():
            failure = self.unavailable(f"did not connect within {timeout_s:g} seconds")
        elif isinstance(error, asyncio.CancelledError):
            failure = self.unavailable("was left while it was connecting")
        elif self._server_is_gone:
            failure = self.unavailable("ended before it was connected")
        else:
            failure = self.unavailable(f"cannot be connected to: {reason(error)}")
        # An HTTP client's error holds the URL, which may hold a secret.
        failure.__cause__ = None if hasattr(first_cause(error), "request") else error
        return failure

    @contextlib.asynccontextmanager
    async def _watched(self, streams: Streams) -> AsyncIterator[tuple[Any, Any]]:
        async with streams as (read, write, *_):
            yield _Watched(read, self), write

    def server_has_gone(self) -> None:
        """Take note that the server's stream has ended: its process is to be reaped."""
        self._server_is_gone = True
        self._leave.set()


async def _awaited(answer: Awaitable[T]) -> T:
    return await answer


class _Watched:
    """A stream of the package that tells its connection how reading goes."""

    def __init__(self, stream: Any, connection: Connection) -> None:
        self._stream = stream
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __aiter__(self) -> _Watched:
        return self

    async def __anext__(self) -> Any:
        try:
            message = await self._stream.__anext__()
        except StopAsyncIteration:
            self._connection.server_has_gone()
            raise
        if isinstance(message, Exception):
            self._connection.note = "it also wrote what is not MCP"
        return message

    async def __aenter__(self) -> _Watched:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> bool | None:
        ended: bool | None = await self._stream.__aexit__(*error)
        return ended
