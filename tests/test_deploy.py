"""What docs/deploy.md and deploy/ say is so, as far as it shows without a machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "deploy.md"
DEPLOY = ROOT / "deploy"
UNITS = sorted(DEPLOY.glob("systemd/*.service"))
# What only units, the proxy and the compose file read.
THEIRS = {"PLACET_LISTEN", "PLACET_HOST", "PLACET_WEBS"}


def variables(text: str) -> set[str]:
    return set(re.findall(r"\bPLACET_[A-Z_]+\b|\b[A-Z]+_URL\b", text))


def read_by_us() -> set[str]:
    """Return every variable of the environment that some code of ours names."""
    code = [*ROOT.glob("config/*.py"), *ROOT.glob("runs/**/*.py")]
    return variables("\n".join(path.read_text() for path in code))


def test_every_variable_of_the_guides_table_is_read() -> None:
    table = re.findall(r"^\| `([A-Z_]+)` \|", GUIDE.read_text(), re.MULTILINE)

    assert len(table) > 5
    assert set(table) - read_by_us() - THEIRS == set()


@pytest.mark.parametrize(
    "path",
    [*UNITS, *(DEPLOY / name for name in ("Dockerfile", "compose.yaml", "Caddyfile"))],
    ids=lambda path: path.name,
)
def test_every_variable_that_is_set_is_read(path: Path) -> None:
    assert variables(path.read_text()) - read_by_us() - THEIRS == set()


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_waits_for_the_steps_in_hand(path: Path) -> None:
    limit = re.search(r"^TimeoutStopSec=(\d+)$", path.read_text(), re.MULTILINE)

    assert limit
    assert int(limit[1]) >= settings.PLACET_LEAVE_GRACE.total_seconds() + 10


def test_the_image_holds_every_app() -> None:
    copied = set(
        re.findall(r"^COPY (\w+) \w+$", (DEPLOY / "Dockerfile").read_text(), re.M)
    )
    let_in = (DEPLOY / "Dockerfile.dockerignore").read_text()
    ours = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}

    assert ours | {"static", "templates"} <= copied
    assert copied <= set(re.findall(r"^!(\w+)$", let_in, re.M))
