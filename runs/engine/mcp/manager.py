"""Several servers together: those that connect are used, the others are recorded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from ..cancel import cancel_all, is_leaked_cancel
from .errors import public_name
from .limits import check_lifecycle_seconds
from .server import MCPServer

logger = logging.getLogger(__name__)


class MCPServerManager:
    """Connects servers and leaves them again; an async context manager.

    Each server is connected and left by one task of its own, whoever asks for it, since
    some servers need that. `active_servers` goes into an agent's `mcp_servers`.

    `connect_timeout_seconds`, `cleanup_timeout_seconds`: for each server; None means
    no limit.
    `drop_failed_servers`: leave servers that did not connect out of `active_servers`.
    `strict`: raise the first failure to connect, with every server left again.
    `suppress_cancelled_error`: a server that lets a CancelledError out has failed like
    any other; the caller's own cancellation always goes through.
    `connect_in_parallel`: connect all at once instead of one after the other.
    """

    def __init__(
        self,
        servers: Iterable[MCPServer],
        *,
        connect_timeout_seconds: float | None = 10.0,
        cleanup_timeout_seconds: float | None = 10.0,
        drop_failed_servers: bool = True,
        strict: bool = False,
        suppress_cancelled_error: bool = True,
        connect_in_parallel: bool = False,
    ) -> None:
        self.connect_timeout_seconds = connect_timeout_seconds
        self.cleanup_timeout_seconds = cleanup_timeout_seconds
        self.drop_failed_servers = drop_failed_servers
        self.strict = strict
        self.suppress_cancelled_error = suppress_cancelled_error
        self.connect_in_parallel = connect_in_parallel
        self._all = list(dict.fromkeys(servers))
        self._active = list(self._all)
        self._keepers: dict[MCPServer, _Keeper] = {}
        self._errors: dict[MCPServer, BaseException] = {}
        self._failed: dict[MCPServer, None] = {}
        self._one_at_a_time = asyncio.Lock()

    @property
    def connect_timeout_seconds(self) -> float | None:
        return self._connect_timeout_s

    @connect_timeout_seconds.setter
    def connect_timeout_seconds(self, value: float | None) -> None:
        check_lifecycle_seconds(value, "connect_timeout_seconds")
        self._connect_timeout_s = value

    @property
    def cleanup_timeout_seconds(self) -> float | None:
        return self._cleanup_timeout_s

    @cleanup_timeout_seconds.setter
    def cleanup_timeout_seconds(self, value: float | None) -> None:
        check_lifecycle_seconds(value, "cleanup_timeout_seconds")
        self._cleanup_timeout_s = value

    @property
    def all_servers(self) -> list[MCPServer]:
        return list(self._all)

    @property
    def active_servers(self) -> list[MCPServer]:
        """The connected servers; all of them before the first attempt to connect."""
        return list(self._active)

    @property
    def failed_servers(self) -> list[MCPServer]:
        """The servers that did not connect, in the order in which they failed."""
        return list(self._failed)

    @property
    def errors(self) -> dict[MCPServer, BaseException]:
        """What went wrong last, by server."""
        return dict(self._errors)

    async def __aenter__(self) -> Self:
        await self.connect_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.cleanup_all()

    async def connect_all(self) -> list[MCPServer]:
        """Connect what is not connected and return the active servers.

        Raises the first failure when `strict`; what this call connected is left again.
        """
        async with self._one_at_a_time:
            self._errors, self._failed = {}, {}
            await self._connect_or_leave(self._all)
            return self.active_servers

    async def reconnect(self, *, failed_only: bool = True) -> list[MCPServer]:
        """Try the failed servers, or all of them, again; return the active ones."""
        async with self._one_at_a_time:
            if not failed_only:
                await self._leave(self._all)
                self._errors, self._failed = {}, {}
            await self._connect_or_leave(self._failed if failed_only else self._all)
            return self.active_servers

    async def cleanup_all(self) -> None:
        """Leave every server, the last one first; failures go to `errors`."""
        async with self._one_at_a_time:
            await self._leave(self._all)
            self._refresh()

    async def _connect_or_leave(self, servers: Iterable[MCPServer]) -> None:
        new = [server for server in servers if server not in self._keepers]
        try:
            await self._connect(new)
        except BaseException:
            await self._leave(new)
            raise
        finally:
            self._refresh()

    async def _connect(self, servers: list[MCPServer]) -> None:
        if self.connect_in_parallel and servers:
            # No task group: one server's failure must not cut the others off.
            tasks = [asyncio.create_task(self._attempt(server)) for server in servers]
            try:
                await asyncio.gather(*tasks)
            finally:
                # Cancelled with us, they still leave what they began to connect.
                await asyncio.wait(tasks)
            self._raise_first_failure(servers)
            return
        for server in servers:
            await self._attempt(server)
            self._raise_first_failure([server])

    async def _attempt(self, server: MCPServer) -> None:
        keeper = _Keeper(server)
        self._keepers[server] = keeper
        try:
            await keeper.connect(self.connect_timeout_seconds)
        except (Exception, asyncio.CancelledError) as error:
            del self._keepers[server]  # left already, by its keeper
            if isinstance(error, asyncio.CancelledError) and not is_leaked_cancel():
                raise
            self._failed[server] = None
            self._errors[server] = error
            logger.warning(
                "An MCP server did not connect",
                extra={"server": public_name(server.name), "why": str(error)},
            )
        else:
            self._failed.pop(server, None)
            self._errors.pop(server, None)

    def _raise_first_failure(self, servers: list[MCPServer]) -> None:
        for error in (self._errors.get(server) for server in servers):
            is_cancel = isinstance(error, asyncio.CancelledError)
            raises = not self.suppress_cancelled_error if is_cancel else self.strict
            if error is not None and raises:
                raise error

    async def _leave(self, servers: Iterable[MCPServer]) -> None:
        for server in reversed(list(servers)):
            keeper = self._keepers.pop(server, None)
            if keeper is None:
                continue
            try:
                await keeper.leave(self.cleanup_timeout_seconds)
            except (Exception, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and not is_leaked_cancel():
                    raise
                self._errors[server] = error
                logger.warning(
                    "An MCP server could not be left",
                    extra={"server": public_name(server.name), "why": str(error)},
                )

    def _refresh(self) -> None:
        self._active = [
            server
            for server in self._all
            if server in self._keepers or not self.drop_failed_servers
        ]


class _Keeper:
    """The task that connects one server, waits, and leaves it."""

    def __init__(self, server: MCPServer) -> None:
        self._server = server
        self._connected = asyncio.get_running_loop().create_future()
        self._leave = asyncio.Event()
        self._left: asyncio.Task[None] | None = None

    async def connect(self, timeout_s: float | None) -> None:
        """Return when the server is connected; raise what its `connect` raises."""
        self._left = asyncio.create_task(self._keep(timeout_s))
        try:
            await asyncio.wait(
                {self._connected, self._left}, return_when=asyncio.FIRST_COMPLETED
            )
        except asyncio.CancelledError:
            await cancel_all({self._left})
            raise
        if not self._connected.done():
            await self._left

    async def leave(self, timeout_s: float | None) -> None:
        """Return when the server is left; raise what its `cleanup` raises."""
        self._leave.set()
        if self._left is None:
            return
        ended, _ = await asyncio.wait({self._left}, timeout=timeout_s)
        if not ended:
            await cancel_all({self._left})
            raise TimeoutError(f"cleanup took more than {timeout_s:g} seconds")
        await self._left

    async def _keep(self, timeout_s: float | None) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._server.connect()
        except BaseException:
            await self._leave_half_open()
            raise
        self._connected.set_result(None)
        try:
            await self._leave.wait()
        finally:
            await self._server.cleanup()

    async def _leave_half_open(self) -> None:
        try:
            await self._server.cleanup()
        except Exception as error:
            logger.info(
                "An MCP server that did not connect could not be left either",
                extra={"server": public_name(self._server.name), "why": str(error)},
            )
