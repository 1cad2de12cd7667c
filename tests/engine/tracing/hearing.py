"""Processors and settings for tests of the tracing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from openai.types.responses import Response

from runs.engine.tracing import (
    Span,
    Trace,
    TracingConfig,
    TracingProcessor,
)


class Heard(TracingProcessor):
    """Keeps what it hears, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.traces: list[Trace] = []
        self.spans: list[Span[Any]] = []
        self.flushed = 0
        self.shut_down = 0

    def on_trace_start(self, trace: Trace) -> None:
        self.events.append(("trace starts", trace.name))

    def on_trace_end(self, trace: Trace) -> None:
        self.events.append(("trace ends", trace.name))
        self.traces.append(trace)

    def on_span_start(self, span: Span[Any]) -> None:
        self.events.append(("span starts", label(span)))

    def on_span_end(self, span: Span[Any]) -> None:
        self.events.append(("span ends", label(span)))
        self.spans.append(span)

    def shutdown(self) -> None:
        self.shut_down += 1

    def force_flush(self) -> None:
        self.flushed += 1

    def span(self, wanted: str) -> Span[Any]:
        return next(span for span in self.spans if label(span) == wanted)


class Broken(Heard):
    """Fails at whatever it is asked."""

    def on_trace_start(self, trace: Trace) -> None:
        raise RuntimeError("secret")

    on_trace_end = on_trace_start

    def on_span_start(self, span: Span[Any]) -> None:
        raise RuntimeError("secret")

    on_span_end = on_span_start

    def shutdown(self) -> None:
        raise RuntimeError("secret")

    force_flush = shutdown


def label(span: Span[Any]) -> str:
    data = span.span_data
    return str(getattr(data, "name", None) or data.type)


@dataclass
class Config:
    """The part of a `RunConfig` that tracing reads."""

    workflow_name: str = "Agent workflow"
    trace_id: str | None = None
    group_id: str | None = None
    trace_metadata: dict[str, Any] | None = None
    tracing: TracingConfig | None = None
    tracing_disabled: bool = False


ANSWER = Response.model_validate(
    {
        "id": "resp_1",
        "created_at": 0,
        "model": "gpt-5-2026",
        "object": "response",
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "output": [
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "Think."}],
            },
            {
                "type": "function_call",
                "call_id": "call_1",
                "name": "look",
                "arguments": "{}",
            },
        ],
    }
)
