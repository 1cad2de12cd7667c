"""A browser's end of a socket, by RFC 6455, as far as the tests need it."""

from __future__ import annotations

import base64
import os
import socket

TIMEOUT_S = 300


class Browser:
    """Open once made; `status` is what the server answered."""

    def __init__(self, port: int, path: str, cookie: str = "") -> None:
        self._connection = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self._stream = self._connection.makefile("rb")
        headers = {
            "Host": f"127.0.0.1:{port}",
            "Origin": f"http://127.0.0.1:{port}",
            "Cookie": cookie,
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        }
        lines = [f"GET {path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        self._connection.sendall("\r\n".join([*lines, "", ""]).encode())
        self.status = int(self._stream.readline().split()[1])
        while self._stream.readline().strip():
            """Skip the headers of the answer."""

    def read(self) -> str:
        """Return the next message; empty when the connection has ended."""
        head = self._stream.read(2)
        if len(head) < 2 or head[0] & 0x0F != 1:
            return ""
        size = {126: 2, 127: 8}.get(head[1], 0)
        length = int.from_bytes(self._stream.read(size)) if size else head[1]
        return self._stream.read(length).decode()

    def close(self) -> None:
        self._stream.close()
        self._connection.close()
