"""The code of the documentation, run as a reader would run it.

A block ```` ```python ```` stands alone; one with a name, ```` ```python pause ````,
goes on where the block of that name before it ended; the word `db` after the name runs
it on the app's database. An expression with `# -> text` beside or below it must give
just that, `# -> raises Name: text` that error.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import io
import re
import sys
import tokenize
import types
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import runs.engine
from runs import registry
from runs.engine import (
    reset_conversation_history_wrappers,
    set_agent_registry,
    set_trace_processors,
)

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "engine.md"
README = ROOT / "README.md"
DEPLOY = ROOT / "docs" / "deploy.md"
FENCE = re.compile(r"^```python *(?P<words>.*)\n(?P<code>(?s:.*?))^```$", re.MULTILINE)
NAME = re.compile(r"\bruns\.engine((?:\.\w+)+)")


@dataclass(frozen=True, slots=True)
class Block:
    path: Path
    line: int
    """Of its first line of code, from 1."""
    words: tuple[str, ...]
    code: str

    @property
    def name(self) -> str:
        return self.words[0] if self.words else f"line {self.line}"

    def placed(self) -> str:
        """Return the code at its own lines of the file, for tracebacks to name them."""
        return "\n" * (self.line - 1) + self.code


def blocks_of(path: Path) -> list[Block]:
    text = path.read_text()
    return [
        Block(
            path,
            text.count("\n", 0, found.start("code")) + 1,
            tuple(found["words"].split()),
            found["code"],
        )
        for found in FENCE.finditer(text)
    ]


def chains() -> Iterator[Any]:
    """Yield what must run: all of the guide, and what has a name in the README."""
    named = [block for block in blocks_of(README) if block.words]
    found: dict[str, list[Block]] = {}
    for block in [*named, *blocks_of(GUIDE)]:
        found.setdefault(f"{block.path.name}: {block.name}", []).append(block)
    for name, chain in found.items():
        needs_db = any("db" in block.words for block in chain)
        marks = [pytest.mark.django_db(transaction=True)] if needs_db else []
        yield pytest.param(chain, id=name, marks=marks)


class Checks:
    """Compares what expressions give with what is shown beside them."""

    def __init__(self) -> None:
        self.made: set[tuple[Path, int]] = set()
        """Files and lines of the checks that were made."""

    def same(self, value: object, expected: str, path: str, line: int) -> None:
        """Raise AssertionError unless `value` is written as `expected`."""
        self.made.add((Path(path), line))
        assert " ".join(repr(value).split()) == expected

    def raised(
        self, error: Exception | None, expected: str, path: str, line: int
    ) -> None:
        """Raise AssertionError when there is no such error, and any other error."""
        self.made.add((Path(path), line))
        name, _, text = expected.partition(": ")
        assert error is not None, f"nothing raised {name}"
        if type(error).__name__ != name:
            raise error
        assert " ".join(str(error).split()) == text or not text


def expectations(code: str) -> dict[int, str]:
    """Return the texts of the comments `# ->`, by the last line of their statement."""
    found: dict[int, str] = {}
    statement, comment = 0, 0
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.NEWLINE:
            statement = token.start[0]
        elif token.type == tokenize.COMMENT and token.string.startswith("# ->"):
            alone = not token.line[: token.start[1]].strip()
            comment = statement if alone else token.start[0]
            found[comment] = token.string.removeprefix("# ->").strip()
        elif token.type == tokenize.COMMENT and token.string.startswith("#    "):
            found[comment] += " " + token.string.removeprefix("#").strip()
    return found


class Checking(ast.NodeTransformer):
    """Puts a check around each expression that has an expectation."""

    def __init__(self, path: Path, expected: dict[int, str]) -> None:
        self.path = path
        self.expected = expected

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        line = node.end_lineno or 0
        expected = self.expected.pop(line, None)
        if expected is None:
            return node
        if expected.startswith("raises "):
            text = expected.removeprefix("raises ")
            return self._with_check_of_error(node, text, line)
        check = ast.Expr(self._call("same", node.value, expected, line))
        return ast.copy_location(check, node)

    def _with_check_of_error(self, node: ast.Expr, text: str, line: int) -> ast.stmt:
        # The check comes after the try, whose handler would take its own failure.
        noted = ast.parse(
            "if True:\n"
            "    __error__ = None\n"
            "    try:\n        pass\n"
            "    except Exception as error:\n        __error__ = error"
        ).body[0]
        assert isinstance(noted, ast.If)
        for made in ast.walk(noted):
            ast.copy_location(made, node)
        attempt = noted.body[1]
        assert isinstance(attempt, ast.Try)
        attempt.body = [node]
        error = ast.Name("__error__", ast.Load())
        check = ast.Expr(self._call("raised", error, text, line))
        noted.body.append(ast.copy_location(check, node))
        return noted

    def _call(self, name: str, value: ast.expr, text: str, line: int) -> ast.Call:
        method = ast.Attribute(ast.Name("__checks__", ast.Load()), name, ast.Load())
        told = [ast.Constant(given) for given in (text, str(self.path), line)]
        return ast.Call(method, [value, *told], [])


def compiled(block: Block) -> tuple[types.CodeType, set[tuple[Path, int]]]:
    """Return the block's code, with its checks, and where these are."""
    source = block.placed()
    expected = expectations(source)
    places = {(block.path, line) for line in expected}
    tree = Checking(block.path, expected).visit(ast.parse(source))
    assert expected == {}, "these stand beside no expression"
    return _compile(ast.fix_missing_locations(tree), block), places


def _compile(source: Any, block: Block) -> types.CodeType:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code: types.CodeType = compile(source, str(block.path), "exec", flags=flags)
    return code


def run(block: Block, module: types.ModuleType, loop: asyncio.Runner) -> None:
    """Run a block; the loop runs only where it awaits something, as in a shell."""
    code, places = compiled(block)
    checks = module.__dict__.setdefault("__checks__", Checks())
    # The documentation is ours; running it is the test.
    ended = eval(code, module.__dict__)  # noqa: S307
    if code.co_flags & inspect.CO_COROUTINE:
        loop.run(ended)
    assert places <= checks.made, "these were never reached"


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put back what a block sets for the whole process."""
    monkeypatch.setattr(registry, "_agents", dict(registry._agents))
    yield
    set_agent_registry(None)
    set_trace_processors([])
    reset_conversation_history_wrappers()


@pytest.mark.parametrize("chain", list(chains()))
def test_code_does_what_is_shown(
    chain: list[Block], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = types.ModuleType("guide")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings(), asyncio.Runner() as loop:
        warnings.simplefilter("error")
        for block in chain:
            run(block, module, loop)

        left = asyncio.all_tasks(loop.get_loop())

    assert left == set()


@pytest.mark.parametrize("path", [README, GUIDE], ids=lambda path: path.name)
def test_every_block_of_python_is_found_and_compiles(path: Path) -> None:
    blocks = blocks_of(path)

    compiled = [_compile(block.placed(), block) for block in blocks]

    assert len(compiled) == path.read_text().count("```python") > 0


def test_every_name_of_the_guide_exists() -> None:
    names = sorted({found[1] for found in NAME.finditer(GUIDE.read_text())})

    assert [name for name in names if not exists(name)] == []


@pytest.mark.parametrize("path", [README, GUIDE, DEPLOY], ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    text = path.read_text()
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    slugs = {
        re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings
    }

    links = re.findall(r"\]\((?!http)([^)\s]+)\)", FENCE.sub("", text))

    assert [
        link
        for link in links
        if (
            link[1:] not in slugs
            if link[0] == "#"
            else not (path.parent / link).exists()
        )
    ] == []


def exists(dotted: str) -> bool:
    """Say whether `.a.b` leads to a module or an attribute below `runs.engine`."""
    found: Any = runs.engine
    for part in dotted.removeprefix(".").split("."):
        if not hasattr(found, part):
            try:
                importlib.import_module(f"{found.__name__}.{part}")
            except (ImportError, AttributeError):
                return False
        found = getattr(found, part)
    return True


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        ("1 + 1  # -> 2\n", ""),
        ("[1,\n 2]\n# -> [1,\n#     2]\n", ""),
        ("int('x')  # -> raises ValueError\n", ""),
        ("1 + 1  # -> 3\n", "2"),
        ("1 + 1  # -> raises ValueError\n", "nothing raised"),
        ("int('x')  # -> raises ValueError: another\n", "invalid literal"),
        ("x = 1  # -> 1\n", "stand beside no expression"),
        ("for x in []:\n    x  # -> 1\n", "never reached"),
    ],
)
def test_a_check_is_a_check(code: str, failure: str) -> None:
    module = types.ModuleType("guide")

    with asyncio.Runner() as loop:
        if failure:
            with pytest.raises(AssertionError, match=failure):
                run(Block(GUIDE, 1, (), code), module, loop)
        else:
            run(Block(GUIDE, 1, (), code), module, loop)
