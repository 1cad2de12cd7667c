"""A call's arguments as a person can judge them: rows of inert, labelled text.

Builds on `runs.inert`. What is shown is what would run: numbers keep the spelling the
model gave them, and whatever is too long to show at once says how much is missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from runs import codec, inert
from runs.engine.digest import MalformedArguments, parse_arguments
from runs.inert import Segment

VALUE_CHARS = 4_000
"""Of one value, shown at once."""
TOTAL_CHARS = 20_000
"""Of all values, shown at once."""
MAX_ROWS = 200
PATH_CHARS = 400
SUMMARY_CHARS = 300
SUMMARY_VALUE_CHARS = 60


class _Number(str):
    """A number as the model spelled it."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One value of a call's arguments."""

    path: list[Segment]
    """Where it stands, as `items[0].sku`."""
    type: str
    """text, number, yes/no, nothing, list, object or raw."""
    value: list[Segment]
    warnings: int
    """Chips in its path and in all of its value, not only in what is shown."""
    hidden_chars: int = 0
    """How much of the value is not in `value`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """A call's arguments, ready for a table."""

    rows: list[Row]
    hidden_rows: int
    malformed: str
    """Why the text could not be read; empty when it could."""
    total_chars: int

    @property
    def is_cut(self) -> bool:
        return bool(self.hidden_rows) or any(row.hidden_chars for row in self.rows)


def arguments(text: str, *, most_rows: int = MAX_ROWS) -> Arguments:
    """Return what to show of a call's arguments; `text` is as the model wrote it."""
    try:
        parse_arguments(text)
    except MalformedArguments as error:
        row = _row("", "raw", text, VALUE_CHARS)
        return Arguments(
            rows=[row],
            hidden_rows=0,
            malformed=f"{str(error).rstrip('.')}.",
            total_chars=len(text),
        )
    value = _spelled(text)
    rows = _rows(islice(_leaves(value), most_rows))
    return Arguments(
        rows=rows,
        hidden_rows=_count_leaves(value) - len(rows),
        malformed="",
        total_chars=len(text),
    )


def leaves(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield (path, type, text) of each value, in the order of `arguments`' rows.

    None when the arguments are malformed.
    """
    try:
        parse_arguments(text)
    except MalformedArguments:
        return iter(())
    return _leaves(_spelled(text))


def argument_rows(text: str) -> list[Row]:
    """Return the rows of `arguments`."""
    return arguments(text).rows


def count_warnings(text: str) -> int:
    """Return how many display warnings a call's arguments carry.

    Looks through JSON escapes: `\\u202e` in the text is the character it stands for.
    What is not JSON is counted as it stands.
    """
    plain, other = _visible_texts(text)
    # The bar belongs to no word and no space: nothing is found across two strings.
    count = inert.count_warnings("|".join(plain))
    for part in other:
        count += inert.count_warnings(part)
        if count >= inert.COUNT_CAP:
            return inert.COUNT_CAP
    return count


def warnings_of(arguments: str, *names: str) -> int:
    """Return how many display warnings a call carries: its arguments and its names."""
    count = count_warnings(arguments) + sum(map(inert.count_warnings, names))
    return min(count, inert.COUNT_CAP)


def summary_line(tool: str, arguments: str | Mapping[str, Any]) -> str:
    """Return a call in one safe line of at most SUMMARY_CHARS characters."""
    text = arguments if isinstance(arguments, str) else codec.dumps(dict(arguments))
    name = inert.excerpt(tool, 80)
    try:
        parse_arguments(text)
    except MalformedArguments:
        return inert.excerpt(f"{name}: {text}", SUMMARY_CHARS)
    parts: list[str] = []
    for path, kind, value in _leaves(_spelled(text)):
        shown = inert.excerpt(value, SUMMARY_VALUE_CHARS)
        parts.append(f'{inert.excerpt(path, 60)} "{shown}"')
        if kind != "text":
            parts[-1] = f"{inert.excerpt(path, 60)} {shown}"
        if len(parts) == 12:
            break
    line = f"{name}: {', '.join(parts)}" if parts else name
    return line if len(line) <= SUMMARY_CHARS else f"{line[: SUMMARY_CHARS - 1]}…"


def full_text(text: str) -> str:
    """Return the whole arguments as safe plain text, laid out when they are JSON."""
    try:
        parse_arguments(text)
    except MalformedArguments:
        return inert.plain(text)
    return inert.plain(json.dumps(json.loads(text), indent=2, ensure_ascii=False))


def _spelled(text: str) -> Any:
    """Parse text that is known to be sound; numbers stay as they are spelled."""
    return json.loads(text, parse_int=_Number, parse_float=_Number)


def _leaves(value: Any) -> Iterator[tuple[str, str, str]]:
    """Yield (path, type, text) of each value that holds no others, in order.

    Lazily, and without recursion: a hostile call may be as wide or deep as it likes.
    """
    waiting = [_inside("", value)]
    while waiting:
        for path, part in waiting[-1]:
            if part and isinstance(part, (dict, list)):
                waiting.append(_inside(path, part))
                break
            kind, text = _leaf(part)
            yield path, kind, text
        else:
            waiting.pop()


def _inside(path: str, value: dict[str, Any] | list[Any]) -> Iterator[tuple[str, Any]]:
    # Deep nesting makes long paths; beyond a screenful only the end tells them apart.
    path = path if len(path) < PATH_CHARS else f"…{path[-PATH_CHARS // 2 :]}"
    if isinstance(value, dict):
        stem = f"{path}." if path else ""
        return ((f"{stem}{key}" or '""', part) for key, part in value.items())
    return ((f"{path}[{index}]", part) for index, part in enumerate(value))


def _count_leaves(value: Any) -> int:
    count, waiting = 0, [value]
    while waiting:
        part = waiting.pop()
        inside = list(part.values()) if isinstance(part, dict) else part
        if isinstance(inside, list) and (inside or part is value):
            waiting.extend(inside)
        else:
            count += 1
    return count


def _leaf(value: Any) -> tuple[str, str]:
    if isinstance(value, _Number):
        return "number", str(value)
    if isinstance(value, str):
        return "text", value
    if isinstance(value, bool):
        return "yes/no", "true" if value else "false"
    if value is None:
        return "nothing", "null"
    return ("list", "[]") if isinstance(value, list) else ("object", "{}")


def _rows(leaves: Iterable[tuple[str, str, str]]) -> list[Row]:
    rows: list[Row] = []
    left = TOTAL_CHARS
    for path, kind, value in leaves:
        rows.append(_row(path, kind, value, max(80, min(VALUE_CHARS, left))))
        left -= len(value)
    return rows


def _row(path: str, kind: str, value: str, limit: int) -> Row:
    # A value just above the limit is shown whole: a cut must be worth its note.
    shown = value if len(value) <= limit * 1.1 else value[:limit]
    return Row(
        path=inert.segments(path[:VALUE_CHARS]),
        type=kind,
        value=inert.segments(shown),
        warnings=inert.count_warnings(path) + inert.count_warnings(value),
        hidden_chars=len(value) - len(shown),
    )


def _visible_texts(text: str) -> tuple[list[str], list[str]]:
    """Return all keys and string values of JSON text, ASCII and other, or the text.

    They are looked at apart, as they are shown: what one says does not excuse another.
    """
    try:
        value = json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return [], [text]
    parts: tuple[list[str], list[str]] = ([], [])
    for part in _strings(value):
        parts[not part.isascii()].append(part)
    return parts


class _Pairs(list[tuple[str, Any]]):
    """An object's pairs, all of them where a key stands twice."""


def _strings(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            yield part
        elif isinstance(part, _Pairs):
            for key, inner in part:
                yield key
                waiting.append(inner)
        elif isinstance(part, list):
            waiting.extend(part)
