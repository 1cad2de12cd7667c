from __future__ import annotations

import pytest

from runs.engine.tracing import (
    custom_span,
    get_current_span,
    model_usage,
    set_current_error,
    span_error,
    task_usage,
    trace,
    turn_usage,
)
from runs.engine.usage import InputTokensDetails, Usage

from .hearing import Heard


def used(count: int) -> Usage:
    return Usage(
        requests=1,
        input_tokens=count,
        input_tokens_details=InputTokensDetails(cached_tokens=2, cache_write_tokens=1),
        output_tokens=5,
        total_tokens=count + 5,
    )


def test_turn_and_task_usage_tell_what_was_used_since() -> None:
    usage = used(100)
    before = usage.totals()

    usage.add(used(10))
    usage.add(used(20))

    tokens = {
        "input_tokens": 30,
        "output_tokens": 10,
        "cached_input_tokens": 4,
        "cache_write_input_tokens": 2,
    }
    assert turn_usage(before, usage) == tokens
    assert task_usage(before, usage) == tokens | {"requests": 2, "total_tokens": 40}


def test_usage_of_nothing_is_none() -> None:
    usage = used(100)

    assert turn_usage(usage.totals(), usage) is None
    assert task_usage(usage.totals(), usage) is None


def test_model_usage_has_the_form_of_a_model_span() -> None:
    assert model_usage(used(10)) == {
        "requests": 1,
        "input_tokens": 10,
        "output_tokens": 5,
        "total_tokens": 15,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1},
        "output_tokens_details": {"reasoning_tokens": 0},
    }


@pytest.mark.parametrize(
    ("include", "text"), [(True, "pin 1234"), (False, "Error details are redacted.")]
)
def test_error_keeps_its_text_only_where_that_is_allowed(
    include: bool, text: str
) -> None:
    told = span_error(
        "Error running tool",
        ValueError("pin 1234"),
        include_data=include,
        tool_name="pay",
    )

    assert told == {
        "message": "Error running tool",
        "data": {"tool_name": "pay", "error": text},
    }


def test_error_without_a_readable_text_is_still_told() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    told = span_error("Broken", Odd(), include_data=True)

    assert told["data"] == {"error": "Odd without a readable text"}


def test_error_of_the_current_span(heard: Heard) -> None:
    set_current_error("Nowhere")
    with trace("t"), custom_span("s") as span:
        assert get_current_span() is span
        set_current_error("Tool not found", tool_name="nope")

    assert span.error == {"message": "Tool not found", "data": {"tool_name": "nope"}}
