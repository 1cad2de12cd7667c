"""How long a server may take, and how much it may list."""

from __future__ import annotations

import math

CONNECT_TIMEOUT_S = 30.0
UNTIMED_CONNECT_TIMEOUT_S = 120.0
"""For a server whose answers may take as long as they like: it still must start."""
DISCOVERY_TIMEOUT_S = 10.0
"""The package's own wait for a server that does not know the newest protocol."""


def check_seconds(value: float | None, name: str) -> None:
    """Raise TypeError or ValueError unless `value` is None or seconds to wait."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is {value!r}; it must be seconds or None.")
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} is {value!r}; it must be finite and not below 0.")


def check_max_list_pages(value: int | None) -> None:
    """Raise TypeError or ValueError unless `value` is None or a positive integer."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"max_list_pages is {value!r}; it must be an integer or None.")
    if value < 1:
        raise ValueError(f"max_list_pages is {value!r}; it must be at least 1.")


def connect_timeout_s(answer_s: float | None) -> float:
    """Return the seconds for starting, probing and shaking hands."""
    if answer_s is None:
        return UNTIMED_CONNECT_TIMEOUT_S
    return max(CONNECT_TIMEOUT_S, DISCOVERY_TIMEOUT_S + 2 * answer_s)


def request_timeout_s(answer_s: float | None) -> float | None:
    """Return the seconds for one request in all; None when the answer has no limit.

    The package times an answer only once the request is written, and may ask twice.
    """
    return 2 * answer_s + 2 if answer_s else None


def check_lifecycle_seconds(value: float | None, name: str) -> None:
    """Raise TypeError or ValueError unless `value` is None or a time above 0."""
    check_seconds(value, name)
    if value == 0:
        raise ValueError(f"{name} is 0; it must be above 0, or None for no limit.")
