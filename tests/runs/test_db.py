"""The runner's door to the database: writes that share a commit, reads that do not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from runs import transactions
from runs.db import Database
from runs.models import Worker
from runs.transactions import write

pytestmark = pytest.mark.django_db(transaction=True)


@write
def add(name: str) -> str:
    now = timezone.now()
    Worker.objects.create(
        name=name, host="h", pid=1, concurrency=1, started_at=now, seen_at=now
    )
    return name


@write
def add_and_fail(name: str) -> None:
    add(name)
    raise ValueError(name)


def names() -> set[str]:
    return set(Worker.objects.values_list("name", flat=True))


@pytest.fixture
async def database(transactional_db: None) -> AsyncIterator[Database]:
    database = Database()
    yield database
    await database.close()


class Gate:
    """Holds the writer up, so that what comes meanwhile waits together."""

    def __init__(self) -> None:
        self.entered, self.open = threading.Event(), threading.Event()

    def pass_through(self) -> None:
        self.entered.set()
        assert self.open.wait(60)


async def at_once(
    database: Database, *writes: tuple[Callable[..., Any], Any]
) -> list[Any]:
    """Have the writes wait together, and return what came of each."""
    gate = Gate()
    first = asyncio.ensure_future(database.write(None, gate.pass_through))
    await asyncio.to_thread(gate.entered.wait, 10)
    waiting = [
        asyncio.ensure_future(database.write(None, write, name))
        for write, name in writes
    ]
    await asyncio.sleep(0)  # each has put itself into the queue
    gate.open.set()
    await first
    return await asyncio.gather(*waiting, return_exceptions=True)


@pytest.fixture
def commits() -> Iterator[list[int]]:
    """How many writes each commit was of."""
    sizes: list[int] = []

    def watch(when: str, writes: tuple[str, ...]) -> None:
        if when == "after":
            sizes.append(len(writes))

    transactions.watcher = watch
    yield sizes
    transactions.watcher = None


async def test_writes_that_wait_together_share_a_commit(
    database: Database, commits: list[int]
) -> None:
    told = await at_once(database, *((add, f"w{n}") for n in range(10)))

    assert told == [f"w{n}" for n in range(10)]
    assert commits == [10]


async def test_a_write_that_fails_takes_no_other_with_it(database: Database) -> None:
    told = await at_once(
        database, (add, "a"), (add_and_fail, "b"), (add, "a"), (add, "c")
    )

    assert told[0::3] == ["a", "c"]
    assert isinstance(told[1], ValueError)
    assert isinstance(told[2], IntegrityError)
    assert await sync_to_async(names)() == {"a", "c"}


async def test_a_write_that_spoils_the_transaction_takes_no_other_with_it(
    database: Database,
) -> None:
    told = await at_once(database, (add, "a"), (_spoil, "b"), (add, "c"))

    assert [told[0], told[2]] == ["a", "c"]
    assert {"a", "c"} <= await sync_to_async(names)()


def _spoil(name: str) -> None:
    """Leave a transaction in which nothing more can be stored."""
    if connection.in_atomic_block:
        transaction.set_rollback(True)
        raise ValueError(name)


async def test_a_commit_that_fails_is_told_to_all_of_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(when: str, writes: tuple[str, ...]) -> None:
        if when == "before":
            raise OSError("the disk is full")

    monkeypatch.setattr(transactions, "watcher", full)
    told = await at_once(database, (add, "a"), (add, "b"))

    assert [type(error) for error in told] == [OSError, OSError]
    assert await sync_to_async(names)() == set()


async def test_whoever_waits_is_told_after_the_commit(database: Database) -> None:
    seen: list[bool] = []

    async def told() -> None:
        await database.write(None, add, "a")
        seen.append("a" in await sync_to_async(names)())

    await told()

    assert seen == [True]


async def test_writes_that_nobody_waits_for_any_more_are_made_all_the_same(
    database: Database,
) -> None:
    gate = Gate()
    first = asyncio.ensure_future(database.write(None, gate.pass_through))
    await asyncio.to_thread(gate.entered.wait, 10)
    given_up = asyncio.ensure_future(database.write(None, add, "a"))
    await asyncio.sleep(0)
    given_up.cancel()
    gate.open.set()
    await first
    await database.write(None, add, "b")

    assert await sync_to_async(names)() == {"a", "b"}


async def test_reads_do_not_wait_for_the_writer(database: Database) -> None:
    gate = Gate()
    held = asyncio.ensure_future(database.write(None, gate.pass_through))
    await asyncio.to_thread(gate.entered.wait, 10)

    async with asyncio.timeout(10):
        found = await database.read(names)

    gate.open.set()
    await held
    assert found == set()


@pytest.mark.skipif(
    connection.vendor != "sqlite", reason="Only SQLite has one lock for all writes."
)
async def test_a_page_gets_its_turn_while_the_writer_is_never_done(
    database: Database,
) -> None:
    done: list[str] = []

    @write
    def work(name: str) -> None:
        add(name)
        done.append(name)

    waiting = [
        asyncio.ensure_future(database.write(None, work, f"w{n}")) for n in range(6000)
    ]
    await waiting[0]
    begun = len(done)
    for number in range(10):
        await sync_to_async(add)(f"page{number}")

    # Not all of the backlog before the first: a few commits before each.
    assert len(done) - begun < len(waiting) / 2
    await asyncio.gather(*waiting)
