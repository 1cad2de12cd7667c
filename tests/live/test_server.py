"""What our server adds to Daphne, seen from a socket; each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .browser import Browser

START = """
from runs.live.server import Server

async def application(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    await run(send)

def say(*words):
    print(*words, flush=True)

Server(
    application,
    host="127.0.0.1",
    port=0,
    ready=lambda: None,
    listening=lambda host, port: say(port),
).run()
"""

FLOOD = """
import asyncio

async def run(send):
    for count in range(1000):
        try:
            await asyncio.wait_for(
                send({"type": "websocket.send", "text": "x" * 60_000}), 1
            )
        except TimeoutError:
            say("waits")
            return
    say("never waited")
"""

LARGE = """
async def run(send):
    await send({"type": "websocket.send", "text": "x" * 3_000_000})
    await send({"type": "websocket.close", "code": 4000})
"""


@contextmanager
def serving(run: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-W", "error", "-c", run + START]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def test_send_waits_for_a_browser_that_does_not_read() -> None:
    with serving(FLOOD) as (process, port):
        browser = Browser(port, "/")
        assert process.stdout is not None
        said = process.stdout.readline()
        browser.close()

    assert said == "waits\n"


def test_a_message_may_be_larger_than_what_a_browser_may_send() -> None:
    with serving(LARGE) as (_, port):
        browser = Browser(port, "/")
        message = browser.read()
        browser.close()

    assert len(message) == 3_000_000
