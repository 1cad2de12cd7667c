"""Characters that draw nothing, or move what others draw.

All of Unicode's controls, format characters, separators, private use and unassigned
code points, variation selectors and blank letters. Left alone is what spelling needs:
tab and line feed, the spaces of ordinary typography, the joiners inside an emoji, those
of Indic and Persian words where they change the shape (RFC 5892, A.1 and A.2), the
selector that only asks for the coloured form of a symbol, and three flags.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache

from .findings import Finding, named

PADDING = 24
"""This many spaces in a row, or more, may push text out of sight."""
BLANK_LINES = 6

_PLAIN_SPACES = " \u00a0\u202f\u3000"
# Marks, letters and symbols that draw nothing, though Unicode files them as visible.
_BLANKS = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufffc\U00016fe4\U0001d159"
_BLANK_RANGES = ((0x180B, 0x180F), (0xFE00, 0xFE0F), (0xFFF0, 0xFFF8))
# Above the planes in use: unassigned, tags, selectors and private use.
_FAR_RANGES = ((0x2FFFE, 0x2FFFF), (0x33480, 0x10FFFF))
_HIDDEN_CATEGORIES = {"Cc", "Cf", "Cn", "Cs", "Co", "Zl", "Zp", "Zs"}
# New emoji come every year; Python learns of them later, and they can be seen.
_EMOJI_BLOCKS = range(0x1F000, 0x1FB00)

_NAMES = {
    "\x00": "null",
    "\x07": "bell",
    "\x08": "backspace",
    "\r": "carriage return",
    "\x1b": "escape",
    "\x7f": "delete",
}
_KINDS = {
    "Cc": "control",
    "Cf": "format character",
    "Cn": "unassigned",
    "Co": "private use",
    "Cs": "lone surrogate",
}
# Symbols with a coloured form that are no "So".
_COLOURED = "\u203c\u2049\u2139\u2194\u25fb\u25fc\u25fd\u25fe\u2934\u2935\u3030"
# Arabic letters that join nothing after them: a non-joiner there shows nowhere.
_UNJOINED = frozenset(
    "\u0622\u0623\u0624\u0625\u0627\u0629\u062f\u0630\u0631\u0632\u0648\u0649"
    "\u0671\u0672\u0673\u0675\u0676\u0677\u0688\u0691\u0698\u06c0\u06c3\u06d2\u06d5"
)
_VIRAMA = 9

_TAGS = re.compile("[\U000e0000-\U000e007f]{2,}")
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]{2,}")
_FLAGS = re.compile(
    "\U0001f3f4\U000e0067\U000e0062(?:\U000e0065\U000e006e\U000e0067"
    "|\U000e0073\U000e0063\U000e0074|\U000e0077\U000e006c\U000e0073)\U000e007f"
)
_ASCII_HIDDEN = re.compile("([\x00-\x08\x0b-\x1f\x7f])\\1*")
_SPACES = re.compile(f"[\t{_PLAIN_SPACES}]{{{PADDING},}}")
_LINES = re.compile(f"\r?\n(?:[\t{_PLAIN_SPACES}]*\r?\n){{{BLANK_LINES},}}")


def findings(text: str) -> Iterator[Finding]:
    """Yield what cannot be seen in `text`; some may overlap."""
    yield from _hidden(text)
    for match in _SPACES.finditer(text):
        yield named(match, f"{match.end() - match.start()} spaces", "Long padding")
    for match in _LINES.finditer(text):
        lines = match.group().count("\n")
        yield named(match, f"{lines} line breaks", "Long padding")


def note_hidden(text: str) -> str:
    """Return `text` with only what cannot be seen at all written out as a note."""
    return _pattern().sub(_note, text)


def _note(match: re.Match[str]) -> str:
    char = match.group(1)
    return match.group() if char == "\r" else f"⟦{_label(char, match)}⟧"


def _hidden(text: str) -> Iterator[Finding]:
    if text.isascii():
        yield from _single(text, _ASCII_HIDDEN)
        return
    runs = list(_runs(text))
    yield from (run for run in runs if run.label)
    skipped = iter(sorted(runs, key=lambda run: run.start))
    run = next(skipped, None)
    for finding in _single(text, _pattern()):
        while run and run.end <= finding.start:
            run = next(skipped, None)
        if run is None or finding.start < run.start:
            yield finding


def _runs(text: str) -> Iterator[Finding]:
    """Yield tags and selectors in a row as one: they spell something together.

    A flag that is spelled with tags has no label: it is as it should be.
    """
    flags = [match.span() for match in _FLAGS.finditer(text)]
    for start, end in flags:
        yield Finding(start, end, "", "")
    inside = {start + 1 for start, _ in flags}
    for match in _TAGS.finditer(text):
        if match.start() not in inside:
            yield named(match, _hidden_text(match.group()), "Tag characters")
    for match in _SELECTORS.finditer(text):
        if len(set(match.group())) > 1:
            count = match.end() - match.start()
            yield named(match, f"{count} variation selectors", "Draw nothing")


def _hidden_text(tags: str) -> str:
    letters = (ord(tag) - 0xE0000 for tag in tags[:60])
    spelled = "".join(chr(code) if 32 <= code < 127 else "·" for code in letters)
    return f"hidden text: {spelled}{'…' if len(tags) > 60 else ''}"


def _single(text: str, pattern: re.Pattern[str]) -> Iterator[Finding]:
    for match in pattern.finditer(text):
        char = match.group(1)
        if not _is_spelling(text, match, char):
            yield named(match, _label(char, match), f"U+{ord(char):04X}")


def _is_spelling(text: str, match: re.Match[str], char: str) -> bool:
    """Say whether an invisible character is there by the rules of writing."""
    if char == "\r" and match.end() - match.start() == 1:
        return text[match.end() : match.end() + 1] == "\n"
    if match.end() - match.start() > 1 or match.start() == 0:
        return False
    before, after = text[match.start() - 1], text[match.end() : match.end() + 1]
    if char in "\ufe0e\ufe0f":
        return _has_two_forms(before, after)
    if char == "\u200d":
        return _joins_emoji(before, after) or _is_virama(before)
    return char == "\u200c" and (_is_virama(before) or _parts_arabic(before, after))


def _has_two_forms(before: str, after: str) -> bool:
    if before in "0123456789#*":
        return after == "\u20e3"
    return unicodedata.category(before) == "So" or before in _COLOURED


def _joins_emoji(before: str, after: str) -> bool:
    is_after = unicodedata.category(before) == "So" or before in (
        *"\ufe0f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff",
    )
    if not after:
        return False
    return is_after and (unicodedata.category(after) == "So" or after == "\u2194")


def _is_virama(char: str) -> bool:
    return unicodedata.combining(char) == _VIRAMA


def _parts_arabic(before: str, after: str) -> bool:
    if not after or before in _UNJOINED:
        return False
    return {unicodedata.bidirectional(before), unicodedata.bidirectional(after)} == {
        "AL"
    }


def _label(char: str, match: re.Match[str]) -> str:
    count = match.end() - match.start()
    times = f" ×{count}" if count > 1 else ""  # noqa: RUF001  a multiplication
    return _name(char) + times


def _name(char: str) -> str:
    if char in _NAMES:
        return _NAMES[char]
    code = ord(char)
    if 0xE0000 <= code <= 0xE007F:
        return f"hidden tag U+{code:04X}"
    if code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF:
        return f"noncharacter U+{code:04X}"
    if name := unicodedata.name(char, ""):
        return name.lower()
    return f"{_KINDS.get(unicodedata.category(char), 'character')} U+{code:04X}"


@cache
def _pattern() -> re.Pattern[str]:
    """Return what matches a run of one hidden character (or carriage return)."""
    allowed = {*"\t\n", *_PLAIN_SPACES}
    codes = {ord(char) for char in _BLANKS}
    for code in range(0x20000):
        char = chr(code)
        if unicodedata.category(char) in _HIDDEN_CATEGORIES and char not in allowed:
            codes.add(code)
    for low, high in _BLANK_RANGES:
        codes.update(range(low, high + 1))
    codes -= {code for code in _EMOJI_BLOCKS if unicodedata.category(chr(code)) == "Cn"}
    near = _inside(_ranges(sorted(code for code in codes if code < 0x10000)))
    far = [*_ranges(sorted(code for code in codes if code >= 0x10000)), *_FAR_RANGES]
    # Looked for apart: few texts hold any, and a long class is slow for each letter.
    above = f"(?=[\U00010000-\U0010ffff])[{_inside(far)}]"
    return re.compile(f"([{near}]|{above})\\1*")


def _ranges(codes: list[int]) -> Iterator[tuple[int, int]]:
    low = high = codes[0]
    for code in codes[1:]:
        if code > high + 1:
            yield low, high
            low = code
        high = code
    yield low, high


def _inside(ranges: Iterable[tuple[int, int]]) -> str:
    return "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in ranges)
