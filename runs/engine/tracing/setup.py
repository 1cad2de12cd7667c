"""The one provider of the process."""

from __future__ import annotations

import atexit
import threading

from .processor_interface import TracingProcessor
from .provider import DefaultTraceProvider, TraceProvider

_EXIT_TIMEOUT_S = 5.0
_provider: TraceProvider | None = None
_making = threading.Lock()


def get_trace_provider() -> TraceProvider:
    """Return the provider in use; the first call makes one without processors."""
    if (provider := _provider) is not None:
        return provider
    with _making:
        return _provider or _use(DefaultTraceProvider())


def set_trace_provider(provider: TraceProvider) -> None:
    """Use `provider` from now on; what the one before still holds is its owner's."""
    with _making:
        _use(provider)


def _use(provider: TraceProvider) -> TraceProvider:
    global _provider
    if _provider is None:
        atexit.register(_shut_down)
    _provider = provider
    return provider


def _shut_down() -> None:
    if isinstance(_provider, DefaultTraceProvider):
        _provider.shutdown(timeout=_EXIT_TIMEOUT_S)
    elif _provider is not None:
        _provider.shutdown()


def add_trace_processor(span_processor: TracingProcessor) -> None:
    """Let `span_processor` hear of every trace and span begun from now on."""
    get_trace_provider().register_processor(span_processor)


def set_trace_processors(processors: list[TracingProcessor]) -> None:
    """Let `processors`, and nobody else, hear of what begins from now on."""
    get_trace_provider().set_processors(processors)


def set_tracing_disabled(disabled: bool) -> None:
    """Switch all tracing off or on, whatever OPENAI_AGENTS_DISABLE_TRACING says."""
    get_trace_provider().set_disabled(disabled)


def flush_traces() -> None:
    """Let every processor hand over what it holds, before this returns."""
    get_trace_provider().force_flush()
