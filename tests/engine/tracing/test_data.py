from __future__ import annotations

from typing import Any

import pytest

from runs.engine.tracing import (
    FunctionSpanData,
    ResponseSpanData,
    Span,
    SpanError,
    agent_span,
    custom_span,
    function_span,
    gen_group_id,
    gen_span_id,
    gen_trace_id,
    generation_span,
    guardrail_span,
    handoff_span,
    mcp_tools_span,
    response_span,
    set_tracing_export_api_key,
    speech_group_span,
    speech_span,
    task_span,
    trace,
    tracing_export_api_key,
    transcription_span,
    turn_span,
)

from .hearing import ANSWER, Heard


def exported(span: Span[Any]) -> dict[str, Any]:
    found = span.export()
    assert found is not None
    return found


def test_trace_export() -> None:
    whole = trace("shop", "trace_1", "group_1", {"k": "v"}, {"api_key": "sk"})

    expected = {
        "object": "trace",
        "id": "trace_1",
        "workflow_name": "shop",
        "group_id": "group_1",
        "metadata": {"k": "v"},
    }
    assert whole.export() == expected
    assert whole.to_json() == expected
    assert whole.to_json(include_tracing_api_key=True) == expected | {
        "tracing_api_key": "sk"
    }


def test_span_export(heard: Heard) -> None:
    whole = trace("t", metadata={"k": "v"})
    with whole, custom_span("root") as root, agent_span("clerk") as span:
        span.span_data.metadata = {"usage": 1}
        span.set_error(SpanError(message="Broken", data={"n": 1}))

    assert exported(span) == {
        "object": "trace.span",
        "id": span.span_id,
        "trace_id": whole.trace_id,
        "parent_id": root.span_id,
        "started_at": span.started_at,
        "ended_at": span.ended_at,
        "span_data": {
            "type": "agent",
            "name": "clerk",
            "handoffs": None,
            "tools": None,
            "output_type": None,
        },
        "error": {"message": "Broken", "data": {"n": 1}},
        "metadata": {"usage": 1},
    }
    assert "metadata" not in exported(root)
    assert span.trace_metadata == {"k": "v"}
    assert str(span.started_at).endswith("+00:00")
    assert str(span.started_at) <= str(span.ended_at)


@pytest.mark.parametrize(
    ("make", "data"),
    [
        (
            lambda: agent_span("a", ["b"], ["t"], "str"),
            {
                "type": "agent",
                "name": "a",
                "handoffs": ["b"],
                "tools": ["t"],
                "output_type": "str",
            },
        ),
        (
            lambda: task_span("w"),
            {
                "type": "custom",
                "name": "task",
                "data": {"sdk_span_type": "task", "name": "w"},
            },
        ),
        (
            lambda: turn_span(3, "a"),
            {
                "type": "custom",
                "name": "turn",
                "data": {"sdk_span_type": "turn", "turn": 3, "agent_name": "a"},
            },
        ),
        (
            lambda: function_span("f", "{}", "out"),
            {
                "type": "function",
                "name": "f",
                "input": "{}",
                "output": "out",
                "mcp_data": None,
            },
        ),
        (
            lambda: generation_span([{"a": 1}], [{"b": 2}], "m", {"c": 3}, {"d": 4}),
            {
                "type": "generation",
                "input": [{"a": 1}],
                "output": [{"b": 2}],
                "model": "m",
                "model_config": {"c": 3},
                "usage": {"d": 4},
            },
        ),
        (
            lambda: response_span(ANSWER),
            {"type": "response", "response_id": "resp_1", "usage": None},
        ),
        (
            lambda: handoff_span("a", "b"),
            {"type": "handoff", "from_agent": "a", "to_agent": "b"},
        ),
        (
            lambda: guardrail_span("g", True),
            {"type": "guardrail", "name": "g", "triggered": True},
        ),
        (
            lambda: custom_span("c", {"k": 1}),
            {"type": "custom", "name": "c", "data": {"k": 1}},
        ),
        (
            lambda: mcp_tools_span("s", ["t"]),
            {"type": "mcp_tools", "server": "s", "result": ["t"]},
        ),
        (
            lambda: transcription_span("m", "audio", "wav", "text", {"c": 3}),
            {
                "type": "transcription",
                "input": {"data": "audio", "format": "wav"},
                "output": "text",
                "model": "m",
                "model_config": {"c": 3},
            },
        ),
        (
            lambda: speech_span("m", "text", "audio", "wav", {"c": 3}, "now"),
            {
                "type": "speech",
                "input": "text",
                "output": {"data": "audio", "format": "wav"},
                "model": "m",
                "model_config": {"c": 3},
                "first_content_at": "now",
            },
        ),
        (
            lambda: speech_group_span("text"),
            {"type": "speech_group", "input": "text"},
        ),
    ],
)
def test_span_data_export(make: Any, data: dict[str, Any], heard: Heard) -> None:
    with trace("t"), make() as span:
        pass

    assert exported(span)["span_data"] == data


def test_tool_output_is_exported_as_text() -> None:
    assert FunctionSpanData("f", None, {"a": 1}).export()["output"] == "{'a': 1}"


def test_ids_have_the_usual_form() -> None:
    for made, prefix, digits in (
        (gen_trace_id(), "trace_", 32),
        (gen_span_id(), "span_", 24),
        (gen_group_id(), "group_", 24),
    ):
        assert made.startswith(prefix)
        assert len(bytes.fromhex(made.removeprefix(prefix))) * 2 == digits


def test_export_key_is_kept_for_exporters() -> None:
    set_tracing_export_api_key("sk-1")

    assert tracing_export_api_key() == "sk-1"


def test_response_id_is_told_without_the_response() -> None:
    data = ResponseSpanData(response_id="resp_2", model="gpt-5")

    assert data.export()["response_id"] == "resp_2"
    assert data.details() == {"model": "gpt-5"}
