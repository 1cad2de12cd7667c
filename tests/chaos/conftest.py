"""The harness, at work from the first test on; and its agents, for one test alone."""

from __future__ import annotations

import random
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from runs import registry

from . import journal, kills
from .__main__ import start
from .plans import KEY

HERE = Path(__file__).parent
KILLS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Harnesses:
    """One of each database that a selected test asks for."""

    folder: Path
    started: dict[str, subprocess.Popen[bytes]]

    def report(self, kind: str) -> Path:
        return self.folder / kind


HARNESSES = pytest.StashKey[Harnesses]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ask for the reports last: the harness waits much, and others work meanwhile."""
    items.sort(key=lambda item: bool(_databases(item)))


def pytest_collection_finish(session: pytest.Session) -> None:
    wanted = {kind for item in session.items for kind in _databases(item)}
    if not wanted or session.config.option.collectonly:
        return
    folder, seed = (
        Path(tempfile.mkdtemp(prefix="placet-chaos-")),
        random.randrange(10**6),
    )
    harnesses = Harnesses(
        folder=folder,
        started={kind: start(kind, KILLS, seed, folder / kind) for kind in wanted},
    )
    session.stash[HARNESSES] = harnesses


def pytest_sessionfinish(session: pytest.Session) -> None:
    if (harnesses := session.stash.get(HARNESSES, None)) is None:
        return
    for process in harnesses.started.values():
        process.kill()
        process.wait()
    shutil.rmtree(harnesses.folder)


def _databases(item: pytest.Item) -> set[str]:
    """Return the database whose report the test reads, if it reads one."""
    if not isinstance(item, pytest.Function) or HERE not in item.path.parents:
        return set()
    has_one = "report" in item.fixturenames
    return {str(item.callspec.params["report"])} if has_one else set()


@pytest.fixture(scope="session")
def harnesses(request: pytest.FixtureRequest) -> Harnesses:
    return request.session.stash[HARNESSES]


@pytest.fixture
def chaos_agents(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry, "_agents", dict(registry._agents))
    from .agents import chaos  # it registers itself as it is imported

    registry.register(chaos, key=KEY)
    journal.keep_in(tmp_path)
    monkeypatch.setattr(kills, "watch", kills.Watch("nobody", None))
