"""News between processes: PostgreSQL holds the rows, Redis carries the pokes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer

from runs.live.hub import Hub
from tests import elsewhere, servers

from .cast import Page, make_run, make_user, open_socket, run_path, signed_in

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

SAY = """
from runs.models import EventKind
from runs.services import record_event
raw = {{"role": "user", "content": "Hello"}}
record_event("{run_id}", EventKind.ITEM, {{"type": "input", "agent": "", "raw": raw}})
"""


@pytest.fixture
async def layer(redis_url: str, settings: Any) -> AsyncIterator[Any]:
    """The layer of many processes."""
    backend = "channels_redis.pubsub.RedisPubSubChannelLayer"
    config = {"hosts": [redis_url], "prefix": servers.REDIS_PREFIX}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": config}}
    yield get_channel_layer()
    await get_channel_layer().flush()


async def test_what_another_process_logs_comes_on_its_own(layer: Any, hub: Hub) -> None:
    bob = await sync_to_async(make_user)("bob")
    run = await sync_to_async(make_run)(bob)
    client = await sync_to_async(signed_in)(bob)
    socket, page = open_socket(run_path(run), client), Page(run)
    await socket.connect()
    await page.read(socket)

    script = SAY.format(run_id=run.pk)
    await sync_to_async(elsewhere.manage)("shell", "-v0", "-c", script)
    await page.read_to(socket, 1)  # the hub's clock stands still: only a poke tells it

    assert page.appended == [1]
    await socket.disconnect()
