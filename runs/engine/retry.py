"""Asking a model again: which failures pass, and how long to wait.

The client's own retries are off: they cannot see a stream that breaks off, and one
place should decide.
"""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import httpx2
import openai

from .config import ModelRetryBackoffSettings, ModelRetrySettings
from .errors import ModelCallError

T = TypeVar("T")

LONGEST_RETRY_AFTER_S = 120.0
_PASSING_STATUSES = {408, 409, 429}


async def with_retries(
    attempt: Callable[[int], Awaitable[T]],
    *,
    settings: ModelRetrySettings,
    sleep: Callable[[float], Awaitable[None]],
    on_retry: Callable[[int, Exception], Awaitable[None]],
) -> T:
    """Return what `attempt` gives, called with 1, 2, … until one succeeds.

    `on_retry(number, error)` is told of each failure that is tried again, before the
    wait. Raises ModelCallError when the failure will not pass or no retry is left.
    """
    number = 1
    while True:
        try:
            return await attempt(number)
        except Exception as error:
            wait_s = retry_wait_s(error, number, settings)
            if wait_s is None:
                failure = _given_up(error, number)
                if failure is error:
                    raise
                raise failure from error
            await on_retry(number, error)
        await sleep(wait_s)
        number += 1


def retry_wait_s(
    error: Exception, attempt: int, settings: ModelRetrySettings
) -> float | None:
    """Return the wait after failed `attempt` (from 1), or None to give up."""
    if attempt > settings.max_retries or not is_passing(error):
        return None
    asked = _retry_after_s(error)
    if asked is None:
        return backoff_s(attempt, settings.backoff)
    return asked if asked <= LONGEST_RETRY_AFTER_S else None


def is_passing(error: Exception) -> bool:
    """Say whether the same request may succeed a little later."""
    if isinstance(error, openai.APIStatusError):
        if error.code == "insufficient_quota":
            return False
        return error.status_code in _PASSING_STATUSES or error.status_code >= 500
    # A corrupt chunk raises JSONDecodeError, the stream helper RuntimeError, and a
    # connection cut in the middle of a stream the transport's own error.
    return isinstance(
        error,
        openai.APIError
        | ModelCallError
        | TimeoutError
        | json.JSONDecodeError
        | RuntimeError
        | httpx2.TransportError,
    )


def backoff_s(attempt: int, backoff: ModelRetryBackoffSettings) -> float:
    """Return the wait after failed `attempt` (from 1), with jitter when set.

    Source: Amazon Builders' Library, "Timeouts, retries, and backoff with jitter".
    """
    wait_s = min(
        backoff.max_delay, backoff.initial_delay * backoff.multiplier ** (attempt - 1)
    )
    return wait_s * random.uniform(0.5, 1.0) if backoff.jitter else wait_s  # noqa: S311  spreads load, keeps no secret


def _retry_after_s(error: Exception) -> float | None:
    if not isinstance(error, openai.APIStatusError):
        return None
    headers = error.response.headers
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) * unit_s)
        except (KeyError, ValueError):
            continue
    return None


def _given_up(error: Exception, attempts: int) -> Exception:
    if isinstance(error, ModelCallError) and attempts == 1:
        return error
    if not isinstance(error, openai.APIError) and not is_passing(error):
        return error
    tried = "once" if attempts == 1 else f"{attempts} times"
    detail = "it took too long" if isinstance(error, TimeoutError) else str(error)
    return ModelCallError(
        f"The model was asked {tried} without an answer: {detail}", attempts=attempts
    )
