"""A trace: all the work of one run, or of several that belong together."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from contextvars import Token
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .processor_interface import TracingProcessor, tell
from .scope import current_span, current_trace, leave
from .spans import NO_OP_ID

if TYPE_CHECKING:
    from .spans import Span

DEFAULT_WORKFLOW_NAME = "Agent workflow"


class Trace(abc.ABC):
    """All the work of one run, or of several that belong together.

    Use it as a context manager, which makes it the current trace, or call `start` and
    `finish`.
    """

    __slots__ = ()

    group_id: str | None = None
    """Links the traces of one conversation."""
    metadata: dict[str, Any] | None = None
    """What the application attached to the trace."""

    @property
    @abc.abstractmethod
    def trace_id(self) -> str:
        """The trace's id: "trace_" and 32 hexadecimal digits, if we made it."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The name of the workflow."""

    @property
    @abc.abstractmethod
    def tracing_api_key(self) -> str | None:
        """The exporter's key for this trace, where one was given."""

    @abc.abstractmethod
    def start(self, mark_as_current: bool = False) -> None:
        """Begin the trace; `mark_as_current` puts spans begun next under it."""

    @abc.abstractmethod
    def finish(self, reset_current: bool = False) -> None:
        """End the trace; `reset_current` makes the trace before it current again."""

    @abc.abstractmethod
    def export(self) -> dict[str, Any] | None:
        """Return the trace as a dict; None for one that is switched off."""

    def to_json(
        self, *, include_tracing_api_key: bool = False
    ) -> dict[str, Any] | None:
        """Return the trace as plain JSON; None for one that is switched off.

        The exporter's key is a secret: it comes only with `include_tracing_api_key`.
        """
        exported = self.export()
        if exported is None:
            return None
        if include_tracing_api_key and self.tracing_api_key:
            return exported | {"tracing_api_key": self.tracing_api_key}
        return dict(exported)

    def state(self) -> TraceState | None:
        """Return what a saved run keeps to go on in this trace; None if it is off."""
        return TraceState.from_json(self.to_json(include_tracing_api_key=True))

    def __enter__(self) -> Trace:
        self.start(mark_as_current=True)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.finish(reset_current=True)


class _ScopedTrace(Trace):
    """Holds its place in the context; what it tells others is up to its kind."""

    __slots__ = ("_ended", "_started", "_tokens")

    def __init__(self) -> None:
        self._started = False
        self._ended = False
        self._tokens: tuple[Token[Trace | None], Token[Span[Any] | None]] | None = None

    def _on_start(self) -> None:
        return None

    def _on_end(self) -> None:
        return None

    def start(self, mark_as_current: bool = False) -> None:
        if not self._started:
            self._started = True
            self._on_start()
        if mark_as_current and self._tokens is None:
            # A span of the trace around would be the parent across two traces.
            self._tokens = (current_trace.set(self), current_span.set(None))

    def finish(self, reset_current: bool = False) -> None:
        if self._started and not self._ended:
            self._ended = True
            self._on_end()
        if reset_current and self._tokens is not None:
            (trace, span), self._tokens = self._tokens, None
            leave(current_span, span)
            leave(current_trace, trace)


class NoOpTrace(_ScopedTrace):
    """A trace that is switched off, and with it every span inside."""

    __slots__ = ()

    @property
    def trace_id(self) -> str:
        return NO_OP_ID

    @property
    def name(self) -> str:
        return NO_OP_ID

    @property
    def tracing_api_key(self) -> str | None:
        return None

    def export(self) -> dict[str, Any] | None:
        return None


class ReattachedTrace(_ScopedTrace):
    """A trace that began before, perhaps in another process: only its spans are new."""

    __slots__ = ("_name", "_trace_id", "_tracing_api_key", "group_id", "metadata")

    def __init__(
        self,
        *,
        name: str,
        trace_id: str,
        group_id: str | None = None,
        metadata: dict[str, Any] | None = None,
        tracing_api_key: str | None = None,
    ) -> None:
        super().__init__()
        self._name = name
        self._trace_id = trace_id
        self._tracing_api_key = tracing_api_key
        self.group_id = group_id
        self.metadata = metadata

    @property
    def trace_id(self) -> str:
        return self._trace_id

    @property
    def name(self) -> str:
        return self._name

    @property
    def tracing_api_key(self) -> str | None:
        return self._tracing_api_key

    def export(self) -> dict[str, Any] | None:
        return {
            "object": "trace",
            "id": self._trace_id,
            "workflow_name": self._name,
            "group_id": self.group_id,
            "metadata": self.metadata,
        }


class TraceImpl(ReattachedTrace):
    """A trace whose beginning and end `heard_by` hear of."""

    __slots__ = ("heard_by",)

    def __init__(
        self,
        *,
        name: str,
        trace_id: str,
        group_id: str | None,
        metadata: dict[str, Any] | None,
        tracing_api_key: str | None,
        heard_by: tuple[TracingProcessor, ...],
    ) -> None:
        super().__init__(
            name=name,
            trace_id=trace_id,
            group_id=group_id,
            metadata=metadata,
            tracing_api_key=tracing_api_key,
        )
        self.heard_by = heard_by

    def _on_start(self) -> None:
        tell(self.heard_by, "on_trace_start", self)

    def _on_end(self) -> None:
        tell(self.heard_by, "on_trace_end", self)


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceState:
    """What a saved run keeps of its trace, to go on in it later."""

    trace_id: str
    workflow_name: str = DEFAULT_WORKFLOW_NAME
    group_id: str | None = None
    metadata: dict[str, Any] | None = None
    tracing_api_key: str | None = field(default=None, repr=False)

    @classmethod
    def from_json(cls, payload: Mapping[str, Any] | None) -> TraceState | None:
        """Read what `to_json` gave; None when no trace can be made out.

        The payload may come from anywhere: unknown keys and values of a wrong type
        count as absent.
        """
        if not isinstance(payload, Mapping):
            return None
        trace_id = _text(payload.get("id"))
        if trace_id is None or trace_id == NO_OP_ID:
            return None
        metadata = payload.get("metadata")
        return cls(
            trace_id=trace_id,
            workflow_name=_text(payload.get("workflow_name")) or DEFAULT_WORKFLOW_NAME,
            group_id=_text(payload.get("group_id")),
            metadata=dict(metadata) if isinstance(metadata, Mapping) else None,
            tracing_api_key=_text(payload.get("tracing_api_key")),
        )

    def to_json(self, *, include_tracing_api_key: bool = False) -> dict[str, Any]:
        """Return plain JSON without what is None, and the key only when asked."""
        found: dict[str, Any] = {
            "object": "trace",
            "id": self.trace_id,
            "workflow_name": self.workflow_name,
        }
        if self.group_id is not None:
            found["group_id"] = self.group_id
        if self.metadata is not None:
            found["metadata"] = dict(self.metadata)
        if include_tracing_api_key and self.tracing_api_key is not None:
            found["tracing_api_key"] = self.tracing_api_key
        return found


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
