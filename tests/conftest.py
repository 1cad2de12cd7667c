"""Fixtures: only what has a lifetime. Builders are in `factories`.

With PLACET_TEST_ON=postgresql, the tests that use a database run on that one, and no
others.
"""

from __future__ import annotations

import gc
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from unittest.mock import patch

import pytest
from asgiref.sync import SyncToAsync
from django.core.management.commands import flush
from django.db import connection, connections

from approvals.roles import ensure_groups
from runs.executor import Executor

from . import servers
from .shop import agents as shop

if servers.ON_POSTGRESQL:
    collect_ignore = ["engine", "differential", "browser", "chaos", "checks"]
    collect_ignore += ["test_docs.py"]
    # Pages and forms: what they show is read as on SQLite, and what they store is
    # stored by services whose own tests run here.
    collect_ignore += ["test_pages.py", "admin/test_admin.py", "approvals/hostile"]
    collect_ignore += [
        f"approvals/test_{name}.py"
        for name in ("display", "edit_page", "provenance", "rule_pages", "settings")
    ]
    collect_ignore += ["approvals/test_verbs.py"]


def pytest_configure() -> None:
    if servers.ON_POSTGRESQL and (fault := servers.postgresql_fault()):
        pytest.exit(
            f"The tests on PostgreSQL were left out. {fault}",
            returncode=int(servers.REQUIRED),
        )


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Take out what is not for this run's database."""
    chosen = _on_postgresql if servers.ON_POSTGRESQL else _on_sqlite
    left_out = [item for item in items if not chosen(item)]
    items[:] = [item for item in items if chosen(item)]
    config.hook.pytest_deselected(items=left_out)


def pytest_collection_finish() -> None:
    """Spare the collector what is there for good: half a million objects a time."""
    gc.collect()
    gc.freeze()


def _on_sqlite(item: pytest.Item) -> bool:
    return item.get_closest_marker("postgresql") is None


def _on_postgresql(item: pytest.Item) -> bool:
    if item.get_closest_marker("sqlite") is not None:
        return False
    fixtures: list[str] = getattr(item, "fixturenames", [])
    uses_a_database = {"db", "transactional_db"}.intersection(fixtures)
    return bool(uses_a_database) or item.get_closest_marker("django_db") is not None


@pytest.fixture(autouse=True, scope="session")
def emptied_fast() -> Iterator[None]:
    """Have a database that is emptied between tests keep what all tests share."""
    with patch.object(flush, "emit_post_migrate_signal", _make_groups):
        yield


def _make_groups(*_: Any, **__: Any) -> None:
    """Do what is left of Django's signal where `emptied.KEPT` is kept."""
    ensure_groups()


@pytest.fixture(autouse=True)
def returned_connections() -> Iterator[None]:
    """See that a test gives back to the pool whatever connections it took."""
    yield
    if not servers.ON_POSTGRESQL:
        return
    # The thread that async tests share for their own queries.
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()
    end = time.monotonic() + servers.PATIENCE_S
    while (taken := _taken()) > 1 and time.monotonic() < end:
        time.sleep(0.01)  # a thread that has just been told to end
    assert taken <= 1, f"{taken - 1} connections are still taken, beside the test's own"


def _taken() -> int:
    """Return how many connections are out of Django's pool."""
    on_postgresql: Any = connection
    found = on_postgresql.pool.get_stats()
    return int(found["pool_size"] - found["pool_available"])


@pytest.fixture(scope="session")
def redis_url() -> str:
    """The Redis of the tests; where there is none, the test is left out."""
    if fault := servers.redis_fault():
        (pytest.fail if servers.REQUIRED else pytest.skip)(fault)
    return servers.REDIS_URL


@pytest.fixture
def effects() -> shop.Effects:
    """What the shop's tools have done, empty at the start."""
    shop.effects.clear()
    shop.effects.release.clear()
    return shop.effects


@pytest.fixture
async def executor(transactional_db: None) -> AsyncIterator[Executor]:
    """A runner on this test's loop and database."""
    running = Executor(concurrency=20)
    await running.start()
    yield running
    await running.stop(grace_s=5)
