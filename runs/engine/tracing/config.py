"""What a caller may say about the tracing of a run."""

from __future__ import annotations

from typing import Any, Protocol, TypedDict


class TracingConfig(TypedDict, total=False):
    """How a run is traced; every key may be left out."""

    api_key: str
    """Key for exporters that need one; kept off every export and saved state."""
    include_task_and_turn_spans: bool
    """False: only agents, model calls and tools have spans. True when left out."""


class RunTracing(Protocol):
    """The part of a `RunConfig` that tracing reads."""

    workflow_name: str
    trace_id: str | None
    group_id: str | None
    trace_metadata: dict[str, Any] | None
    tracing: TracingConfig | None
    tracing_disabled: bool


def include_task_and_turn_spans(config: TracingConfig | None) -> bool:
    """Say whether a run under `config` has spans of its task and turns; None: yes."""
    return config is None or config.get("include_task_and_turn_spans", True)


_export_api_key: str | None = None


def set_tracing_export_api_key(api_key: str) -> None:
    """Keep `api_key` for exporters that ask `tracing_export_api_key()` for one.

    Nothing is sent because of it: only a processor someone registers exports.
    """
    global _export_api_key
    _export_api_key = api_key


def tracing_export_api_key() -> str | None:
    """Return the key kept for exporters; a trace's own `tracing_api_key` goes first."""
    return _export_api_key
