"""Ended spans as plain JSON, for an application that keeps them itself."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from .processor_interface import TracingProcessor

if TYPE_CHECKING:
    from .spans import Span
    from .traces import Trace

JSONObject = dict[str, Any]


class SpanRecorder(TracingProcessor):
    """Holds ended spans, in the order they ended, until someone drains them.

    A record has `id`, `trace_id`, `parent_id` (None right under the trace),
    `started_at` and `ended_at` (ISO 8601, UTC), `span_data` (its `type` and what else
    is known, such as a tool's `call_id`) and `error` (None, or `message` and `data`).
    Children end, and so come, before their parents. Drain it each time a run's state
    is stored: nothing bounds what it holds.

    Use it for one run with `with recording(recorder):` around the run.
    """

    def __init__(self) -> None:
        self._records: list[JSONObject] = []
        self._changing = threading.Lock()

    def drain(self) -> list[JSONObject]:
        """Return what has ended since the last call, and hold it no more."""
        with self._changing:
            records, self._records = self._records, []
        return records

    def on_trace_start(self, trace: Trace) -> None:
        return None

    def on_trace_end(self, trace: Trace) -> None:
        return None

    def on_span_start(self, span: Span[Any]) -> None:
        return None

    def on_span_end(self, span: Span[Any]) -> None:
        record = span_record(span)
        with self._changing:
            self._records.append(record)

    def shutdown(self) -> None:
        return None

    def force_flush(self) -> None:
        return None


def span_record(span: Span[Any]) -> JSONObject:
    """Return `span` as plain JSON that later changes of its data do not reach."""
    return {
        "id": span.span_id,
        "trace_id": span.trace_id,
        "parent_id": span.parent_id,
        "started_at": span.started_at,
        "ended_at": span.ended_at,
        "span_data": _data_of(span),
        "error": _error_of(span),
    }


def _data_of(span: Span[Any]) -> Any:
    data = span.span_data
    try:
        return _plain(data.export() | data.details())
    except Exception as error:
        # The span itself stays: its children name it as their parent.
        return {"type": data.type, "unreadable": type(error).__name__}


def _error_of(span: Span[Any]) -> Any:
    try:
        return _plain(span.error)
    except Exception as error:
        return {"message": "Unreadable error", "data": {"error": type(error).__name__}}


def _plain(value: Any) -> Any:
    """Return `value` as JSON has it: NaN and infinities as text, odd keys left out."""
    return _DECODER.decode(_ENCODER.encode(value))


def _as_json(value: object) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", warnings=False)
    return str(value)


# Made once: `json.dumps` with options makes one a call, which takes half of its time.
_ENCODER = json.JSONEncoder(default=_as_json, skipkeys=True)
_DECODER = json.JSONDecoder(parse_constant=str)
