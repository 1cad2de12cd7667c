from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from openai.types.responses import ResponseOutputMessage, ResponseOutputText
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from runs.engine.tracing import (
    SpanError,
    TraceState,
    add_trace_processor,
    agent_span,
    custom_span,
    flush_traces,
    function_span,
    generation_span,
    guardrail_span,
    handoff_span,
    mcp_tools_span,
    response_span,
    resume_trace,
    set_trace_processors,
    speech_group_span,
    speech_span,
    task_span,
    trace,
    transcription_span,
    turn_span,
)
from runs.engine.tracing.otel import OpenTelemetryProcessor

from .hearing import ANSWER, Heard

TRACE_ID = "trace_0123456789abcdef0123456789abcdef"


class Collected:
    """What an OpenTelemetry provider was told, by the name of the span."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def names(self) -> list[str]:
        return [span.name for span in self._exporter.get_finished_spans()]

    def __getitem__(self, name: str) -> ReadableSpan:
        ended = self._exporter.get_finished_spans()
        return next(span for span in ended if span.name == name)


@pytest.fixture
def collected() -> Collected:
    collected = Collected()
    add_trace_processor(OpenTelemetryProcessor(collected.provider))
    return collected


def context_of(span: ReadableSpan) -> Any:
    assert span.context is not None
    return span.context


def parent_id(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def test_spans_have_their_parents_ids_and_times(
    collected: Collected, heard: Heard
) -> None:
    with (
        trace("shop", TRACE_ID),
        task_span("shop"),
        agent_span("clerk"),
        turn_span(1, "clerk"),
        function_span("look"),
    ):
        pass

    assert collected.names() == [
        "execute_tool look",
        "turn",
        "invoke_agent clerk",
        "invoke_workflow shop",
    ]
    tool, turn, agent, task = (collected[name] for name in collected.names())
    assert [parent_id(span) for span in (tool, turn, agent, task)] == [
        context_of(turn).span_id,
        context_of(agent).span_id,
        context_of(task).span_id,
        None,
    ]
    ours = heard.span("look")
    digits = ours.span_id.removeprefix("span_")[:16]
    assert context_of(tool).span_id == int(digits, 16)
    assert context_of(tool).trace_id == int(TRACE_ID.removeprefix("trace_"), 16)
    assert tool.kind is SpanKind.INTERNAL
    assert (tool.start_time, tool.end_time) == (
        nanoseconds(ours.started_at),
        nanoseconds(ours.ended_at),
    )


def nanoseconds(text: str | None) -> int:
    assert text is not None
    since = datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)
    micros = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return micros * 1000


def test_parallel_spans_keep_their_parents(collected: Collected) -> None:
    with trace("t"), custom_span("root") as root:
        first, second = custom_span("a", parent=root), custom_span("b", parent=root)
        first.start()
        second.start()
        first.finish()
        second.finish()

    root_id = context_of(collected["root"]).span_id
    assert [parent_id(collected[name]) for name in "ab"] == [root_id, root_id]


def test_resumed_run_goes_on_in_the_same_trace_elsewhere() -> None:
    first, second = Collected(), Collected()
    set_trace_processors([OpenTelemetryProcessor(first.provider)])
    with trace("t", TRACE_ID), custom_span("before"):
        pass

    set_trace_processors([OpenTelemetryProcessor(second.provider)])
    with resume_trace(TraceState(trace_id=TRACE_ID)), custom_span("after"):
        pass

    before, after = first["before"], second["after"]
    assert context_of(before).trace_id == context_of(after).trace_id
    assert parent_id(after) is None


@pytest.mark.parametrize("ours", ["mine", "trace_" + "0" * 32, "trace_xyz"])
def test_ids_of_an_unusual_form_become_valid_ones(
    ours: str, collected: Collected
) -> None:
    with trace("t", ours), custom_span("a", span_id="span_1"), custom_span("b"):
        pass

    a, b = collected["a"], collected["b"]
    assert context_of(a).is_valid
    assert context_of(a).trace_id == context_of(b).trace_id
    assert parent_id(b) == context_of(a).span_id


def test_run_goes_under_the_span_of_the_code_around(collected: Collected) -> None:
    tracer = collected.provider.get_tracer("the application")

    with tracer.start_as_current_span("request"), trace("t"), custom_span("work"):
        pass

    request, work = collected["request"], collected["work"]
    assert parent_id(work) == context_of(request).span_id
    assert context_of(work).trace_id == context_of(request).trace_id


def test_two_processors_can_share_a_provider(collected: Collected) -> None:
    add_trace_processor(OpenTelemetryProcessor(collected.provider))

    with trace("t", TRACE_ID), custom_span("work"):
        pass
    with collected.provider.get_tracer("runs.engine.tracing").start_span("foreign"):
        pass

    assert collected.names() == ["work", "work", "foreign"]
    assert context_of(collected["foreign"]).is_valid


def test_error_becomes_the_status(collected: Collected) -> None:
    with trace("t"):
        with custom_span("good"):
            pass
        with custom_span("bad") as span:
            span.set_error(SpanError(message="Error running tool", data={"error": "x"}))

    bad = collected["bad"]
    assert bad.status.status_code is StatusCode.ERROR
    assert bad.status.description == "Error running tool: x"
    assert bad.attributes is not None
    assert bad.attributes["error.type"] == "_OTHER"
    assert collected["good"].status.status_code is StatusCode.UNSET


USAGE = {
    "input_tokens": 10,
    "output_tokens": 5,
    "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
    "output_tokens_details": {"reasoning_tokens": 1},
}
USAGE_ATTRIBUTES = {
    "gen_ai.usage.input_tokens": 10,
    "gen_ai.usage.output_tokens": 5,
    "gen_ai.usage.cache_read.input_tokens": 3,
    "gen_ai.usage.cache_creation.input_tokens": 2,
    "gen_ai.usage.reasoning.output_tokens": 1,
}


def attributes(collected: Collected, name: str) -> dict[str, Any]:
    found = dict(collected[name].attributes or {})
    assert found.pop("placet.trace.id") == TRACE_ID
    return found


@pytest.mark.parametrize(
    ("make", "name", "expected"),
    [
        (
            lambda: agent_span("a", ["b"], ["t"], "Weather"),
            "invoke_agent a",
            {
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.agent.name": "a",
                "gen_ai.output.type": "json",
                "gen_ai.provider.name": "openai",
                "placet.agent.tools": ("t",),
                "placet.agent.handoffs": ("b",),
            },
        ),
        (
            lambda: handoff_span("a", "b"),
            "handoff b",
            {"placet.handoff.from_agent": "a", "placet.handoff.to_agent": "b"},
        ),
        (
            lambda: guardrail_span("g", True),
            "guardrail g",
            {"placet.guardrail.name": "g", "placet.guardrail.triggered": True},
        ),
        (
            lambda: custom_span("c", {"k": 1}),
            "c",
            {"placet.custom.data": '{"k": 1}'},
        ),
        (
            lambda: mcp_tools_span("files", ["read"]),
            "tools/list",
            {
                "mcp.method.name": "tools/list",
                "placet.mcp.server": "files",
                "placet.mcp.tools": ("read",),
            },
        ),
        (
            lambda: speech_span("tts", None, "audio"),
            "speech tts",
            {
                "gen_ai.operation.name": "speech",
                "gen_ai.output.type": "speech",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "tts",
            },
        ),
        (
            lambda: transcription_span("stt", "audio"),
            "transcription stt",
            {
                "gen_ai.operation.name": "transcription",
                "gen_ai.output.type": "text",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "stt",
            },
        ),
        (lambda: speech_group_span("x"), "speech_group", {}),
    ],
)
def test_attributes(
    make: Callable[[], Any], name: str, expected: dict[str, Any], collected: Collected
) -> None:
    with trace("t", TRACE_ID), make():
        pass

    assert attributes(collected, name) == expected


def test_tool_call_attributes(collected: Collected) -> None:
    with trace("t", TRACE_ID, group_id="chat 1"), function_span("look", "{}") as span:
        span.span_data.call_id = "c1"
        span.span_data.mcp_data = {"server": "files"}
        span.span_data.output = {"found": 1}

    assert attributes(collected, "execute_tool look") == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "look",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": "c1",
        "gen_ai.tool.call.arguments": "{}",
        "gen_ai.tool.call.result": "{'found': 1}",
        "gen_ai.conversation.id": "chat 1",
        "placet.mcp.server": "files",
    }


def test_what_a_span_does_not_carry_is_not_told(collected: Collected) -> None:
    with trace("t", TRACE_ID):
        with function_span("look"):
            pass
        with response_span() as answer:
            answer.span_data.response_id = "resp_1"

    assert attributes(collected, "execute_tool look") == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "look",
        "gen_ai.tool.type": "function",
    }
    assert attributes(collected, "chat") == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.response.id": "resp_1",
    }


def test_generation_attributes(collected: Collected) -> None:
    given: list[dict[str, Any]] = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "image_url", "image_url": "data:..."}]},
        {"role": "tool", "tool_call_id": "c0", "content": "42"},
    ]
    call = {"id": "c1", "function": {"name": "look", "arguments": "{}"}}
    answered = [{"role": "assistant", "content": "Hm.", "tool_calls": [call]}]
    settings = {"temperature": 0.5, "max_tokens": 9, "top_p": None, "store": True}

    with (
        trace("t", TRACE_ID),
        generation_span(given, answered, "gpt-5", settings, USAGE),
    ):
        pass

    found = attributes(collected, "chat gpt-5")
    assert json.loads(found.pop("gen_ai.input.messages")) == [
        {"role": "system", "parts": [{"type": "text", "content": "Be kind."}]},
        {"role": "user", "parts": [{"type": "image_url"}]},
        {
            "role": "tool",
            "parts": [{"type": "tool_call_response", "id": "c0", "response": "42"}],
        },
    ]
    assert json.loads(found.pop("gen_ai.output.messages")) == [
        {
            "role": "assistant",
            "parts": [
                {"type": "text", "content": "Hm."},
                {"type": "tool_call", "id": "c1", "name": "look", "arguments": "{}"},
            ],
            "finish_reason": "tool_call",
        }
    ]
    assert found == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 9,
        **USAGE_ATTRIBUTES,
    }
    assert collected["chat gpt-5"].kind is SpanKind.CLIENT


def test_response_attributes(collected: Collected) -> None:
    with trace("t", TRACE_ID), response_span() as span:
        span.span_data.model = "gpt-5"
        span.span_data.response = ANSWER
        span.span_data.usage = USAGE
        span.span_data.input = [
            {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
            {"type": "function_call", "call_id": "c0", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c0", "output": "1"},
            {"type": "web_search_call", "id": "ws_1"},
        ]

    found = attributes(collected, "chat gpt-5")
    assert json.loads(found.pop("gen_ai.input.messages")) == [
        {"role": "user", "parts": [{"type": "text", "content": "Hi"}]},
        {
            "role": "assistant",
            "parts": [
                {"type": "tool_call", "id": "c0", "name": "f", "arguments": "{}"}
            ],
        },
        {
            "role": "tool",
            "parts": [{"type": "tool_call_response", "id": "c0", "response": "1"}],
        },
        {"role": "assistant", "parts": [{"type": "web_search_call"}]},
    ]
    assert json.loads(found.pop("gen_ai.output.messages")) == [
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "Think."},
                {
                    "type": "tool_call",
                    "id": "call_1",
                    "name": "look",
                    "arguments": "{}",
                },
            ],
            "finish_reason": "tool_call",
        }
    ]
    assert found == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5",
        "gen_ai.response.model": "gpt-5-2026",
        "gen_ai.response.id": "resp_1",
        "gen_ai.response.finish_reasons": ("tool_call",),
        **USAGE_ATTRIBUTES,
    }


@pytest.mark.parametrize(
    ("reason", "finish"),
    [(None, "stop"), ("max_output_tokens", "length"), ("content_filter",) * 2],
)
def test_finish_reason_of_an_answer_in_text(
    reason: str | None, finish: str, collected: Collected
) -> None:
    text = ResponseOutputText(type="output_text", text="Hello", annotations=[])
    message = ResponseOutputMessage(
        id="m", type="message", role="assistant", status="completed", content=[text]
    )
    details = None if reason is None else {"reason": reason}
    answer = ANSWER.model_validate(
        ANSWER.model_dump()
        | {"output": [message.model_dump()], "incomplete_details": details}
    )

    with trace("t", TRACE_ID), generation_span(output=[answer.model_dump()]):
        pass
    with trace("t", TRACE_ID), response_span(answer):
        pass

    found = attributes(collected, "chat gpt-5-2026")
    assert found["gen_ai.response.finish_reasons"] == (finish,)
    (output,) = json.loads(attributes(collected, "chat")["gen_ai.output.messages"])
    assert output["parts"] == [{"type": "text", "content": "Hello"}]


def test_task_and_turn_tell_their_usage(collected: Collected) -> None:
    tokens = {"input_tokens": 7, "output_tokens": 3, "cached_input_tokens": 2}
    with trace("t", TRACE_ID), task_span("w") as task, turn_span(2, "a") as turn:
        task.span_data.usage = turn.span_data.usage = tokens

    used = {
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 2,
    }
    assert attributes(collected, "turn") == {
        "gen_ai.agent.name": "a",
        "placet.turn": 2,
        **used,
    }
    assert attributes(collected, "invoke_workflow w") == {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": "w",
        **used,
    }


def test_flush_reaches_the_provider() -> None:
    class Provider(TracerProvider):
        flushed = 0

        def force_flush(self, timeout_millis: int | None = None) -> bool:
            self.flushed += 1
            return True

    provider = Provider()
    add_trace_processor(OpenTelemetryProcessor(provider))

    flush_traces()

    assert provider.flushed == 1


def test_without_the_package_the_import_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "runs.engine.tracing.otel")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)

    with pytest.raises(ImportError, match="install `opentelemetry-sdk`"):
        importlib.import_module("runs.engine.tracing.otel")
