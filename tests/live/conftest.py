from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from runs.live.hub import Hub, get_hub


@pytest.fixture
async def hub(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Hub]:
    """The hub of this test's loop, listening; its clock is the test's to turn."""
    monkeypatch.setattr("runs.live.hub.TICK_S", 3600)
    hub = get_hub()
    await hub.start()
    await hub.joined.wait()
    yield hub
    await hub.stop()
    await sync_to_async(connections.close_all)()
