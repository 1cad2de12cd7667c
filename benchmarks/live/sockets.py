"""Many browsers' ends of sockets, by RFC 6455, as far as a benchmark needs it."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections.abc import Callable

TEXT, PING, PONG = 1, 9, 10

Take = Callable[[str, float], None]
"""Called with each message and the moment it came."""


class Socket(asyncio.Protocol):
    """Open once `opened` is done; `closed` is done when the connection is gone."""

    def __init__(self, host: str, path: str, cookie: str, take: Take) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._request = (host, path, cookie)
        self._take = take
        self._bytes = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        host, path, cookie = self._request
        headers = {
            "Host": host,
            "Origin": f"http://{host}",
            "Cookie": cookie,
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        }
        lines = [f"GET {path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        transport.write("\r\n".join([*lines, "", ""]).encode())

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        self._bytes += data
        if not self.opened.done() and not self._open():
            return
        while (message := self._message()) is not None:
            self._take(message, now)

    def connection_lost(self, error: Exception | None) -> None:
        for waiting in (self.opened, self.closed):
            if not waiting.done():
                waiting.set_result(None)

    def close(self) -> None:
        """End the connection at once, as a browser that loses its network."""
        if self._transport is not None:
            self._transport.abort()

    def _open(self) -> bool:
        head, found, rest = self._bytes.partition(b"\r\n\r\n")
        if not found:
            return False
        if not head.startswith(b"HTTP/1.1 101"):
            raise ConnectionRefusedError(head.split(b"\r\n")[0].decode())
        self._bytes = rest
        self.opened.set_result(None)
        return True

    def _message(self) -> str | None:
        """Return the next text that is here whole; what is not text is passed over."""
        held = self._bytes
        if len(held) < 2:
            return None
        extra = {126: 2, 127: 8}.get(held[1], 0)
        size = int.from_bytes(held[2 : 2 + extra]) if extra else held[1]
        end = 2 + extra + size
        if len(held) < end:
            return None
        kind, content = held[0] & 0x0F, bytes(held[2 + extra : end])
        del held[:end]
        if kind == PING and self._transport is not None:
            # Masked by zeros; a server drops who does not give its ping back.
            head = bytes((0x80 | PONG, 0x80 | len(content), 0, 0, 0, 0))
            self._transport.write(head + content)
        return content.decode() if kind == TEXT else ""


async def open_socket(port: int, path: str, cookie: str, take: Take) -> Socket:
    """Return a socket that the server has accepted."""
    host = f"127.0.0.1:{port}"
    loop = asyncio.get_running_loop()
    _, socket = await loop.create_connection(
        lambda: Socket(host, path, cookie, take), "127.0.0.1", port
    )
    await socket.opened
    return socket
