"""Makes traces and spans, and knows who listens to them."""

from __future__ import annotations

import os
import threading
import time
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from typing import Any

from .config import TracingConfig
from .processor_interface import TracingProcessor, log_failure
from .processors import BatchTraceProcessor
from .scope import current_span, current_trace, listening_here
from .spans import NO_OP_ID, NoOpSpan, Span, SpanImpl, TSpanData
from .traces import NoOpTrace, Trace, TraceImpl


class TraceProvider(ABC):
    """Makes the traces and spans that the functions of this package hand out."""

    @abstractmethod
    def register_processor(self, processor: TracingProcessor) -> None:
        """Let `processor` hear of every trace and span begun from now on."""

    @abstractmethod
    def set_processors(self, processors: list[TracingProcessor]) -> None:
        """Let `processors`, and nobody else, hear of what begins from now on."""

    @abstractmethod
    def get_current_trace(self) -> Trace | None: ...

    @abstractmethod
    def get_current_span(self) -> Span[Any] | None: ...

    @abstractmethod
    def set_disabled(self, disabled: bool) -> None:
        """Switch all tracing off or on, whatever the environment says."""

    @abstractmethod
    def time_iso(self) -> str:
        """Return the time, ISO 8601 in UTC."""

    @abstractmethod
    def gen_trace_id(self) -> str: ...

    @abstractmethod
    def gen_span_id(self) -> str: ...

    @abstractmethod
    def gen_group_id(self) -> str: ...

    @abstractmethod
    def create_trace(
        self,
        name: str,
        trace_id: str | None = None,
        group_id: str | None = None,
        metadata: dict[str, Any] | None = None,
        disabled: bool = False,
        tracing: TracingConfig | None = None,
    ) -> Trace:
        """Return a trace that has not begun."""

    @abstractmethod
    def create_span(
        self,
        span_data: TSpanData,
        span_id: str | None = None,
        parent: Trace | Span[Any] | None = None,
        disabled: bool = False,
    ) -> Span[TSpanData]:
        """Return a span that has not begun, under `parent` or where the code is."""

    # Not abstract: a provider that holds nothing back has nothing to do for either.
    def force_flush(self) -> None:
        """Let every processor hand over what it holds."""
        return None

    def shutdown(self) -> None:
        """Let every processor hand over what it holds, for the last time."""
        return None


class DefaultTraceProvider(TraceProvider):
    """Tells its processors of everything; it begins with none, so nothing is sent."""

    def __init__(self) -> None:
        self._processors: tuple[TracingProcessor, ...] = ()
        self._changing = threading.Lock()
        self._disabled: bool | None = None

    def register_processor(self, processor: TracingProcessor) -> None:
        with self._changing:
            self._processors += (processor,)

    def set_processors(self, processors: list[TracingProcessor]) -> None:
        with self._changing:
            self._processors = tuple(processors)

    def get_current_trace(self) -> Trace | None:
        return current_trace.get()

    def get_current_span(self) -> Span[Any] | None:
        return current_span.get()

    def set_disabled(self, disabled: bool) -> None:
        self._disabled = disabled

    def _is_disabled(self) -> bool:
        # Read at the first use, so that a program may set it after the import.
        if self._disabled is None:
            said = os.environ.get("OPENAI_AGENTS_DISABLE_TRACING", "")
            self._disabled = said.strip().lower() in {"1", "true"}
        return self._disabled

    def time_iso(self) -> str:
        return datetime.now(UTC).isoformat(timespec="microseconds")

    def gen_trace_id(self) -> str:
        return f"trace_{os.urandom(16).hex()}"

    def gen_span_id(self) -> str:
        return f"span_{os.urandom(12).hex()}"

    def gen_group_id(self) -> str:
        return f"group_{os.urandom(12).hex()}"

    def create_trace(
        self,
        name: str,
        trace_id: str | None = None,
        group_id: str | None = None,
        metadata: dict[str, Any] | None = None,
        disabled: bool = False,
        tracing: TracingConfig | None = None,
    ) -> Trace:
        if disabled or self._is_disabled():
            return NoOpTrace()
        return TraceImpl(
            name=name,
            trace_id=trace_id or self.gen_trace_id(),
            group_id=group_id,
            metadata=metadata,
            tracing_api_key=tracing.get("api_key") if tracing else None,
            heard_by=self._processors + listening_here.get(),
        )

    def create_span(
        self,
        span_data: TSpanData,
        span_id: str | None = None,
        parent: Trace | Span[Any] | None = None,
        disabled: bool = False,
    ) -> Span[TSpanData]:
        if disabled or self._is_disabled() or span_id == NO_OP_ID:
            return NoOpSpan(span_data)
        place = _place(parent)
        if place is None:
            return NoOpSpan(span_data)
        heard_by = self._processors + listening_here.get()
        if parent is not None:
            # It may have been begun elsewhere, where others listened.
            heard_by = _with(heard_by, getattr(place, "heard_by", ()))
        if not heard_by:
            return NoOpSpan(span_data, mutes=False)
        return SpanImpl(
            span_id=span_id or self.gen_span_id(),
            parent=place,
            span_data=span_data,
            heard_by=heard_by,
            provider=self,
        )

    def force_flush(self) -> None:
        for processor in self._processors:
            try:
                processor.force_flush()
            except Exception as error:
                log_failure(processor, "force_flush", error)

    def shutdown(self, timeout: float | None = None) -> None:
        """Shut every processor down, within `timeout` seconds where it knows how."""
        until = None if timeout is None else time.monotonic() + timeout
        for processor in self._processors:
            try:
                _shut_down(processor, until)
            except Exception as error:
                log_failure(processor, "shutdown", error)


def _place(parent: Trace | Span[Any] | None) -> Trace | Span[Any] | None:
    """Return what a new span goes under; None where it is switched off, or no trace."""
    place = current_span.get() if parent is None else parent
    if place is None or (isinstance(place, NoOpSpan) and not place.mutes):
        place = current_trace.get()
    if place is None or place.trace_id == NO_OP_ID:
        return None
    return place


def _with(
    some: tuple[TracingProcessor, ...], more: tuple[TracingProcessor, ...]
) -> tuple[TracingProcessor, ...]:
    return some + tuple(each for each in more if each not in some)


def _shut_down(processor: TracingProcessor, until: float | None) -> None:
    if until is not None and isinstance(processor, BatchTraceProcessor):
        processor.shutdown(timeout=max(0.0, until - time.monotonic()))
    else:
        processor.shutdown()
