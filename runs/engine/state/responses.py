"""The model's answers of a run, rebuilt from its items and one record an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..digest import JSONObject
from ..errors import InvalidRunState
from ..models.interface import ModelResponse
from ..usage import Usage, as_request

if TYPE_CHECKING:
    from .run_state import RunState


def count_requests(usage: Usage, state: RunState[Any]) -> None:
    """Put an entry into `usage` for each request whose record `state` holds.

    Raises InvalidRunState when a record is broken.
    """
    usage.request_usage_entries += [
        as_request(_usage_of(record)) for record, _, _ in _spans(state)
    ]


def responses_of(state: RunState[Any]) -> list[ModelResponse]:
    """Return the model's answers, rebuilt from the items."""
    items = state.transcript.items
    return [
        ModelResponse(
            output=[item.raw_item for item in items[start:end]],
            usage=_usage_of(record),
            response_id=record.get("response_id"),
            request_id=record.get("request_id"),
        )
        for record, start, end in _spans(state)
    ]


def _usage_of(record: JSONObject) -> Usage:
    try:
        return Usage.from_totals(record.get("usage") or {})
    except (TypeError, ValueError, AttributeError) as error:
        raise InvalidRunState(f"The state's usage is broken: {error}.") from error


def _spans(state: RunState[Any]) -> list[tuple[JSONObject, int, int]]:
    """Return each answer's record with the range of its items."""
    spans, end = [], state.input_count
    for record in state.responses:
        start, count = record.get("at"), record.get("items", 0)
        if not isinstance(count, int):
            raise InvalidRunState("The state's answers are broken at items.")
        if not isinstance(start, int):
            start = _next_answer(state, end)
        end = start + count
        spans.append((record, start, end))
    return spans


def _next_answer(state: RunState[Any], start: int) -> int:
    # Schema 1.0 did not say where an answer begins: after outputs and inputs.
    items = state.transcript.items
    while start < len(items) and items[start].type in (
        "input_item",
        "tool_call_output_item",
    ):
        start += 1
    return start
