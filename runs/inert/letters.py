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
from operator import eq

from . import twins
from .findings import Finding, named

# The classes letters are put in, one character each, so that words can be searched
# with a pattern: in capitals the letters that have a Latin twin. Marks, apostrophes and
# digits belong to the word around them.
_CLASSES = {
    "LATIN": "l",
    "CYRILLIC": "c",
    "GREEK": "g",
    "ARMENIAN": "a",
    "GEORGIAN": "e",
    "CHEROKEE": "h",
    "COPTIC": "p",
    "LISU": "u",
    **dict.fromkeys(("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO"), "k"),
    **dict.fromkeys(("HALFWIDTH", "IDEOGRAPHIC", "KATAKANA-HIRAGANA"), "k"),
    "FULLWIDTH": "f",
    **dict.fromkeys(("MATHEMATICAL", "DOUBLE-STRUCK", "SCRIPT"), "y"),
    **dict.fromkeys(("BLACK-LETTER", "ROMAN", "KELVIN"), "y"),
}
_WRAPPED = (
    "CIRCLED",
    "PARENTHESIZED",
    "SQUARED",
    "NEGATIVE",
    "SMALL ROMAN",
    "REGIONAL",
)
_NO_SCRIPT = ("MICRO", "OHM", "ANGSTROM", "FEMININE", "MASCULINE", "MODIFIER", "ALEF")
_ALIEN = "cgaehpuy"
_JOINT = "[m0d]*"
_MIXED = re.compile(
    f"l{_JOINT}[{_ALIEN}f]|[{_ALIEN}f]{_JOINT}l|([^lkfym0d ]){_JOINT}(?!\\1)[^lkfym0d ]"
)
_STYLED = re.compile("y[y0d]*y")
_WIDE = re.compile("f[fm0d]*f")
_MARKS = re.compile("m{2,}")
_MANY_MARKS = 4
_MIXED_DIGITS = re.compile("[0d]*(?:0d|d0)[0d]*")
_DIGITS = re.compile("d+")
# Formulas and units: a Greek letter like no Latin one, at the edge of the word.
_FORMULA = re.compile(
    "[0-9]*[a-zA-Z]{0,2}[ΓΔΘΛΞΠΣΦΨΩδθλμξπφψ][a-zA-Z0-9_\u1d2c-\u1d6a\u2080-\u209c]*"
    "|[0-9]*[a-zA-Z]{1,3}Ω"
)
_TWINS = {
    "C": ("Cyrillic", twins.CYRILLIC, 1),
    "G": ("Greek", twins.GREEK, 3),
    "A": ("Armenian", twins.ARMENIAN, 2),
    "H": ("Cherokee", twins.CHEROKEE, 2),
    "P": ("Coptic", twins.COPTIC, 2),
    "U": ("Lisu", twins.LISU, 2),
}
"""Alphabets with twins, and how many letters a word needs to pass for Latin."""
_TWIN_LETTERS = {char: key for key, (_, pairs, _) in _TWINS.items() for char in pairs}
_NAME_CHARS = 64
_NAME_BEFORE = re.compile(r"[^\s,;\"'()<>|]*\Z")
_NAME_AFTER = re.compile(r"[^\s,;\"'()<>|]*")
_NAME_SIGNS = re.compile(r"[@/\\_:.=\-A-Za-z0-9]")
_MAY_BE_NUMBER = re.compile("[0-9][.,]?[OoIl]+[.,]?[0-9]")
_LETTER_IN_NUMBER = re.compile(
    r"(?<![\w.,+/=-])(?!0[oO][0-7])[0-9][0-9.,]*(?:[OoIl]+[0-9.,]*)+(?<=[0-9])(?![\w+/=-])"
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
_NO_LETTERS = frozenset("m0d ")


def findings(text: str) -> Iterator[Finding]:
    """Yield the words of `text` that may pass for others; some may overlap."""
    if _MAY_BE_NUMBER.search(text):
        for match in _LETTER_IN_NUMBER.finditer(text):
            yield _flag(*match.span(), "letters among digits")
    if text.isascii():
        return
    classes = text.translate(_classes)
    kinds = frozenset(classes)
    yield from _piled_marks(text, classes)
    if len(kinds - _NO_LETTERS) > 1:
        yield from _mixed_words(text, classes.lower())
    yield from _styled_words(text, classes)
    for key in kinds & _TWINS.keys():
        yield from _twin_words(text, classes, key)
    if "d" in kinds:
        yield from _odd_digits(text, classes, kinds)
    if any(sign in text for sign in _ODD_SIGNS):
        yield from _odd_signs(text, classes)


def _class_of(char: str) -> str:
    category = unicodedata.category(char)
    if category == "Nd":
        return "0" if char.isascii() else "d"
    if category in ("Mn", "Mc", "Me", "Pc") or char in "'’":  # noqa: RUF001  both do
        return "m"
    name = unicodedata.name(char, "")
    if char in twins.LATIN or (name.startswith(_WRAPPED) and _is_latin(char)):
        return "y"
    if char in _TWIN_LETTERS:
        return _TWIN_LETTERS[char]
    if category[0] != "L" and not name.startswith("ROMAN"):
        return " "
    if category == "Lm" or name.startswith(_NO_SCRIPT):
        return "m"
    script = name.partition(" ")[0]
    if script == "FULLWIDTH" and not _is_latin(char):
        return "k"
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
    patterns = [_STYLED] if "k" in classes else [_STYLED, _WIDE]
    for pattern in patterns:
        for match in pattern.finditer(classes):
            word = text[match.start() : match.end()]
            label = _reads("look-alike letters", word)
            yield _flag(*match.span(), label, _points(word))


def _twin_words(text: str, classes: str, key: str) -> Iterator[Finding]:
    """Yield words that are spelled with look-alikes of Latin letters alone.

    In a text that holds other letters of their alphabet, only those inside a name: an
    address, a path. Ordinary words soon hold a letter that looks like no other.
    """
    name, _, least = _TWINS[key]
    unlike = key.lower()
    alone = unlike not in classes
    for match in re.finditer(f"(?<!{unlike}){key}{{{least},}}(?!{unlike})", classes):
        if alone or _is_in_name(text, *match.span()):
            word = text[match.start() : match.end()]
            yield _flag(*match.span(), _reads(f"{name} that looks Latin", word))


def _is_in_name(text: str, start: int, end: int) -> bool:
    before = _NAME_BEFORE.search(text[max(0, start - _NAME_CHARS) : start])
    after = _NAME_AFTER.match(text[end : end + _NAME_CHARS])
    around = "".join(found.group() for found in (before, after) if found)
    return bool(_NAME_SIGNS.search(around.strip(".:!?-")))


def _piled_marks(text: str, classes: str) -> Iterator[Finding]:
    """Yield accents that cover other text, or that hide in each other.

    No word needs four on one letter, or the same one twice: UTS 39, section 5.4.
    Tibetan is left out: it stacks letters, which are marks by their kind.
    """
    for match in _MARKS.finditer(classes):
        run = text[match.start() : match.end()]
        if run.isascii() or "\u0f00" <= run[0] <= "\u0fff":
            continue
        marks = [char for char in run if unicodedata.category(char) in ("Mn", "Me")]
        if len(marks) >= _MANY_MARKS or any(map(eq, marks, marks[1:])):
            yield named(match, f"{len(run)} piled-up accents", "Combining marks")


def _odd_signs(text: str, classes: str) -> Iterator[Finding]:
    for match in _ODD_SIGN.finditer(text):
        if "k" not in classes[max(0, match.start() - 20) : match.end() + 20]:
            meant = "".join(_ODD_SIGNS[sign] for sign in match.group())
            yield named(match, f"looks like {meant}", _points(match.group()))


def _odd_digits(text: str, classes: str, kinds: frozenset[str]) -> Iterator[Finding]:
    for match in _MIXED_DIGITS.finditer(classes):
        yield _number(text, *match.span(), "mixed digits")
    for match in _DIGITS.finditer(classes):
        start, end = match.span()
        if len({_script_of_digit(char) for char in text[start:end]}) > 1:
            yield _number(text, start, end, "mixed digits")
        elif not _is_at_home(_script_of_digit(text[start]), kinds):
            yield _number(text, start, end, "digits of another script")


def _script_of_digit(char: str) -> str:
    name = unicodedata.name(char, "")
    return "ARABIC" if "ARABIC-INDIC" in name else name.partition(" ")[0]


def _is_at_home(script: str, kinds: frozenset[str]) -> bool:
    """Say whether the text has letters of the script that the digits are of."""
    if script == "FULLWIDTH":
        return "k" in kinds
    return _others.get(script, "") in kinds


def _number(text: str, start: int, end: int, label: str) -> Finding:
    value = "".join(
        str(unicodedata.digit(char, 0)) for char in text[start : min(end, start + 40)]
    )
    return _flag(start, end, f"{label}: {value}", _points(text[start:end]))
