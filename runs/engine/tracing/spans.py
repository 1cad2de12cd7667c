"""A span: one piece of work in a trace, with its times, its place and its error."""

from __future__ import annotations

import abc
from contextvars import Token
from typing import TYPE_CHECKING, Any, Generic, TypedDict, TypeVar

from .processor_interface import TracingProcessor, tell
from .scope import current_span, leave
from .span_data import SpanData

if TYPE_CHECKING:
    from .provider import DefaultTraceProvider
    from .traces import Trace

TSpanData = TypeVar("TSpanData", bound=SpanData)
NO_OP_ID = "no-op"


class SpanError(TypedDict):
    """What went wrong in a span: a fixed sentence, and what it was about."""

    message: str
    data: dict[str, Any] | None


class Span(abc.ABC, Generic[TSpanData]):
    """One piece of work in a trace.

    Use it as a context manager, which makes it the current span, or call `start` and
    `finish`. Leaving it by an exception records no error: call `set_error`.
    """

    __slots__ = ()

    @property
    @abc.abstractmethod
    def trace_id(self) -> str:
        """The id of the span's trace; "no-op" for a span nobody hears of."""

    @property
    @abc.abstractmethod
    def span_id(self) -> str:
        """The span's own id; "no-op" for a span nobody hears of."""

    @property
    @abc.abstractmethod
    def parent_id(self) -> str | None:
        """The id of the span it is part of; None right under the trace."""

    @property
    @abc.abstractmethod
    def span_data(self) -> TSpanData:
        """What the span says of its work; may be changed until the span ends."""

    @abc.abstractmethod
    def start(self, mark_as_current: bool = False) -> None:
        """Begin the span; `mark_as_current` puts spans begun next under it."""

    @abc.abstractmethod
    def finish(self, reset_current: bool = False) -> None:
        """End the span; `reset_current` makes the span before it current again."""

    @abc.abstractmethod
    def set_error(self, error: SpanError) -> None:
        """Record what went wrong; the last call counts."""

    @property
    @abc.abstractmethod
    def error(self) -> SpanError | None: ...

    @property
    @abc.abstractmethod
    def started_at(self) -> str | None:
        """When it began, ISO 8601 in UTC; None before."""

    @property
    @abc.abstractmethod
    def ended_at(self) -> str | None:
        """When it ended, ISO 8601 in UTC; None before."""

    @property
    @abc.abstractmethod
    def tracing_api_key(self) -> str | None:
        """The exporter's key for the span's trace, where one was given."""

    @abc.abstractmethod
    def export(self) -> dict[str, Any] | None:
        """Return the span as a dict; None for one nobody hears of."""

    @property
    def trace(self) -> Trace | None:
        """The trace the span belongs to, where it is known."""
        return None

    @property
    def trace_metadata(self) -> dict[str, Any] | None:
        """What the application attached to the whole trace."""
        return None

    @property
    def is_recording(self) -> bool:
        """False when nobody hears of the span, so that data for it can be spared."""
        return True

    def __enter__(self) -> Span[TSpanData]:
        self.start(mark_as_current=True)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.finish(reset_current=True)


class NoOpSpan(Span[TSpanData]):
    """A span nobody hears of: it keeps its place and its data, and no more.

    `mutes`: True when it was switched off, which holds for all spans under it. False
    when nobody listens yet; someone who begins to listen inside it hears its children.
    """

    __slots__ = ("_span_data", "_token", "mutes")

    def __init__(self, span_data: TSpanData, mutes: bool = True) -> None:
        self._span_data = span_data
        self._token: Token[Span[Any] | None] | None = None
        self.mutes = mutes

    @property
    def trace_id(self) -> str:
        return NO_OP_ID

    @property
    def span_id(self) -> str:
        return NO_OP_ID

    @property
    def parent_id(self) -> str | None:
        return None

    @property
    def span_data(self) -> TSpanData:
        return self._span_data

    @property
    def is_recording(self) -> bool:
        return False

    def start(self, mark_as_current: bool = False) -> None:
        if mark_as_current:
            self._token = current_span.set(self)

    def finish(self, reset_current: bool = False) -> None:
        if reset_current and (token := self._token) is not None:
            self._token = None
            leave(current_span, token)

    def set_error(self, error: SpanError) -> None:
        return None

    @property
    def error(self) -> SpanError | None:
        return None

    @property
    def started_at(self) -> str | None:
        return None

    @property
    def ended_at(self) -> str | None:
        return None

    @property
    def tracing_api_key(self) -> str | None:
        return None

    def export(self) -> dict[str, Any] | None:
        return None


class SpanImpl(Span[TSpanData]):
    """A span that `heard_by` hear of."""

    __slots__ = (
        "_ended_at",
        "_error",
        "_parent_id",
        "_provider",
        "_span_data",
        "_span_id",
        "_started_at",
        "_token",
        "_trace",
        "_trace_id",
        "_tracing_api_key",
        "heard_by",
    )

    def __init__(
        self,
        *,
        span_id: str,
        parent: Trace | Span[Any],
        span_data: TSpanData,
        heard_by: tuple[TracingProcessor, ...],
        provider: DefaultTraceProvider,
    ) -> None:
        self._span_id = span_id
        self._trace_id = parent.trace_id
        self._tracing_api_key = parent.tracing_api_key
        if isinstance(parent, Span):
            self._parent_id: str | None = parent.span_id
            self._trace = parent.trace
        else:
            self._parent_id = None
            self._trace = parent
        self._span_data = span_data
        self.heard_by = heard_by
        self._provider = provider
        self._started_at: str | None = None
        self._ended_at: str | None = None
        self._error: SpanError | None = None
        self._token: Token[Span[Any] | None] | None = None

    @property
    def trace_id(self) -> str:
        return self._trace_id

    @property
    def span_id(self) -> str:
        return self._span_id

    @property
    def parent_id(self) -> str | None:
        return self._parent_id

    @property
    def span_data(self) -> TSpanData:
        return self._span_data

    @property
    def trace(self) -> Trace | None:
        return self._trace

    @property
    def trace_metadata(self) -> dict[str, Any] | None:
        return None if self._trace is None else self._trace.metadata

    @property
    def tracing_api_key(self) -> str | None:
        return self._tracing_api_key

    @property
    def started_at(self) -> str | None:
        return self._started_at

    @property
    def ended_at(self) -> str | None:
        return self._ended_at

    @property
    def error(self) -> SpanError | None:
        return self._error

    def set_error(self, error: SpanError) -> None:
        self._error = error

    def start(self, mark_as_current: bool = False) -> None:
        if self._started_at is None:
            self._started_at = self._provider.time_iso()
            tell(self.heard_by, "on_span_start", self)
        if mark_as_current and self._token is None:
            self._token = current_span.set(self)

    def finish(self, reset_current: bool = False) -> None:
        if self._started_at is not None and self._ended_at is None:
            self._ended_at = self._provider.time_iso()
            tell(self.heard_by, "on_span_end", self)
        if reset_current and (token := self._token) is not None:
            self._token = None
            leave(current_span, token)

    def export(self) -> dict[str, Any] | None:
        exported = {
            "object": "trace.span",
            "id": self._span_id,
            "trace_id": self._trace_id,
            "parent_id": self._parent_id,
            "started_at": self._started_at,
            "ended_at": self._ended_at,
            "span_data": self._span_data.export(),
            "error": self._error,
        }
        metadata = getattr(self._span_data, "metadata", None)
        return exported | {"metadata": metadata} if metadata else exported
