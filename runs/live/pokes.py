"""Telling every process that there is something new to read.

Delivered at most once, and sometimes not at all: a poke only says "look". Whoever
shows rows also looks every two seconds, so a lost poke costs latency and nothing else.
Nobody who writes ever waits for the layer, and nothing that goes wrong with it is
raised: it may be down, or hang.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import UUID

from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.db import transaction
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

GROUP = "live"
LAYER_TIMEOUT_S = 1.0
REST_S = 1.0
"""A layer that hung is left alone for so long; what comes meanwhile is dropped."""

_home: asyncio.AbstractEventLoop | None = None
_due: set[str] = set()
_tasks: set[asyncio.Task[None]] = set()
# Where no loop is at home, as in a management command. The process waits at its end
# until the last one is sent or given up.
_thread = ThreadPoolExecutor(1, thread_name_prefix="pokes")


def run_topic(run_id: UUID | str) -> str:
    return f"run:{run_id}"


def session_topic(session_key: str) -> str:
    """Return the topic of a session; its key is a secret and stays out of the layer."""
    return f"session:{hashlib.sha256(session_key.encode()).hexdigest()}"


def poke(topic: str) -> None:
    """Tell every process, once the transaction commits, to look at `topic` again.

    Never raises and never waits for the layer.
    """
    transaction.on_commit(partial(_poke_now, topic))


def set_home(loop: asyncio.AbstractEventLoop | None) -> None:
    """Let pokes of this process go out from `loop`, whichever thread they come from."""
    global _home
    _home = loop


async def group_send(message: dict[str, Any]) -> None:
    """Send `message` to the group; what goes wrong is logged, once until it is right.

    Takes no longer than LAYER_TIMEOUT_S, and no time at all soon after it took so long.
    """
    layer = get_channel_layer()
    if layer is None or time.monotonic() < _health.rests_until:
        return
    try:
        async with asyncio.timeout(LAYER_TIMEOUT_S):
            await _send_twice(layer, message)
    except Exception as error:
        _health.failed(error)
    else:
        _health.succeeded()


async def _send_twice(layer: Any, message: dict[str, Any]) -> None:
    """Send; a connection that was cut since the last time shows only by failing."""
    try:
        await layer.group_send(GROUP, message)
    except (OSError, RedisError):
        await layer.group_send(GROUP, message)


class _Health:
    """What is known of the layer."""

    def __init__(self) -> None:
        self.rests_until = 0.0
        self._is_ill = False

    def failed(self, error: Exception) -> None:
        if isinstance(error, TimeoutError):
            self.rests_until = time.monotonic() + REST_S
        if not self._is_ill:
            logger.warning("The channel layer did not take a message.", exc_info=error)
        self._is_ill = True

    def succeeded(self) -> None:
        if self._is_ill:
            logger.info("The channel layer takes messages again.")
        self._is_ill = False


_health = _Health()


def _poke_now(topic: str) -> None:
    try:
        if _home is not None and _home.is_running():
            _home.call_soon_threadsafe(_post, topic)
        elif not isinstance(get_channel_layer(), InMemoryChannelLayer):
            _thread.submit(asyncio.run, _send(topic))
        # The in-memory layer reaches this process alone, where nobody listens.
    except Exception:
        logger.warning("A poke was lost.", extra={"topic": topic}, exc_info=True)


def _post(topic: str) -> None:
    """Send a poke from the loop; pokes for one topic that wait together are one."""
    if topic in _due:
        return
    _due.add(topic)
    task = asyncio.ensure_future(_send(topic))
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


async def _send(topic: str) -> None:
    _due.discard(topic)
    await group_send({"type": "live.poke", "topic": topic})
