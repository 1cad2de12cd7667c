"""How JSON that only we read is written: compact, ASCII, no NaN.

ASCII, because a lone surrogate or a NUL that a model wrote must survive a database
that stores neither; as an escape it does.
"""

from __future__ import annotations

import json
from typing import Any

_encoder = json.JSONEncoder(
    ensure_ascii=True, allow_nan=False, separators=(",", ":"), check_circular=True
)


def dumps(value: Any) -> str:
    """Return `value` as text. Raises ValueError on NaN, TypeError on no JSON."""
    return _encoder.encode(value)


def loads(text: str) -> Any:
    """Return the value that `dumps` wrote."""
    return json.loads(text)


def storable(text: str) -> str:
    """Return `text` with NUL and lone surrogates as visible escapes.

    For columns people search in; the exact text stays in the log.
    """
    plain = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return plain.replace("\x00", "\\x00")
