"""Words and numbers that pass for others: mixed alphabets, look-alikes, odd digits.

By the rules of Unicode Technical Standard 39, at its level "moderately restrictive": a
word is of one script, of Latin with one more that cannot be taken for it, or of what
Chinese, Japanese and Korean mix. Each letter is of the script its Unicode name begins
with, so that no table is needed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from . import twins
from .findings import Finding, named

# The classes letters are put in, one character each, so that words can be searched
# with a pattern. Marks, apostrophes and digits belong to the word around them.
_CLASSES = {
    "LATIN": "L",
    "CYRILLIC": "c",
    "GREEK": "g",
    "ARMENIAN": "a",
    "GEORGIAN": "e",
    "CHEROKEE": "h",
    "COPTIC": "p",
    "LISU": "u",
    **dict.fromkeys(("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO"), "K"),
    **dict.fromkeys(("HALFWIDTH", "IDEOGRAPHIC", "KATAKANA-HIRAGANA"), "K"),
    "FULLWIDTH": "F",
    **dict.fromkeys(("MATHEMATICAL", "DOUBLE-STRUCK", "SCRIPT"), "M"),
    **dict.fromkeys(("BLACK-LETTER", "ROMAN", "KELVIN"), "M"),
}
_WRAPPED = ("CIRCLED", "PARENTHESIZED", "SQUARED", "NEGATIVE", "SMALL ROMAN", "REGIONAL")
_NO_SCRIPT = ("MICRO", "OHM", "ANGSTROM", "FEMININE", "MASCULINE", "MODIFIER", "ALEF")
_ALIEN = "cgaehpuM"
_JOINT = "[m0d]*"
_MIXED = re.compile(
    f"L{_JOINT}[{_ALIEN}F]|[{_ALIEN}F]{_JOINT}L"
    f"|([^LKFMm0d ]){_JOINT}(?!\\1)[^LKFMm0d ]"
)
_STYLED = re.compile("M[M0d]+|[0d]+M[M0d]*M[M0d]*")
_WIDE = re.compile("F[Fm0d]*F")
_MIXED_DIGITS = re.compile("[0d]*(?:0d|d0)[0d]*")
_DIGITS = re.compile("d+")
# Formulas and units: a Greek letter like no Latin one, at the edge of the word.
_FORMULA = re.compile(
    "[0-9]*[a-zA-Z]{0,2}[ΓΔΘΛΞΠΣΦΨΩδθλμξπφψ][a-zA-Z0-9_]*|[0-9]*[a-zA-Z]{1,3}Ω"
)
_TWINS = {
    "c": ("Cyrillic", twins.CYRILLIC, 1),
    "g": ("Greek", twins.GREEK, 3),
    "a": ("Armenian", twins.ARMENIAN, 2),
    "h": ("Cherokee", twins.CHEROKEE, 2),
    "p": ("Coptic", twins.COPTIC, 2),
    "u": ("Lisu", twins.LISU, 2),
}
"""Alphabets with twins, and how many letters a word needs to pass for Latin."""

_NAMELIKE = re.compile(r"[^\s,;\"'()<>|]+")
_NAME_SIGNS = re.compile(r"[@/\\_:.=\-A-Za-z0-9]")
_LETTER_IN_NUMBER = re.compile(
    r"(?<![\w.,+/=-])[0-9][0-9.,]*(?:[OoIl]+[0-9.,]*)+(?<=[0-9])(?![\w+/=-])"
)
_ODD_SIGNS = {
    "\u2024": ".",
    "\ufe52": ".",
    "\uff0e": ".",
    "\u2044": "/",
    "\u2215": "/",
    "\u29f8": "/",
    "\uff0f": "/",
    "\ua789": ":",
    "\u2236": ":",
    "\uff1a": ":",
    "\uff20": "@",
    "\ufe6b": "@",
}
_ODD_SIGN = re.compile(f"(?<=[^\\W\\d_])[{''.join(_ODD_SIGNS)}]+(?=[\\w/])")


class _Classes(dict[int, str]):
    """The class of each character, by its code point; learned as they come."""

    def __missing__(self, code: int) -> str:
        self[code] = found = _class_of(chr(code))
        return found


_classes = _Classes()
_others: dict[str, str] = {}
_OTHER_CLASSES = 0xE000


def findings(text: str) -> Iterator[Finding]:
    """Yield the words of `text` that may pass for others; some may overlap."""
    for match in _LETTER_IN_NUMBER.finditer(text):
        yield _flag(*match.span(), "letters among digits")
    if text.isascii():
        return
    classes = text.translate(_classes)
    yield from _mixed_words(text, classes)
    yield from _styled_words(text, classes)
    for key, (name, pairs, least) in _TWINS.items():
        if key in classes:
            yield from _twin_words(text, classes, key, name, pairs.keys(), least)
    if "d" in classes:
        yield from _odd_digits(text, classes)
    for match in _ODD_SIGN.finditer(text):
        if "K" not in classes[max(0, match.start() - 20) : match.end() + 20]:
            meant = "".join(_ODD_SIGNS[sign] for sign in match.group())
            yield named(match, f"looks like {meant}", _points(match.group()))


def _class_of(char: str) -> str:
    category = unicodedata.category(char)
    if category == "Nd":
        return "0" if char.isascii() else "d"
    if category in ("Mn", "Mc", "Me", "Pc") or char in "'’":  # noqa: RUF001  both do
        return "m"
    name = unicodedata.name(char, "")
    if char in twins.LATIN or (name.startswith(_WRAPPED) and _is_latin(char)):
        return "M"
    if category[0] != "L" and not name.startswith("ROMAN"):
        return " "
    if category == "Lm" or name.startswith(_NO_SCRIPT):
        return "m"
    script = name.partition(" ")[0]
    if script == "FULLWIDTH" and not _is_latin(char):
        return "K"
    return _CLASSES.get(script) or _others.setdefault(
        script, chr(_OTHER_CLASSES + len(_others))
    )


def _is_latin(char: str) -> bool:
    plain = unicodedata.normalize("NFKC", char).strip("()")
    return plain.isascii() and plain.isalpha()


def _flag(start: int, end: int, label: str, title: str = "") -> Finding:
    return Finding(start, end, label, title or "May pass for something else", True)


def _reads(label: str, text: str) -> str:
    """Return the label, with the other spelling of `text` where there is one."""
    spelled = twins.reading(text[:80])
    return f"{label}, reads {spelled}" if spelled else label


def _points(text: str) -> str:
    """Return the code points of `text` that are not ASCII, for a title."""
    odd = [f"{char} U+{ord(char):04X}" for char in text[:40] if not char.isascii()]
    return " ".join(odd)


def _mixed_words(text: str, classes: str) -> Iterator[Finding]:
    at = 0
    while match := _MIXED.search(classes, at):
        start = max(at, classes.rfind(" ", at, match.start()) + 1)
        end = classes.find(" ", match.end())
        at = end = end if end >= 0 else len(text)
        word = text[start:end]
        if not _FORMULA.fullmatch(word):
            yield _flag(start, end, _reads("mixed alphabets", word), _points(word))


def _styled_words(text: str, classes: str) -> Iterator[Finding]:
    """Yield letters in fancy dress: one alone is a formula, more are a word."""
    patterns = [_STYLED] if "K" in classes else [_STYLED, _WIDE]
    for pattern in patterns:
        for match in pattern.finditer(classes):
            word = text[match.start() : match.end()]
            label = _reads("look-alike letters", word)
            yield _flag(*match.span(), label, _points(word))


def _twin_words(
    text: str, classes: str, key: str, name: str, pairs: object, least: int
) -> Iterator[Finding]:
    """Yield words that are spelled with look-alikes of Latin letters alone.

    In a text that holds other letters of their alphabet, only those inside a name: an
    address, a path. Ordinary words soon hold a letter that looks like no other.
    """
    twin = frozenset(pairs)  # type: ignore[call-overload]
    words = [match.span() for match in re.finditer(f"{key}+", classes)]
    alone = all(twin.issuperset(text[start:end]) for start, end in words)
    names = None if alone else _names(text)
    for start, end in words:
        if end - start < least or not twin.issuperset(text[start:end]):
            continue
        if names is None or _is_in_name(names, text, start, end):
            word = text[start:end]
            yield _flag(start, end, _reads(f"{name} that looks Latin", word))


def _names(text: str) -> list[tuple[int, int]]:
    spans = (match.span() for match in _NAMELIKE.finditer(text))
    return [span for span in spans if _NAME_SIGNS.search(text, *span)]


def _is_in_name(
    names: list[tuple[int, int]], text: str, start: int, end: int
) -> bool:
    for low, high in names:
        if low <= start and end <= high:
            inside = text[low:start] + text[end:high]
            return bool(_NAME_SIGNS.search(inside.strip(".:!?-")))
    return False


def _odd_digits(text: str, classes: str) -> Iterator[Finding]:
    for match in _MIXED_DIGITS.finditer(classes):
        yield _number(text, *match.span(), "mixed digits")
    for match in _DIGITS.finditer(classes):
        start, end = match.span()
        if len({_script_of_digit(char) for char in text[start:end]}) > 1:
            yield _number(text, start, end, "mixed digits")
        elif not _is_at_home(_script_of_digit(text[start]), classes):
            yield _number(text, start, end, "digits of another script")


def _script_of_digit(char: str) -> str:
    name = unicodedata.name(char, "")
    return "ARABIC" if "ARABIC-INDIC" in name else name.partition(" ")[0]


def _is_at_home(script: str, classes: str) -> bool:
    """Say whether the text has letters of the script that the digits are of."""
    if script == "FULLWIDTH":
        return "K" in classes
    own = _others.get(script) or _CLASSES.get(script, "M")
    return own != "M" and own in classes


def _number(text: str, start: int, end: int, label: str) -> Finding:
    value = "".join(
        str(unicodedata.digit(char, 0)) for char in text[start : min(end, start + 40)]
    )
    return _flag(start, end, f"{label}: {value}", _points(text[start:end]))
