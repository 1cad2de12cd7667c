"""How many runs are worked on at once, how many may wait, and who is next."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runs import registry, services
from runs.engine import Agent, ModelResponse
from runs.engine.testing import ScriptedModel, assistant_message
from runs.executor import Executor
from runs.models import Conversation, Run, RunStatus, Worker
from runs.services import lease as leases
from runs.services import workers
from tests.factories import bob, start, until
from tests.shop import agents as shop
from tests.webhooks.factories import make_source, signed

pytestmark = pytest.mark.django_db(transaction=True)

LimitShop = Callable[[int], None]


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test register what it likes."""
    registry.all_agents()
    monkeypatch.setattr(registry, "_agents", dict(registry._agents))


def limit_shop(count: int) -> None:
    registry.register(registry.get("shop").agent, key="shop", max_running=count)


def queue(*agents: str) -> list[UUID]:
    """Queue a run of each agent, oldest first."""
    for agent in {*agents} - {"shop"}:
        registry.register(Agent(name=agent, model=shop.model), key=agent)
    return [start(agent=agent).pk for agent in agents]


def count_running() -> int:
    return Run.objects.filter(status=RunStatus.RUNNING).count()


class SlowModel(ScriptedModel):
    """Answers each request with a word once it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.go = asyncio.Semaphore(0)

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        raise NotImplementedError

    async def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        self.asked += 1
        await self.go.acquire()
        self.enqueue([assistant_message("done")])
        async for event in super().stream_response(*args, **kwargs):
            yield event


# How many at once


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="give at least 1"):
        limit_shop(0)


def test_a_run_at_the_limit_stays_queued_until_another_has_ended() -> None:
    limit_shop(1)
    first, second = queue("shop", "shop")
    lease = leases.take(first, "one")
    assert lease

    refused = leases.take(second, "two")
    assert refused is None
    assert Run.objects.get(pk=second).status == RunStatus.QUEUED
    assert leases.runnable_ids(10) == []
    leases.finish(lease, RunStatus.COMPLETED)

    assert leases.runnable_ids(10) == [second]
    assert leases.take(second, "two")


def test_a_run_that_waits_for_a_person_needs_no_place() -> None:
    limit_shop(1)
    first, second = queue("shop", "shop")
    lease = leases.take(first, "one")
    assert lease
    leases.park(lease)

    assert leases.take(second, "two")
    services.wake(first)
    assert leases.take(first, "one") is None


def test_an_agent_at_its_limit_holds_up_no_other() -> None:
    limit_shop(1)
    first, *rest = queue("shop", "shop", "other", "shop", "another", "other")
    assert leases.take(first, "one")

    assert leases.runnable_ids(10) == [rest[1], rest[3], rest[4]]
    assert leases.runnable_ids(2) == [rest[1], rest[3]]


def test_the_oldest_is_next_whatever_its_agent() -> None:
    limit_shop(3)
    queued = queue("shop", "other", "shop", "another", "shop", "shop")

    assert leases.runnable_ids(10) == queued[:5]
    assert leases.runnable_ids(3) == queued[:3]
    assert leases.runnable_ids(10, excluding=queued[:2]) == queued[2:]


def test_no_more_runs_than_the_limit_in_all(settings: Any) -> None:
    settings.PLACET_MAX_RUNNING = 2
    one, two, three = queue("shop", "other", "another")
    lease = leases.take(one, "a")
    assert lease

    assert leases.runnable_ids(10) == [two]
    assert leases.take(two, "b")
    assert leases.take(three, "b") is None
    leases.finish(lease, RunStatus.FAILED)
    assert leases.take(three, "b")


def test_whose_worker_is_gone_keeps_its_place_under_a_lowered_limit() -> None:
    taken = queue("shop", "shop", "shop")
    for run in taken:
        leases.take(run, "dead")
    leases.expire("dead")
    limit_shop(1)
    [fresh] = queue("shop")

    assert set(leases.runnable_ids(10)) == set(taken)
    assert all(leases.take(run, "alive") for run in taken)
    assert leases.take(fresh, "alive") is None


@pytest.mark.parametrize("limit", ["of the agent", "in all"])
def test_many_workers_take_no_more_than_the_limit(settings: Any, limit: str) -> None:
    if limit == "in all":
        settings.PLACET_MAX_RUNNING = 2
    else:
        limit_shop(2)
    queued = queue(*["shop"] * 8)
    together = threading.Barrier(len(queued))

    def worker(run: UUID) -> leases.Lease | None:
        together.wait()
        try:
            for _ in range(50):  # one who is told no, as another counts, asks again
                if lease := leases.take(run, f"worker of {run}"):
                    return lease
            return None
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(queued)) as pool:
        for _ in range(5):
            taken = [lease for lease in pool.map(worker, queued) if lease]

            assert len(taken) == count_running() == 2
            for lease in taken:
                leases.release(lease)


async def test_the_runner_keeps_to_the_limit_and_goes_on_when_a_place_is_free(
    executor: Executor, settings: Any
) -> None:
    settings.PLACET_SWEEP_EVERY = timedelta(hours=1)  # it is told, or nothing happens
    limit_shop(2)
    model = SlowModel()
    shop.use(model)
    await sync_to_async(queue)(*["shop"] * 4)
    await until(lambda: model.asked == 2)

    model.go.release()

    await until(lambda: model.asked == 3)
    assert await sync_to_async(count_running)() == 2
    for _ in range(3):
        model.go.release()
    await until(lambda: not Run.objects.exclude(status=RunStatus.COMPLETED).exists())


def test_what_is_next_is_read_from_an_index() -> None:
    limit_shop(1)
    queue("shop", "shop", "other")
    with CaptureQueriesContext(connection) as captured:
        leases.runnable_ids(10)

    plans = list(plans_of(captured))

    assert len(plans) == 5  # gone, working, agents, and one for each agent
    for plan in plans[2:]:
        assert "run_queued_of_agent" in plan
        assert "ORDER BY" not in plan


def plans_of(captured: CaptureQueriesContext) -> Iterator[str]:
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL's plans depend on what it knows of the rows.")
    with connection.cursor() as cursor:
        for query in list(captured.captured_queries):
            cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
            yield str(cursor.fetchall())


# How many may wait


def test_a_full_queue_takes_no_new_run(settings: Any) -> None:
    settings.PLACET_MAX_QUEUED = 2
    queue("shop", "shop")

    with pytest.raises(services.QueueFull, match="2 runs wait for a worker"):
        start()

    assert (Run.objects.count(), Conversation.objects.count()) == (2, 2)
    leases.take(Run.objects.earliest("id").pk, "one")
    assert start().status == RunStatus.QUEUED


def test_no_limit_of_the_queue_is_none(settings: Any) -> None:
    settings.PLACET_MAX_QUEUED = 0

    assert start().status == RunStatus.QUEUED


def test_a_decision_is_taken_however_full_the_queue_is(settings: Any) -> None:
    run, _ = queue("shop", "shop")
    lease = leases.take(run, "one")
    assert lease
    leases.park(lease)
    settings.PLACET_MAX_QUEUED = 1

    services.wake(run)

    assert Run.objects.get(pk=run).status == RunStatus.QUEUED


def test_an_unread_message_begins_its_run_however_full_the_queue_is(
    settings: Any,
) -> None:
    [run] = queue("shop")
    lease = leases.take(run, "one")
    assert lease
    conversation = Run.objects.get(pk=run).conversation
    services.send_message(conversation.pk, "And then?", by=None)
    queue("shop")
    settings.PLACET_MAX_QUEUED = 1

    leases.finish(lease, RunStatus.COMPLETED)

    assert conversation.runs.filter(status=RunStatus.QUEUED).count() == 1


def test_the_page_says_that_the_queue_is_full(settings: Any, client: Client) -> None:
    queue("shop")
    settings.PLACET_MAX_QUEUED = 1
    client.force_login(bob())

    page = client.post("/conversations/new/", {"agent": "shop", "text": "Hello"})

    assert page.status_code == 422
    assert "try again in a few minutes" in page.content.decode()
    assert Run.objects.count() == 1


def test_the_command_says_that_the_queue_is_full(settings: Any) -> None:
    queue("shop")
    settings.PLACET_MAX_QUEUED = 1

    with pytest.raises(CommandError, match="The queue is full"):
        call_command("start_run", "Hello", agent="shop", stdout=StringIO())


def test_a_sender_is_told_to_come_again(settings: Any, client: Client) -> None:
    queue("shop")
    settings.PLACET_MAX_QUEUED = 1
    source, body = make_source(), json.dumps({"order": {"id": 7}}).encode()

    answer = client.post(
        f"/webhooks/{source.slug}/",
        body,
        content_type="application/json",
        headers=signed(body, secret=source.secret),
    )

    assert (answer.status_code, answer["Retry-After"]) == (503, "30")
    assert "The queue is full" in answer.json()["error"]
    assert not source.deliveries.exists()


# What workers tell of themselves


async def test_a_runner_is_seen_while_it_works(
    transactional_db: None, settings: Any
) -> None:
    settings.PLACET_LEASE = timedelta(seconds=0.3)
    running = Executor(concurrency=7)
    await running.start()
    entered = await until(Worker.objects.first, "the worker")

    await until(
        lambda: Worker.objects.filter(seen_at__gt=entered.seen_at).exists(), "a beat"
    )
    await running.stop()

    left = await Worker.objects.aget()
    assert (left.name, left.concurrency) == (running.name, 7)
    assert left.left_at is not None


def test_rows_of_workers_long_gone_go() -> None:
    now = timezone.now()
    ages = {"silent": timedelta(hours=30), "left": timedelta(hours=2)}
    for name in ("here", *ages):
        workers.enter(name, concurrency=1)
        seen = now - ages.get(name, timedelta())
        Worker.objects.filter(name=name).update(
            seen_at=seen, left_at=seen if name == "left" else None
        )

    workers.enter("new", concurrency=1)

    assert set(Worker.objects.values_list("name", flat=True)) == {"here", "new"}
    assert not workers.beat("silent")
    assert workers.beat("here")
