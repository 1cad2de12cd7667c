"""Servers by how they are reached: a process of ours, or over HTTP."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal, NotRequired, Protocol, TypedDict

from ..errors import UserError
from .connection import Streams
from .package import load
from .session import MCPServerWithSession

HTTP_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 300.0
SESSION_HEADER = "mcp-session-id"


class HttpClientFactory(Protocol):
    """Makes the `httpx2.AsyncClient` that a server is reached with."""

    def __call__(
        self,
        headers: dict[str, str] | None = None,
        timeout: Any = None,
        auth: Any = None,
    ) -> Any: ...


class MCPServerStdioParams(TypedDict):
    """How to start the server."""

    command: str
    args: NotRequired[list[str]]
    env: NotRequired[dict[str, str]]
    """Added to the few variables every server gets, such as PATH and HOME."""
    cwd: NotRequired[str | Path]
    encoding: NotRequired[str]
    encoding_error_handler: NotRequired[Literal["strict", "ignore", "replace"]]


class MCPServerStdio(MCPServerWithSession[MCPServerStdioParams]):
    """A server in a process of its own, started by `connect`, ended by `cleanup`."""

    kind: ClassVar[str] = "stdio"

    @property
    def address(self) -> str:
        return self.params["command"]

    def create_streams(self) -> Streams:
        package = load("mcp.client.stdio")
        params = package.StdioServerParameters(**self.params)
        streams: Streams = package.stdio_client(params, errlog=_stderr())
        return streams


class MCPServerSseParams(TypedDict):
    """Where the server listens."""

    url: str
    headers: NotRequired[dict[str, str]]
    timeout: NotRequired[float]
    """Seconds for a request; default 5."""
    sse_read_timeout: NotRequired[float]
    """Seconds the stream may be silent; default 300."""
    auth: NotRequired[Any]
    """An `httpx2.Auth`."""
    httpx_client_factory: NotRequired[HttpClientFactory]


class MCPServerSse(MCPServerWithSession[MCPServerSseParams]):
    """A server over HTTP with server-sent events, the older of the two protocols."""

    kind: ClassVar[str] = "sse"

    @property
    def address(self) -> str:
        return self.params["url"]

    def create_streams(self) -> Streams:
        streams: Streams = load("mcp.client.sse").sse_client(
            url=self.params["url"],
            headers=self.params.get("headers"),
            timeout=self.params.get("timeout", HTTP_TIMEOUT_S),
            sse_read_timeout=self.params.get("sse_read_timeout", READ_TIMEOUT_S),
            httpx_client_factory=self.params.get("httpx_client_factory", _http_client),
            auth=self.params.get("auth"),
        )
        return streams


class MCPServerStreamableHttpParams(TypedDict):
    """Where the server listens."""

    url: str
    headers: NotRequired[dict[str, str]]
    timeout: NotRequired[timedelta | float]
    """For a request; a number is seconds; default 5."""
    sse_read_timeout: NotRequired[timedelta | float]
    """How long an answer's stream may be silent; default 300 seconds."""
    terminate_on_close: NotRequired[bool]
    """Tell the server when its session ends; default True."""
    httpx_client_factory: NotRequired[HttpClientFactory]
    auth: NotRequired[Any]
    """An `httpx2.Auth`."""
    ignore_initialized_notification_failure: NotRequired[bool]
    """Only False: version 2 of the package does not report such failures."""


class MCPServerStreamableHttp(MCPServerWithSession[MCPServerStreamableHttpParams]):
    """A server over streamable HTTP."""

    kind: ClassVar[str] = "streamable_http"
    _session_id: str | None = None

    @property
    def address(self) -> str:
        return self.params["url"]

    @property
    def session_id(self) -> str | None:
        """The session's id; None before `connect` and where the server gives none."""
        return self._session_id if self.session is not None else None

    def create_streams(self) -> Streams:
        if self.params.get("ignore_initialized_notification_failure"):
            raise UserError(
                "ignore_initialized_notification_failure cannot be True: version 2 of "
                "the package mcp does not report such failures."
            )
        self._session_id = None
        return self._streams()

    @asynccontextmanager
    async def _streams(self) -> AsyncIterator[Any]:
        factory = self.params.get("httpx_client_factory", _http_client)
        http = factory(
            headers=self.params.get("headers"),
            timeout=load("httpx2").Timeout(
                _seconds(self.params.get("timeout", HTTP_TIMEOUT_S)),
                read=_seconds(self.params.get("sse_read_timeout", READ_TIMEOUT_S)),
            ),
            auth=self.params.get("auth"),
        )
        http.event_hooks.setdefault("response", []).append(self._note)
        transport = load("mcp.client.streamable_http").streamable_http_client(
            self.params["url"],
            http_client=http,
            terminate_on_close=self.params.get("terminate_on_close", True),
        )
        async with http, transport as streams:
            yield streams

    async def _note(self, response: Any) -> None:
        """Keep the session's id, and the status of what the server refuses."""
        connection = self._connection
        if connection is not None:
            ok = response.is_success
            connection.note = "" if ok else f"HTTP status {response.status_code}"
        if response.is_success:
            self._session_id = response.headers.get(SESSION_HEADER, self._session_id)


def _http_client(
    headers: dict[str, str] | None = None, timeout: Any = None, auth: Any = None
) -> Any:
    """Return a client that follows no redirect: it could lead a header elsewhere."""
    return load("httpx2").AsyncClient(
        headers=headers, timeout=timeout, auth=auth, follow_redirects=False
    )


def _seconds(value: timedelta | float) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else value


def _stderr() -> Any:
    """Return where a server's own messages go: our stderr where it is a real file."""
    for stream in (sys.stderr, sys.__stderr__):
        try:
            if stream is not None and stream.fileno() >= 0:
                return stream
        except (OSError, ValueError):
            continue
    return subprocess.DEVNULL
