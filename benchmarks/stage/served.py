"""A server on a stage, asked as a reviewer's browser asks."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPConnection

from . import Stage, going


@dataclass(slots=True)
class Server:
    """A server, and the session of a reviewer on it."""

    port: int
    session: str

    def page_ms(self, path: str = "/", *, holds: bytes, times: int = 1) -> float:
        """Return the milliseconds of a page, from the question to the last byte.

        Exits where the page does not hold `holds` at least so many `times`.
        """
        begin = time.perf_counter()
        connection = HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", path, headers={"Cookie": f"sessionid={self.session}"})
        response = connection.getresponse()
        body = response.read()
        taken = (time.perf_counter() - begin) * 1e3
        connection.close()
        if response.status != 200 or body.count(holds) < times:
            raise SystemExit(f"{path} answered {response.status}, not what it shows.")
        return taken


def served(stack: ExitStack, stage: Stage, session: str) -> Server:
    """Start a server without runners, for the time of `stack`."""
    _, line = stack.enter_context(
        going("serve", "--no-runners", "--port", "0", environment=stage.environment)
    )
    found = re.search(r":(\d+)/", line)
    if found is None:
        raise SystemExit(f"The server did not start: {line}")
    return Server(int(found[1]), session.strip())
