"""The harness on both databases at once: nothing lost, nothing twice.

`make chaos KILLS=1000` does more of the same.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests import servers

from . import databases, kills
from .__main__ import start
from .conftest import KILLS, Harnesses

TIMEOUT_S = 1200


@pytest.fixture(scope="module", params=databases.KINDS)
def report(request: pytest.FixtureRequest, harnesses: Harnesses) -> dict[str, Any]:
    process, path = harnesses.started[request.param], harnesses.report(request.param)
    code = process.wait(TIMEOUT_S)
    if code == 0 and not path.exists():
        pytest.skip(servers.postgresql_fault())
    assert path.exists(), f"The harness ended with {code}; its output says why."
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_nothing_is_lost_and_nothing_happens_twice(report: dict[str, Any]) -> None:
    told = "\n".join([f"seed {report['seed']}", *report["logs"]])

    assert report["violations"] == [], told


def test_every_write_is_reached_by_a_story(report: dict[str, Any]) -> None:
    unreached = set(report["writes"]) - set(report["reached"])

    assert unreached == set(), "tell a story that reaches it, in scenarios.py"


def test_a_process_died_before_and_after_every_write_and_effect(
    report: dict[str, Any],
) -> None:
    spared = [
        (point, moment)
        for point in report["reached"]
        for moment, count in zip(kills.MOMENTS, report["killed"][point], strict=True)
        if not count
    ]

    assert spared == []


def test_enough_processes_were_seen_to_die(report: dict[str, Any]) -> None:
    by_rule = sum(sum(counts) for counts in report["killed"].values())

    assert report["kills"] == by_rule + report["killed_by_chance"] >= KILLS
    assert report["paused"]
    assert report["dropped"] or report["database"].startswith("SQLite")


def test_postgresql_may_be_missing_except_in_ci(tmp_path: Path) -> None:
    environment = {**os.environ, "TEST_DATABASE_URL": "postgresql://127.0.0.1:1/none"}
    codes = []
    for ci in ("", "true"):
        process = start(
            databases.POSTGRESQL,
            1,
            1,
            tmp_path / "report",
            environment={**environment, "CI": ci},
        )
        codes.append(process.wait(TIMEOUT_S))

    assert codes == [0, 1]
    assert list(tmp_path.iterdir()) == []
