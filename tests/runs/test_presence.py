"""Who is alive on this machine: a lock that ends with its process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runs.presence import Presence


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Any) -> None:
    settings.DATA_DIR = tmp_path


def test_who_lives_is_not_dead_to_itself_or_others() -> None:
    one, other = Presence(), Presence()

    assert one.dead_owners() == other.dead_owners() == []

    one.leave()
    other.leave()


def test_who_has_died_is_found_until_buried() -> None:
    dead, alive = Presence(), Presence()
    dead._mark.close()  # as the kernel does after kill -9

    assert alive.dead_owners() == [dead.owner]
    alive.bury(dead.owner)
    assert alive.dead_owners() == []

    alive.leave()


def test_who_has_left_is_not_dead() -> None:
    gone, alive = Presence(), Presence()

    gone.leave()

    assert alive.dead_owners() == []
    alive.leave()
