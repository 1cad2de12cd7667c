"""Numbers in texts, however they are spelled: 480, 480.00, 1,200.50, 1.200,50, €480."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from itertools import islice

MAX_NUMBERS = 20_000
MAX_DIGITS = 28

_GROUPS = "'\u2019\u00a0\u202f\u2009 "
_NUMBER = re.compile(
    "(?<![\\w.,])\\d(?:[\\d.,'\u2019]*\\d)?(?:[\u00a0\u202f\u2009 ]\\d{3}(?!\\d))*"
    "(?:(?<=[\u00a0\u202f\u2009 ]\\d{3})[.,]\\d+)?(?!\\d)"
)
_CURRENCY = "[€$£¥₽]|EUR|USD|GBP|CHF|JPY"
_AMOUNT = re.compile(
    f"(?:{_CURRENCY})?\\s?([+-]?\\d[\\d.,{_GROUPS}]*)\\s?(?:{_CURRENCY})?"
)


def is_amount(text: str) -> bool:
    """Say whether `text` is a number, with or without a currency."""
    return len(text) <= MAX_DIGITS and bool(_AMOUNT.fullmatch(text.strip()))


def readings(text: str) -> set[str]:
    """Return the values that `text` may stand for, each in one spelling; no sign.

    `1,200` is both 1.2 and 1200. Empty when it is no number.
    """
    match = _AMOUNT.fullmatch(text.strip())
    bare = match.group(1) if match else text
    bare = bare.strip(_GROUPS).lstrip("+-")
    for mark in _GROUPS:
        bare = bare.replace(mark, "")
    return {value for each in _decimal_forms(bare) if (value := _canonical(each))}


def first_places(text: str) -> dict[str, int]:
    """Return where each number of `text` first stands, by its values."""
    places: dict[str, int] = {}
    tokens: dict[str, int] = {}
    for match in islice(_NUMBER.finditer(text), MAX_NUMBERS):
        tokens.setdefault(match.group(), match.start())
    for token, at in tokens.items():
        for value in readings(token):
            places.setdefault(value, at)
    return places


def _decimal_forms(bare: str) -> list[str]:
    """Return `bare` with a point for its decimals and no other mark, each way."""
    last = max(bare.rfind("."), bare.rfind(","))
    if last < 0:
        return [bare]
    joined = bare.replace(",", "").replace(".", "")
    whole = bare[:last].replace(",", "").replace(".", "")
    decimal = f"{whole}.{bare[last + 1 :]}"
    if bare.count(bare[last]) > 1:
        return [joined]
    if len({",", "."} & set(bare)) == 2 or len(bare) - last != 4:
        return [decimal]
    return [decimal, joined]


def _canonical(bare: str) -> str:
    if not bare or len(bare) > MAX_DIGITS:
        return ""
    try:
        value = Decimal(bare)
    except InvalidOperation:
        return ""
    # Written out, and the text is as long as the number is large or small.
    is_short = value.is_finite() and abs(value.adjusted()) <= MAX_DIGITS
    return f"{value.normalize():f}" if is_short else ""
