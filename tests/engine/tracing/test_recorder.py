from __future__ import annotations

import json
from typing import Any

from runs.engine.tracing import (
    SpanError,
    SpanRecorder,
    agent_span,
    custom_span,
    function_span,
    recording,
    trace,
)

from .hearing import ANSWER


def test_recorder_hands_over_what_ended_and_holds_it_no_more() -> None:
    recorder = SpanRecorder()

    with recording(recorder), trace("t") as whole, agent_span("a") as agent:
        with function_span("f", "{}") as span:
            span.span_data.call_id = "c1"
            span.set_error(SpanError(message="Broken", data=None))
        first = recorder.drain()
    second = recorder.drain()

    assert first == [
        {
            "id": span.span_id,
            "trace_id": whole.trace_id,
            "parent_id": agent.span_id,
            "started_at": span.started_at,
            "ended_at": span.ended_at,
            "span_data": {
                "type": "function",
                "name": "f",
                "input": "{}",
                "output": None,
                "mcp_data": None,
                "call_id": "c1",
            },
            "error": {"message": "Broken", "data": None},
        }
    ]
    assert [record["id"] for record in second] == [agent.span_id]
    assert recorder.drain() == []


def test_records_are_plain_json_that_later_changes_do_not_reach() -> None:
    recorder = SpanRecorder()
    data: dict[Any, Any] = {
        "nan": float("nan"),
        "answer": ANSWER.output[1],
        "odd": {1, 2}.__class__,
        ("a", "b"): 1,
        "list": [1],
    }

    with recording(recorder), trace("t"), custom_span("s", data):
        pass
    data["list"].append(2)

    (record,) = recorder.drain()
    assert record == json.loads(json.dumps(record, allow_nan=False))
    kept = record["span_data"]["data"]
    assert (kept["nan"], kept["list"], kept["answer"]["name"]) == ("NaN", [1], "look")
    assert set(kept) == {"nan", "answer", "odd", "list"}


def test_record_that_cannot_be_read_keeps_its_place() -> None:
    recorder = SpanRecorder()
    circle: dict[str, Any] = {}
    circle["circle"] = circle

    with recording(recorder), trace("t"), custom_span("s", circle) as span:
        span.set_error(SpanError(message="m", data=circle))

    (record,) = recorder.drain()
    assert record["id"] == span.span_id
    assert record["span_data"] == {"type": "custom", "unreadable": "ValueError"}
    assert record["error"]["data"] == {"error": "ValueError"}
