"""Daphne, with what Placet needs of a server.

`send` waits until a socket has taken what was written to it, as uvicorn's does;
Daphne's own buffers without bound for a browser that does not read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import daphne.server  # isort: skip  # first: it installs the asyncio reactor
from daphne.endpoints import build_endpoint_description_strings
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer  # type: ignore[import-untyped]

FRAMES_KEPT = 16
"""Messages kept as they go over the wire: many sockets are sent the same at once."""


@implementer(IPushProducer)
class _Gate:
    """Shut while a transport's buffer is full."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()

    def pauseProducing(self) -> None:
        self._open.clear()

    def resumeProducing(self) -> None:
        self._open.set()

    def stopProducing(self) -> None:
        self._open.set()

    async def wait(self) -> None:
        await self._open.wait()


class Server(daphne.server.Server):  # type: ignore[misc]  # untyped base
    """A server of one address that tells when it listens, or why it cannot.

    `listening` is called with host and port; `error` holds why it does not listen.
    """

    def __init__(
        self,
        application: Any,
        *,
        host: str,
        port: int,
        ready: Callable[[], None],
        listening: Callable[[str, int], None],
    ) -> None:
        super().__init__(
            application,
            endpoints=build_endpoint_description_strings(host=host, port=port),
            signal_handlers=False,
            ready_callable=ready,
            server_name="Placet",
        )
        self.error = ""
        self._listening = listening
        self._gates: dict[Any, _Gate] = {}
        """Of the sockets that are open."""
        self._frames: dict[str, Any] = {}

    def listen_success(self, port: Any) -> None:
        super().listen_success(port)
        address = port.getHost()
        self._listening(address.host, address.port)

    def listen_error(self, failure: Any) -> None:
        cause = getattr(failure.value, "socketError", None)
        self.error = getattr(cause, "strerror", None) or failure.getErrorMessage()
        self.stop()

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        if message["type"] == "websocket.accept":
            self._gates[protocol] = gate = _Gate()
            protocol.transport.unregisterProducer()
            protocol.transport.registerProducer(gate, True)
        if message["type"] == "websocket.close":
            self._gates.pop(protocol, None)
        if message["type"] == "websocket.send" and protocol in self._gates:
            self._send(protocol, message["text"])
            await self._gates[protocol].wait()
        else:
            await super().handle_reply(protocol, message)

    def _send(self, protocol: Any, text: str) -> None:
        """Write `text`, made ready for the wire once for all sockets it goes to.

        Daphne would do that for each, and autobahn refuse by its limit for what comes
        in what goes out.
        """
        if text not in self._frames:
            if len(self._frames) >= FRAMES_KEPT:
                del self._frames[next(iter(self._frames))]
            content = text.encode()
            self._frames[text] = protocol.factory.prepareMessage(content)
        protocol.sendPreparedMessage(self._frames[text])

    def protocol_disconnected(self, protocol: Any) -> None:
        super().protocol_disconnected(protocol)
        self._gates.pop(protocol, None)
