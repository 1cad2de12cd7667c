"""The agents of the harness, known for one test alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from runs import registry

from . import journal, kills
from .plans import KEY


@pytest.fixture
def chaos_agents(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry, "_agents", dict(registry._agents))
    from .agents import chaos  # it registers itself as it is imported

    registry.register(chaos, key=KEY)
    journal.keep_in(tmp_path)
    monkeypatch.setattr(kills, "watch", kills.Watch("nobody", None))
