"""What listens to traces and spans, and where they may go."""

from __future__ import annotations

import abc
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from .spans import Span
    from .traces import Trace

logger = logging.getLogger(__name__)

Hook = Literal["on_trace_start", "on_trace_end", "on_span_start", "on_span_end"]


class TracingProcessor(abc.ABC):
    """Hears of each trace and span as it begins and ends.

    Called on the run's own thread, so a hook must be quick; spans of parallel tool
    calls may end on other threads. What a hook raises is logged and goes no further.
    """

    @abc.abstractmethod
    def on_trace_start(self, trace: Trace) -> None:
        """Hear that `trace` began; a resumed trace does not begin again."""

    @abc.abstractmethod
    def on_trace_end(self, trace: Trace) -> None:
        """Hear that `trace` ended; its spans have ended before."""

    @abc.abstractmethod
    def on_span_start(self, span: Span[Any]) -> None:
        """Hear that `span` began; its data may still be empty."""

    @abc.abstractmethod
    def on_span_end(self, span: Span[Any]) -> None:
        """Hear that `span` ended, with its data, its error and both its times."""

    @abc.abstractmethod
    def shutdown(self) -> None:
        """Hand over what is still held and let go of everything: the process ends."""

    @abc.abstractmethod
    def force_flush(self) -> None:
        """Hand over what is still held before returning."""


class TracingExporter(abc.ABC):
    """Takes traces and spans somewhere; a `BatchTraceProcessor` feeds it."""

    @abc.abstractmethod
    def export(self, items: list[Trace | Span[Any]]) -> None:
        """Take `items` away, in the order they came; what it raises drops them."""


def tell(processors: Iterable[TracingProcessor], hook: Hook, subject: Any) -> None:
    """Call `hook` of each of `processors` with `subject`; one that raises is logged."""
    for processor in processors:
        try:
            getattr(processor, hook)(subject)
        except Exception as error:
            log_failure(processor, hook, error)


def log_failure(processor: object, hook: str, error: Exception) -> None:
    """Log that `processor` failed, without the error's text: it may quote span data."""
    logger.warning(
        "A trace processor failed; the run goes on.",
        extra={
            "trace_processor": type(processor).__qualname__,
            "hook": hook,
            "error_type": type(error).__name__,
        },
    )
