"""Text that an agent or a stranger wrote, made safe to look at.

What cannot be seen, moves other text or passes for something else is found and named:
controls, every format character (Unicode Cf: bidi, zero width, tags), variation
selectors, blank look-alikes of nothing, lone surrogates, line separators, long padding,
piled-up accents, words of mixed scripts and host names in disguise. Nothing is dropped.

Tab, line feed and the spaces of ordinary typography stay as they are, and so does the
variation selector that only asks for the coloured form of a symbol before it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice

PADDING = 24
"""This many spaces in a row, or more, may push text out of sight."""
BLANK_LINES = 6
COUNT_CAP = 1000
"""Counting stops here: the cost stays bounded, and nobody reads the difference."""

NOTES_CAP = 20_000
"""More chips than this in one plain text are no help to anyone, and slow."""

_PLAIN_SPACES = " \u00a0\u202f\u3000"
# Marks and letters that draw nothing, though Unicode files them as visible.
_BLANKS = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\U0001d159"
_BLANK_RANGES = (
    (0x180B, 0x180F),
    (0xFDD0, 0xFDEF),
    (0xFE00, 0xFE0F),
    (0xFFF0, 0xFFF8),
    (0xFFFE, 0xFFFF),
    (0xE0000, 0xE0FFF),
    (0xF0000, 0x10FFFF),
)
_HIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp", "Zs"}
_NAMES = {
    "\x00": "null",
    "\x07": "bell",
    "\x08": "backspace",
    "\r": "carriage return",
    "\x1b": "escape",
    "\x7f": "delete",
}

_LATIN = "A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff"
_CYRILLIC = "\u0400-\u0482\u048a-\u052f\u1c80-\u1c8f\ua640-\ua66e\ua680-\ua69d"
# Without the letters of units and formulas, which look like no Latin letter.
_GREEK = "\u0370-\u0391\u0395-\u0397\u0399\u039a\u039c-\u039f\u03a1\u03a4-\u03a7"
_GREEK += "\u03aa-\u03b1\u03b3\u03b5-\u03b7\u03b9\u03ba\u03bd\u03bf\u03c1-\u03c7"
_GREEK += "\u03ca-\u03ff\u1f00-\u1fff"
_OTHERS = "\u0530-\u058f\u10a0-\u10ff\u13a0-\u13ff\u2c80-\u2cff\ua4d0-\ua4ff"
_OTHERS += "\uab70-\uabbf\uff21-\uff3a\uff41-\uff5a\U0001d400-\U0001d7ff"
_ALIEN = _CYRILLIC + _GREEK + _OTHERS
# Cyrillic letters that are drawn as a Latin one.
_CYRILLIC_TWINS = "АВЕЅІЈКМНОРСТУХаеорсухіјѕһԁԛԝӏ"  # noqa: RUF001  that is the point

_JOINT = "[0-9_'\u0300-\u036f]{0,8}"
_MIXED = re.compile(f"[{_LATIN}]{_JOINT}[{_ALIEN}]|[{_ALIEN}]{_JOINT}[{_LATIN}]")
_ALIEN_ANY = re.compile(f"[{_ALIEN}]")
_LATIN_ANY = re.compile(f"[{_LATIN}]")
_CYRILLIC_WORD = re.compile(f"[{_CYRILLIC}]+")
_CYRILLIC_UNLIKE = re.compile(f"(?![{_CYRILLIC_TWINS}])[{_CYRILLIC}]")
_MATHEMATICAL = re.compile("[\U0001d400-\U0001d7cb]+")
_PADDING = re.compile(f"[\t{_PLAIN_SPACES}]{{{PADDING},}}")
_BLANK_LINES = re.compile(f"\n(?:[\t ]*\r?\n){{{BLANK_LINES},}}")
_PILED_MARKS = re.compile(
    "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
    "{4,}"
)
_PUNYCODE = re.compile(r"(?i)(?<![a-z0-9-])(?:[a-z0-9-]{1,63}\.){0,8}xn--[a-z0-9.-]+")
_HOST = re.compile(r"(?i)https?://(?:[^\s/@]{0,200}@)?([^\s/:?#⟦]{1,253})")


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a text: shown as it is, or as a chip that names it."""

    text: str
    """As it is; empty when there is nothing to see."""
    label: str = ""
    """What the chip says; empty for plain text."""
    title: str = ""
    """The code points, for the chip's title."""


@dataclass(frozen=True, slots=True)
class _Finding:
    start: int
    end: int
    label: str
    title: str
    keeps_text: bool = False


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
        return _hidden_pattern().sub(_note, text)
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


def _note(match: re.Match[str]) -> str:
    char = match.group(1)
    return match.group() if char == "\r" else f"⟦{_label(char, match)}⟧"


def _is_noted(text: str, finding: _Finding) -> bool:
    if text.startswith(f"⟦{finding.label}⟧", finding.end):
        return True
    return text.endswith("⟦host: ", 0, finding.start)


def excerpt(text: str, limit: int) -> str:
    """Return `plain(text)` on one line, cut with … at `limit` characters."""
    line = plain(text[: limit * 4], one_line=True)
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def _findings(text: str, *, cap: int | None = None) -> list[_Finding]:
    """Return the findings in order, without those that overlap one before."""
    found = list(islice(_all_findings(text), cap))
    found.sort(key=lambda finding: (finding.start, -finding.end))
    if len(found) < 2:
        return found
    kept: list[_Finding] = []
    for finding in found:
        if not kept or finding.start >= kept[-1].end:
            kept.append(finding)
    return kept


def _all_findings(text: str) -> Iterator[_Finding]:
    yield from _hidden(text)
    for match in _PADDING.finditer(text):
        yield _named(match, f"{match.end() - match.start()} spaces", "Long padding")
    for match in _BLANK_LINES.finditer(text):
        lines = match.group().count("\n")
        yield _named(match, f"{lines} line breaks", "Long padding")
    if "xn--" in text.lower():
        yield from _punycode(text)
    if not text.isascii():
        yield from _disguised(text)


def _named(match: re.Match[str], label: str, title: str) -> _Finding:
    return _Finding(match.start(), match.end(), label, title)


def _hidden(text: str) -> Iterator[_Finding]:
    for match in _hidden_pattern().finditer(text):
        char = match.group(1)
        if char == "\ufe0f" and _colours_a_symbol(text, match):
            continue
        if match.group() == "\r" and text[match.end() : match.end() + 1] == "\n":
            continue
        yield _named(match, _label(char, match), f"U+{ord(char):04X}")


def _label(char: str, match: re.Match[str]) -> str:
    count = match.end() - match.start()
    times = f" ×{count}" if count > 1 else ""  # noqa: RUF001  a multiplication
    return _name(char) + times


def _colours_a_symbol(text: str, match: re.Match[str]) -> bool:
    if match.end() - match.start() > 1 or match.start() == 0:
        return False
    return unicodedata.category(text[match.start() - 1]) == "So"


def _name(char: str) -> str:
    if char in _NAMES:
        return _NAMES[char]
    if 0xE0000 <= ord(char) <= 0xE007F:
        return f"hidden tag U+{ord(char):04X}"
    if "\ud800" <= char <= "\udfff":
        return f"lone surrogate U+{ord(char):04X}"
    return unicodedata.name(char, f"U+{ord(char):04X}").lower()


@cache
def _hidden_pattern() -> re.Pattern[str]:
    """Return what matches a run of one hidden character (or carriage return)."""
    allowed = {*"\t\n\r", *_PLAIN_SPACES}
    codes = {ord(char) for char in _BLANKS}
    for code in range(0x20000):
        char = chr(code)
        if unicodedata.category(char) in _HIDDEN_CATEGORIES and char not in allowed:
            codes.add(code)
    ranges = [*_ranges(sorted(codes)), *_BLANK_RANGES]
    inside = "".join(f"{_escape(low)}-{_escape(high)}" for low, high in ranges)
    return re.compile(f"([{inside}\r])\\1*")


def _ranges(codes: list[int]) -> Iterator[tuple[int, int]]:
    low = high = codes[0]
    for code in codes[1:]:
        if code > high + 1:
            yield low, high
            low = code
        high = code
    yield low, high


def _escape(code: int) -> str:
    return f"\\U{code:08x}"


def _punycode(text: str) -> Iterator[_Finding]:
    for match in _PUNYCODE.finditer(text):
        try:
            spelled = match.group().rstrip(".").encode("ascii").decode("idna")
        except UnicodeError:
            spelled = "no valid name"
        label = f"punycode: {excerpt(spelled, 80)}"
        yield _Finding(match.start(), match.end(), label, "Reads as this", True)


def _disguised(text: str) -> Iterator[_Finding]:
    for match in _PILED_MARKS.finditer(text):
        count = match.end() - match.start()
        yield _named(match, f"{count} piled-up accents", "Combining marks")
    yield from _hosts(text)
    if _ALIEN_ANY.search(text):
        yield from _mixed_words(text)
        yield from _twin_words(text)
        for match in _MATHEMATICAL.finditer(text):
            yield _flag(match.start(), match.end(), "look-alike letters")


def _flag(start: int, end: int, label: str) -> _Finding:
    return _Finding(start, end, label, "Letters that pass for others", True)


def _hosts(text: str) -> Iterator[_Finding]:
    for match in _HOST.finditer(text):
        host = match.group(1)
        if host.isascii():
            continue
        try:
            spelled = host.encode("idna").decode("ascii")
        except UnicodeError:
            spelled = "no valid host"
        title = "How the network reads this host"
        yield _Finding(match.start(1), match.end(1), f"host: {spelled}", title, True)


def _mixed_words(text: str) -> Iterator[_Finding]:
    at = 0
    while match := _MIXED.search(text, at):
        start, end = match.span()
        while start > at and text[start - 1].isalnum():
            start -= 1
        while end < len(text) and text[end].isalnum():
            end += 1
        yield _flag(start, end, "mixed alphabets")
        at = end


def _twin_words(text: str) -> Iterator[_Finding]:
    """Find Cyrillic that is only there to pass for Latin.

    Only in a text with Latin letters whose Cyrillic consists of look-alikes alone:
    ordinary Russian soon holds a letter that looks like no other.
    """
    if _CYRILLIC_UNLIKE.search(text) or not _LATIN_ANY.search(text):
        return
    for word in _CYRILLIC_WORD.finditer(text):
        yield _flag(word.start(), word.end(), "Cyrillic, looks Latin")
