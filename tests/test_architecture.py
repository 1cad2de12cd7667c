"""Imports point one way: approvals → runs → runs.engine, which stands alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def imports(folder: str) -> Iterator[tuple[str, str]]:
    """Yield (file, absolute name of what it imports), imports in functions included."""
    for path in (ROOT / folder).rglob("*.py"):
        package = path.relative_to(ROOT).with_suffix("").parts[:-1]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield str(path.relative_to(ROOT)), alias.name
            elif isinstance(node, ast.ImportFrom):
                base = package[: len(package) - node.level + 1] if node.level else ()
                yield (
                    str(path.relative_to(ROOT)),
                    ".".join([*base, *filter(None, [node.module])]),
                )


@pytest.mark.parametrize(
    ("folder", "never"),
    [
        ("runs/engine", ("django", "channels", "approvals", "demo", "config")),
        ("runs", ("approvals", "demo", "config", "tests")),
        ("approvals", ("demo", "config", "tests")),
        ("demo", ("approvals", "config", "tests")),
    ],
)
def test_imports_point_one_way(folder: str, never: tuple[str, ...]) -> None:
    wrong = [
        (where, name)
        for where, name in imports(folder)
        if name.split(".")[0] in never
        and "management/commands/seed_demo" not in where  # makes users and roles
    ]

    assert wrong == []


def test_the_engine_imports_nothing_of_runs_around_it() -> None:
    wrong = [
        (where, name)
        for where, name in imports("runs/engine")
        if name.startswith("runs") and not name.startswith("runs.engine")
    ]

    assert wrong == []


def test_a_fresh_interpreter_imports_the_engine_without_django() -> None:
    code = (
        "import sys, runs.engine, runs.engine.testing; print('django' in sys.modules)"
    )

    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert told.stdout == "False\n"
