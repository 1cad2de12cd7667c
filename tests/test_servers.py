"""What a test run says and does where PostgreSQL or Redis is not there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_needs_redis(redis_url: str) -> None:
    assert redis_url.startswith("redis://")


def pytest_run(chosen: str, **changes: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", chosen]
    environment = {**os.environ, "CI": "", **changes}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_without_postgresql_its_tests_are_left_out_and_fail_in_ci(
    ci: str, code: int
) -> None:
    done = pytest_run(
        "tests/test_health.py",
        PLACET_TEST_ON="postgresql",
        TEST_DATABASE_URL="postgresql://127.0.0.1:1/none",
        CI=ci,
    )

    assert done.returncode == code
    assert "The tests on PostgreSQL were left out" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("ci", "code", "told"), [("", 0, "SKIPPED [1]"), ("true", 1, "ERROR")]
)
def test_without_redis_its_tests_are_left_out_and_fail_in_ci(
    ci: str, code: int, told: str
) -> None:
    here = f"tests/test_servers.py::{test_needs_redis.__name__}"

    done = pytest_run(here, TEST_REDIS_URL="redis://127.0.0.1:1", CI=ci)

    assert done.returncode == code
    assert "Redis (TEST_REDIS_URL) cannot be used" in done.stdout
    assert told in done.stdout
