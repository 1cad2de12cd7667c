"""The layer of many machines, on a real Redis: in the way of nobody when it fails."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator
from django.db import connection, connections

from approvals.services import decide
from runs.engine.testing import ScriptedModel, assistant_message
from runs.executor import Executor
from runs.live import pokes
from runs.live.deltas import DeltaSender
from runs.live.hub import Hub, get_hub
from runs.live.pokes import group_send, poke, run_topic, set_home
from runs.models import Run, RunStatus
from tests.factories import start, until, until_status
from tests.shop import agents as shop

from .cast import (
    TIMEOUT_S,
    Page,
    make_request,
    make_run,
    make_user,
    open_socket,
    run_path,
    say,
    signed_in,
)
from .redis_server import RedisServer

pytestmark = pytest.mark.django_db(transaction=True)

LONG_S = 60.0
"""Far more than anything here takes that does not wait for the layer."""
ROOT = Path(__file__).parents[2]
ANOTHER_PROCESS = """
import asyncio, sys
from uuid import UUID
import django
django.setup()
from django.conf import settings
from django.db import connection

url, prefix, database, run, words = sys.argv[1:]
settings.CHANNEL_LAYERS = {"default": {
    "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
    "CONFIG": {"hosts": [url], "prefix": prefix},
}}
connection.settings_dict["NAME"] = database

from runs.live.deltas import DeltaSender, _ending
from runs.models import EventKind
from runs.services import record_event

run = UUID(run)
raw = {"role": "user", "content": "Hello"}
async def write():
    sender = DeltaSender(run)
    await sender.text(1, 1, words)
    await sender._task

asyncio.run(write())
record_event(run, EventKind.ITEM, {"type": "input", "agent": "", "raw": raw})
"""


def layer_of(url: str, prefix: str) -> dict[str, Any]:
    return {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [url], "prefix": prefix},
        }
    }


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.go_on()
    server.kill()


@pytest.fixture
async def hub(
    transactional_db: None, redis: RedisServer, settings: Any
) -> AsyncIterator[Hub]:
    """The hub of this test's loop, on a Redis of the test's own."""
    settings.CHANNEL_LAYERS = layer_of(redis.url, "asgi")
    hub = get_hub()
    await hub.start()
    await asyncio.wait_for(hub.joined.wait(), TIMEOUT_S)
    yield hub
    await hub.stop()
    await sync_to_async(connections.close_all)()


@pytest.fixture(autouse=True)
def quick_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runs.live.hub.TICK_S", 0.2)
    monkeypatch.setattr("runs.live.hub.LAYER_RETRY_S", 0.05)


async def watched() -> tuple[Run, WebsocketCommunicator, Page]:
    """Return a run, an open socket to it and what its browser holds."""

    def make() -> tuple[Run, Any]:
        bob = make_user("bob")
        return make_run(bob), signed_in(bob)

    run, client = await sync_to_async(make)()
    socket, page = open_socket(run_path(run), client), Page(run)
    await socket.connect(TIMEOUT_S)
    await page.read(socket)
    return run, socket, page


async def the_layer_brings_news(
    run: Run, socket: WebsocketCommunicator, page: Page
) -> None:
    """Return once live text comes, which no clock brings: the hub is a member."""

    async def speak() -> None:
        for attempt in count(1):
            await DeltaSender(run.pk).text(1, attempt, "back")
            await asyncio.sleep(0.1)

    speaking = asyncio.create_task(speak())
    await page.read_until_text(socket, "back")
    speaking.cancel()


async def test_pokes_and_live_text_come_from_another_process(
    transactional_db: None,
    redis_url: str,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runs.live.hub.TICK_S", 3600)  # only the layer brings news
    prefix = f"placet-test-{uuid4()}"
    settings.CHANNEL_LAYERS = layer_of(redis_url, prefix)
    hub = get_hub()
    await hub.start()
    await asyncio.wait_for(hub.joined.wait(), TIMEOUT_S)
    run, socket, page = await watched()

    name = str(connection.settings_dict["NAME"])
    words = [redis_url, prefix, name, str(run.pk), "On my way"]
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ANOTHER_PROCESS, *words, cwd=ROOT
    )
    await page.read_until_text(socket, "On my way")
    await page.read_to(socket, 1)

    assert page.appended == [1]
    assert await other.wait() == 0
    await socket.disconnect()
    await hub.stop()
    await sync_to_async(connections.close_all)()


async def test_cut_connections_lose_no_row(hub: Hub, redis: RedisServer) -> None:
    run, socket, page = await watched()

    for number in range(1, 6):
        await asyncio.to_thread(redis.cut)
        await sync_to_async(say)(run, "one", "two")
        await page.read_to(socket, 2 * number)
    await the_layer_brings_news(run, socket, page)

    assert page.appended == list(range(1, 11))
    await socket.disconnect()


async def test_a_poke_goes_out_although_its_connection_was_cut(
    hub: Hub, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, socket, _ = await watched()
    heard: asyncio.Queue[str] = asyncio.Queue()
    monkeypatch.setattr(hub, "_take_poke", heard.put_nowait)

    await asyncio.to_thread(redis.cut, "normal")
    await sync_to_async(say)(run, "one")

    assert await asyncio.wait_for(heard.get(), TIMEOUT_S) == run_topic(run.pk)
    await socket.disconnect()


async def test_rows_come_while_redis_is_gone_and_the_hub_rejoins(
    hub: Hub, redis: RedisServer
) -> None:
    run, socket, page = await watched()

    await asyncio.to_thread(redis.kill)
    await sync_to_async(say)(run, "one", "two", "three")
    await page.read_to(socket, 3)
    await asyncio.to_thread(redis.start)
    await the_layer_brings_news(run, socket, page)
    await asyncio.wait_for(hub.joined.wait(), TIMEOUT_S)
    await sync_to_async(say)(run, "four")
    await page.read_to(socket, 4)

    assert page.appended == [1, 2, 3, 4]
    await socket.disconnect()


async def test_a_redis_that_hangs_is_seen_and_joined_again(
    hub: Hub, redis: RedisServer
) -> None:
    run, socket, page = await watched()

    redis.hang()
    await until(lambda: not hub.joined.is_set(), "The silence")
    await sync_to_async(say)(run, "one")
    await page.read_to(socket, 1)
    redis.go_on()
    await asyncio.wait_for(hub.joined.wait(), TIMEOUT_S)
    await the_layer_brings_news(run, socket, page)

    assert page.appended == [1]
    await socket.disconnect()


async def test_the_hub_joins_a_redis_that_comes_late(
    transactional_db: None, redis: RedisServer, settings: Any
) -> None:
    settings.CHANNEL_LAYERS = layer_of(redis.url, "asgi")
    await asyncio.to_thread(redis.kill)
    hub = get_hub()
    await hub.start()
    run, socket, page = await watched()

    await asyncio.to_thread(redis.start)
    await asyncio.wait_for(hub.joined.wait(), TIMEOUT_S)
    await the_layer_brings_news(run, socket, page)

    (layer,) = get_channel_layer()._layers.values()
    assert len(layer.channels) == 1  # those of the attempts before are forgotten
    await socket.disconnect()
    await hub.stop()
    await sync_to_async(connections.close_all)()


@pytest.mark.parametrize("state", ["gone", "hanging"])
async def test_who_writes_live_text_does_not_wait_for_redis(
    hub: Hub, redis: RedisServer, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr(pokes, "LAYER_TIMEOUT_S", LONG_S)
    await asyncio.to_thread(redis.kill if state == "gone" else redis.hang)
    sender = DeltaSender(uuid4())

    began = time.monotonic()
    for attempt in range(1, 50):
        await sender.text(1, attempt, "text")
    await sender.close()
    took_s = time.monotonic() - began

    assert took_s < LONG_S / 2


async def test_a_run_ends_as_if_redis_were_there(
    hub: Hub, redis: RedisServer, executor: Executor
) -> None:
    await asyncio.to_thread(redis.kill)

    shop.use(ScriptedModel(steps=[[assistant_message("end")]]))
    run = await sync_to_async(start)()

    await until_status(run, RunStatus.COMPLETED)


@pytest.mark.parametrize("at_home", [True, False])
async def test_a_decision_does_not_wait_for_a_redis_that_hangs(
    hub: Hub, redis: RedisServer, monkeypatch: pytest.MonkeyPatch, at_home: bool
) -> None:
    monkeypatch.setattr(pokes, "LAYER_TIMEOUT_S", LONG_S)

    def decided() -> float:
        ada = make_user("ada", "decide_request")
        request = make_request(make_run())
        began = time.monotonic()
        decide(request.pk, verdict="reject", by=ada, digest_seen=request.digest)
        return time.monotonic() - began

    if not at_home:  # as in a management command
        set_home(None)
    redis.hang()
    took_s = await sync_to_async(decided)()

    assert took_s < LONG_S / 2


async def test_a_poke_is_sent_where_no_loop_is_at_home(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    monkeypatch.setattr(hub, "_take_poke", heard.put_nowait)
    set_home(None)

    await sync_to_async(poke)("queue")

    assert await asyncio.wait_for(heard.get(), TIMEOUT_S) == "queue"


async def test_a_layer_that_hung_is_left_alone_for_a_while(
    hub: Hub, redis: RedisServer
) -> None:
    redis.hang()

    began = time.monotonic()
    for _ in range(20):
        await group_send({"type": "live.echo"})
    took_s = time.monotonic() - began

    assert took_s < 3 * pokes.LAYER_TIMEOUT_S
