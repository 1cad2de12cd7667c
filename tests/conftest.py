"""Fixtures: only what has a lifetime. Builders are in `factories`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from runs.executor import Executor

from .shop import agents as shop


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
