"""Telling every process that there is something new to read.

Delivered at most once, and sometimes not at all: a poke only says "look". Whoever
shows rows also looks every two seconds, so a lost poke costs latency and nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from functools import partial
from typing import Any
from uuid import UUID

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction

logger = logging.getLogger(__name__)

GROUP = "live"
LAYER_TIMEOUT_S = 1.0

_home: asyncio.AbstractEventLoop | None = None
_due: set[str] = set()
_tasks: set[asyncio.Task[None]] = set()


def run_topic(run_id: UUID | str) -> str:
    return f"run:{run_id}"


def session_topic(session_key: str) -> str:
    """Return the topic of a session; its key is a secret and stays out of the layer."""
    return f"session:{hashlib.sha256(session_key.encode()).hexdigest()}"


def poke(topic: str) -> None:
    """Tell every process, once the transaction commits, to look at `topic` again.

    Never raises and never waits for the layer where this process has a loop at home.
    """
    transaction.on_commit(partial(_poke_now, topic))


def set_home(loop: asyncio.AbstractEventLoop | None) -> None:
    """Let pokes of this process go out from `loop`, whichever thread they come from."""
    global _home
    _home = loop


async def group_send(message: dict[str, Any]) -> None:
    """Send `message` to the group; what goes wrong is logged."""
    layer = get_channel_layer()
    try:
        if layer is not None:
            await asyncio.wait_for(layer.group_send(GROUP, message), LAYER_TIMEOUT_S)
    except Exception:
        logger.warning("The channel layer did not take a message.", exc_info=True)


def _poke_now(topic: str) -> None:
    try:
        if _home is not None and _home.is_running():
            _home.call_soon_threadsafe(_post, topic)
        else:
            async_to_sync(_send)(topic)
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
