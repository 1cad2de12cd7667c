"""Text that an agent or a stranger wrote, made safe to look at.

What cannot be seen, moves other text or passes for something else is found and named:
`hidden` finds controls, format characters, blanks and padding, `letters` words and
numbers of mixed or look-alike characters, `hosts` addresses in disguise. Nothing is
dropped.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from itertools import chain, islice

from . import hidden, hosts, letters
from .findings import Finding
from .hidden import BLANK_LINES, PADDING

__all__ = [
    "BLANK_LINES",
    "COUNT_CAP",
    "NOTES_CAP",
    "PADDING",
    "Segment",
    "count_warnings",
    "csv_cell",
    "excerpt",
    "plain",
    "segments",
]

COUNT_CAP = 1000
"""Counting stops here: the cost stays bounded, and nobody reads the difference."""

NOTES_CAP = 20_000
"""More chips than this in one plain text are no help to anyone, and slow."""

_STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001  wide ones count as well


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a text: shown as it is, or as a chip that names it."""

    text: str
    """As it is; empty when there is nothing to see."""
    label: str = ""
    """What the chip says; empty for plain text."""
    title: str = ""
    """The code points, for the chip's title."""


def segments(text: str) -> list[Segment]:
    """Return `text` as plain stretches and chips, in order; nothing is left out."""
    parts: list[Segment] = []
    at = 0
    for finding in _findings(text):
        if finding.start > at:
            parts.append(Segment(text[at : finding.start]))
        shown = text[finding.start : finding.end] if finding.keeps_text else ""
        parts.append(Segment(shown, finding.label, finding.title))
        at = finding.end
    if at < len(text):
        parts.append(Segment(text[at:]))
    return parts


def count_warnings(text: str) -> int:
    """Return how many chips `segments` would make of `text`, up to COUNT_CAP."""
    return len(_findings(text, cap=COUNT_CAP))


def plain(text: str, *, one_line: bool = False) -> str:
    """Return `text` as safe plain text: each chip is written out as ⟦its name⟧.

    A note that is there already is not written twice: a stored summary has been
    through here before. In a text with more than NOTES_CAP chips only what cannot be
    seen at all is noted.
    """
    found = _findings(text, cap=NOTES_CAP)
    if len(found) == NOTES_CAP:
        return hidden.note_hidden(text)
    shown: list[str] = []
    at = 0
    for finding in found:
        if finding.keeps_text and _is_noted(text, finding):
            continue
        shown.append(text[at : finding.end if finding.keeps_text else finding.start])
        shown.append(f"⟦{finding.label}⟧")
        at = finding.end
    shown.append(text[at:])
    line = "".join(shown)
    return " ".join(line.split()) if one_line else line


def _is_noted(text: str, finding: Finding) -> bool:
    if text.startswith(f"⟦{finding.label}⟧", finding.end):
        return True
    return text.endswith(("⟦host: ", "⟦punycode: "), 0, finding.start)


def excerpt(text: str, limit: int) -> str:
    """Return `plain(text)` on one line, cut with … at `limit` characters."""
    line = plain(text[: limit * 4], one_line=True)
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def csv_cell(text: str) -> str:
    """Return `text` as a cell of a table that a spreadsheet shows and never runs."""
    shown = plain(text)
    is_formula = any(
        form.lstrip(" \u00a0").startswith(_STARTS_A_FORMULA) for form in (text, shown)
    )
    return f"'{shown}" if is_formula else shown


def _findings(text: str, *, cap: int | None = None) -> list[Finding]:
    """Return the findings in order, without those that overlap one before.

    A name in disguise that holds something hidden is shown with that as a chip, and
    its own chip behind it: nothing hidden is ever part of what is shown.
    """
    unseen = list(islice(hidden.findings(text), cap))
    left = None if cap is None else cap - len(unseen)
    others = islice(chain(hosts.findings(text), letters.findings(text)), left)
    found = [*unseen, *_beside(unseen, list(others))]
    found.sort(key=lambda finding: (finding.start, -finding.end))
    if len(found) < 2:
        return found
    kept: list[Finding] = []
    for finding in found:
        if not kept or finding.start >= kept[-1].end:
            kept.append(finding)
    return kept


def _beside(unseen: list[Finding], others: list[Finding]) -> list[Finding]:
    """Return `others`, those that hold one of `unseen` as what follows its end."""
    if not unseen or not others:
        return others
    starts = sorted(finding.start for finding in unseen)
    return [
        replace(finding, start=finding.end, keeps_text=False)
        if finding.keeps_text
        and bisect_left(starts, finding.start) < bisect_left(starts, finding.end)
        else finding
        for finding in others
    ]
