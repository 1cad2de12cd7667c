"""Our spans as OpenTelemetry spans, for whatever collects those.

    from runs.engine.tracing import add_trace_processor
    from runs.engine.tracing.otel import OpenTelemetryProcessor

    add_trace_processor(OpenTelemetryProcessor())

Needs the optional packages `opentelemetry-api` and `opentelemetry-sdk`.
"""

from __future__ import annotations

import hashlib
import threading
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any

try:
    from opentelemetry import context as otel_context
    from opentelemetry import trace as otel_trace
    from opentelemetry.sdk.trace import Tracer
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider
except ImportError as error:
    raise ImportError(
        "OpenTelemetry is not installed; install `opentelemetry-sdk` to send traces "
        "through it."
    ) from error

from .otel_attributes import describe
from .processor_interface import TracingProcessor
from .spans import Span, SpanError
from .traces import Trace

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ASKS_A_PROVIDER = {"chat", "invoke_agent", "speech", "transcription"}
_ids: ContextVar[tuple[int, int] | None] = ContextVar("otel_ids", default=None)


class OpenTelemetryProcessor(TracingProcessor):
    """Makes an OpenTelemetry span of each of our spans, by its GenAI conventions.

    `tracer_provider` None means the global one, as it is when the first span begins.
    `provider_name` is told as `gen_ai.provider.name` of agents and model calls.

    Our ids become OpenTelemetry's, so a run that is resumed in another process goes on
    in the same trace. A span without a parent of ours goes under the OpenTelemetry span
    of the code around, where there is one.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        *,
        provider_name: str = "openai",
    ) -> None:
        self._tracer_provider = tracer_provider
        self._provider_name = provider_name
        self._tracer: otel_trace.Tracer | None = None
        self._open: dict[str, otel_trace.Span] = {}
        self._changing = threading.Lock()

    def on_trace_start(self, trace: Trace) -> None:
        return None

    def on_trace_end(self, trace: Trace) -> None:
        return None

    def on_span_start(self, span: Span[Any]) -> None:
        described = describe(span.span_data)
        token = _ids.set((_hex_id(span.trace_id, 32), _hex_id(span.span_id, 16)))
        try:
            begun = self._get_tracer().start_span(
                described.name,
                context=self._context_of(span),
                kind=SpanKind.CLIENT if described.is_client else SpanKind.INTERNAL,
                attributes=described.known(),
                start_time=_nanoseconds(span.started_at),
            )
        finally:
            _ids.reset(token)
        with self._changing:
            self._open[span.span_id] = begun

    def on_span_end(self, span: Span[Any]) -> None:
        with self._changing:
            begun = self._open.pop(span.span_id, None)
        if begun is None:
            return
        try:
            self._tell(begun, span)
        finally:
            begun.end(_nanoseconds(span.ended_at))

    def shutdown(self) -> None:
        """Flush; the tracer provider is its maker's to shut down."""
        self.force_flush()

    def force_flush(self) -> None:
        flush = getattr(self._get_provider(), "force_flush", None)
        if flush is not None:
            flush()

    def _get_provider(self) -> TracerProvider:
        return self._tracer_provider or otel_trace.get_tracer_provider()

    def _get_tracer(self) -> otel_trace.Tracer:
        if self._tracer is None:
            tracer = self._get_provider().get_tracer("runs.engine.tracing")
            if isinstance(tracer, Tracer):
                tracer.id_generator = _OurIds(tracer.id_generator)
            self._tracer = tracer
        return self._tracer

    def _context_of(self, span: Span[Any]) -> otel_context.Context:
        around = otel_context.get_current()
        with self._changing:
            parent = self._open.get(span.parent_id) if span.parent_id else None
        if parent is None:
            return around
        return otel_trace.set_span_in_context(parent, around)

    def _tell(self, begun: otel_trace.Span, span: Span[Any]) -> None:
        described = describe(span.span_data)
        begun.update_name(described.name)
        begun.set_attributes(described.known())
        if described.attributes.get("gen_ai.operation.name") in _ASKS_A_PROVIDER:
            begun.set_attribute("gen_ai.provider.name", self._provider_name)
        begun.set_attribute("placet.trace.id", span.trace_id)
        if span.trace is not None and span.trace.group_id:
            begun.set_attribute("gen_ai.conversation.id", span.trace.group_id)
        if span.error is not None:
            begun.set_attribute("error.type", "_OTHER")
            begun.set_status(Status(StatusCode.ERROR, _sentence(span.error)))


class _OurIds(IdGenerator):
    """Gives the ids of the span that is being begun; others' where it is not ours."""

    def __init__(self, others: IdGenerator) -> None:
        self._others = others

    def generate_trace_id(self) -> int:
        ours = _ids.get()
        return self._others.generate_trace_id() if ours is None else ours[0]

    def generate_span_id(self) -> int:
        ours = _ids.get()
        return self._others.generate_span_id() if ours is None else ours[1]


def _hex_id(ours: str, digits: int) -> int:
    """Return the first hexadecimal `digits` of an id of ours, else of its hash.

    Zero is no id for OpenTelemetry, so it is hashed too.
    """
    text = ours.partition("_")[2][:digits]
    try:
        found = int(text, 16) if len(text) == digits and text.isalnum() else 0
    except ValueError:
        found = 0
    if found == 0:
        found = int(hashlib.sha256(ours.encode()).hexdigest()[:digits], 16)
    return found


def _nanoseconds(time_iso: str | None) -> int | None:
    if time_iso is None:
        return None
    since = datetime.fromisoformat(time_iso) - _EPOCH
    return since // timedelta(microseconds=1) * 1000


def _sentence(error: SpanError) -> str:
    data = error.get("data") or {}
    detail = data.get("error")
    return f"{error['message']}: {detail}" if detail else error["message"]
