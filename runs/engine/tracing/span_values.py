"""Values that go into spans: what was used, and what went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..usage import Usage
from .create import get_current_span
from .spans import SpanError

JSONObject = dict[str, Any]
REDACTED = "Error details are redacted."


def model_usage(usage: Usage) -> JSONObject:
    """Return the usage of one model call as generation and response spans have it."""
    return {
        "requests": usage.requests,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.input_tokens_details.cached_tokens,
            "cache_write_tokens": usage.input_tokens_details.cache_write_tokens,
        },
        "output_tokens_details": {
            "reasoning_tokens": usage.output_tokens_details.reasoning_tokens,
        },
    }


def turn_usage(before: Mapping[str, int], usage: Usage) -> JSONObject | None:
    """Return what `usage` grew by as turn spans have it; None for nothing.

    `before` is what its `totals()` were when the turn began.
    """
    used = _grown(before, usage)
    return _tokens(used) if any(used.values()) else None


def task_usage(before: Mapping[str, int], usage: Usage) -> JSONObject | None:
    """Return what `usage` grew by as task spans have it; as `turn_usage` otherwise."""
    used = _grown(before, usage)
    if not any(used.values()):
        return None
    counts = {key: used[key] for key in ("requests", "total_tokens")}
    return _tokens(used) | counts


def _grown(before: Mapping[str, int], usage: Usage) -> dict[str, int]:
    return {key: now - before[key] for key, now in usage.totals().items()}


def _tokens(used: Mapping[str, int]) -> JSONObject:
    return {
        "input_tokens": used["input_tokens"],
        "output_tokens": used["output_tokens"],
        "cached_input_tokens": used["cached_tokens"],
        "cache_write_input_tokens": used["cache_write_tokens"],
    }


def span_error(
    message: str, error: BaseException, *, include_data: bool, **data: Any
) -> SpanError:
    """Return `error` as a span's error: `message`, and `data` with its text.

    The text is left out where `include_data`, the run's
    `trace_include_sensitive_data`, is False: it may quote arguments and answers.
    """
    text = _text_of(error) if include_data else REDACTED
    return SpanError(message=message, data={**data, "error": text})


def set_current_error(message: str, **data: Any) -> None:
    """Record an error of the current span, where there is one."""
    span = get_current_span()
    if span is not None:
        span.set_error(SpanError(message=message, data=data))


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return f"{type(error).__name__} without a readable text"
