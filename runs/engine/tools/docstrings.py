"""What a docstring says of a function and of its parameters, in three styles.

Only the description and the parameters are read; other sections are passed over.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

DocstringStyle = Literal["google", "numpy", "sphinx"]

# Of styles with as many marks in a docstring, the first named here is taken.
_MARKS: dict[DocstringStyle, tuple[str, ...]] = {
    "sphinx": (r"^:param\s", r"^:type\s", r"^:return:", r"^:rtype:"),
    "numpy": tuple(
        rf"^{title}\s*\n\s*-{{3,}}" for title in ("Parameters", "Returns", "Yields")
    ),
    "google": (r"^(Args|Arguments):", r"^Returns:", r"^Raises:"),
}
_GOOGLE_PARAMETERS = frozenset({"args", "arguments", "params", "parameters"})
_GOOGLE_HEADER = re.compile(r"^(?P<title>\w[\w\s-]*):(?P<rest>\s+\S.*)?\s*$")
_NUMPY_NAMES = re.compile(r"\*{0,2}[A-Za-z_]\w*(?:,\s\*{0,2}[A-Za-z_]\w*)*")
_SPHINX_PARAMETER = re.compile(r"^:(param|arg|key)")
_SPHINX_FIELD = re.compile(
    r"^:(param|arg|key|type|var|ivar|cvar|return|rtype|raise|except)"
)


@dataclass(frozen=True, slots=True)
class Documented:
    """The description, and what is said of each parameter by name."""

    description: str | None = None
    parameters: dict[str, str] = field(default_factory=dict)


def read_docstring(text: str | None, style: DocstringStyle | None = None) -> Documented:
    """Return what `text` says; None for `style` finds the style out."""
    text = inspect.cleandoc(text or "")
    if not text.strip():
        return Documented()
    readers = {"google": _google, "numpy": _numpy, "sphinx": _sphinx}
    return readers[style or _style_of(text)](text.split("\n"))


def _style_of(text: str) -> DocstringStyle:
    found: dict[DocstringStyle, int] = {
        style: sum(bool(re.search(mark, text, re.MULTILINE)) for mark in marks)
        for style, marks in _MARKS.items()
    }
    best = max(found, key=lambda style: found[style])
    return best if found[best] else "google"


def _google(lines: Sequence[str]) -> Documented:
    chunks: list[list[str]] = [[]]
    parameters: dict[str, str] = {}
    fenced, at = False, 0
    while at < len(lines):
        line = lines[at]
        fence = line.lstrip(" ").startswith("```")
        fenced = fenced != fence
        title = None if fenced or fence else _google_title(lines, at)
        at += 1
        if title is None:
            chunks[-1].append(line)
            continue
        end = at
        while end < len(lines) and (not lines[end].strip() or lines[end][0] in " \t"):
            end += 1
        if title in _GOOGLE_PARAMETERS:
            parameters.update(_google_parameters(lines[at:end]))
        chunks.append([])
        at = end
    return Documented(_first_text(chunks), parameters)


def _google_title(lines: Sequence[str], at: int) -> str | None:
    """Return the title, in lower case, of the section that starts at this line.

    A section has an indented line right below its title and, unless it is that of the
    parameters, a blank one above.
    """
    match = _GOOGLE_HEADER.match(lines[at])
    if match is None or at + 1 == len(lines) or not lines[at + 1].strip():
        return None
    title = match["title"].lower()
    stands_free = at == 0 or not lines[at - 1].strip()
    is_bare = title in _GOOGLE_PARAMETERS and match["rest"] is None
    if not (stands_free or is_bare) or lines[at + 1][0] not in " \t":
        return None
    return title


def _google_parameters(block: Sequence[str]) -> Iterator[tuple[str, str]]:
    indent = len(block[0]) - len(block[0].lstrip())
    for head, *more in _items(block, indent):
        name, colon, text = head.partition(":")
        if not colon:
            continue
        if "(" in name and name.endswith(")"):
            name = name.partition("(")[0]
        yield name.strip().lstrip("*"), _joined([text.lstrip(), *more])


def _numpy(lines: Sequence[str]) -> Documented:
    text: list[str] = []
    sections: list[tuple[str, list[str]]] = []
    fenced, current = False, text
    for line in lines:
        fence = line.lstrip(" ").startswith("```")
        fenced = fenced != fence
        if not fenced and _is_rule(line) and current and current[-1].strip():
            sections.append((current.pop().lower(), []))
            current = sections[-1][1]
        else:
            current.append(line)
    parameters: dict[str, str] = {}
    for title, block in sections:
        if title == "parameters":
            parameters.update(_numpy_parameters(block))
    return Documented(_first_text([text]), parameters)


def _numpy_parameters(block: Sequence[str]) -> Iterator[tuple[str, str]]:
    for head, *more in _items(block, 0):
        if match := _NUMPY_NAMES.match(head):
            for name in match[0].split(", "):
                yield name.lstrip("*"), _joined(more)


def _is_rule(line: str) -> bool:
    return "-" in line and not line.replace("-", "").strip()


def _items(block: Sequence[str], indent: int) -> list[list[str]]:
    """Return the items of a section: each starts at `indent`, the rest lies deeper."""
    items: list[list[str]] = []
    deeper = indent * 2 or 4
    for line in block:
        here = len(line) - len(line.lstrip())
        if not line.strip():
            if items:
                items[-1].append("")
        elif here < indent:
            break
        elif here == indent or not items:
            items.append([line[indent:]])
        else:
            items[-1].append(line[min(here, deeper) :])
    return items


def _sphinx(lines: Sequence[str]) -> Documented:
    text: list[str] = []
    parameters: dict[str, str] = {}
    at = 0
    while at < len(lines):
        start = at
        at += 1
        if not _SPHINX_FIELD.match(lines[start]):
            text.append(lines[start])
            continue
        while at < len(lines) and not lines[at].startswith(":"):
            at += 1
        _, names, *rest = "\n".join(lines[start:at]).split(":", 2)
        if rest and " " in names and _SPHINX_PARAMETER.match(lines[start]):
            name = names.split(" ")[-1].lstrip("*")
            parameters.setdefault(name, inspect.cleandoc(rest[0]).strip())
    return Documented(_first_text([text]), parameters)


def _first_text(chunks: Sequence[list[str]]) -> str | None:
    texts = (_joined(chunk) for chunk in chunks)
    return next((text for text in texts if text.strip()), None)


def _joined(lines: Sequence[str]) -> str:
    return "\n".join(lines).rstrip()
