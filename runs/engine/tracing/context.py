"""The trace around a run: a new one, the one it is in, or the one it goes on in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .config import RunTracing, TracingConfig
from .create import get_current_trace, trace
from .traces import DEFAULT_WORKFLOW_NAME, NoOpTrace, ReattachedTrace, Trace, TraceState


def resume_trace(
    trace_state: TraceState, *, tracing_api_key: str | None = None
) -> Trace:
    """Return the trace a saved run was in, to go on in it.

    Its beginning and its end are not told again, in whichever process this is; spans
    begun inside carry its id. `tracing_api_key` goes before the state's.
    """
    return ReattachedTrace(
        name=trace_state.workflow_name,
        trace_id=trace_state.trace_id,
        group_id=trace_state.group_id,
        metadata=trace_state.metadata,
        tracing_api_key=tracing_api_key or trace_state.tracing_api_key,
    )


class TraceCtxManager:
    """Puts a run into a trace: the current one, or one of its own when there is none.

    With `disabled`, nobody hears of anything inside, even within a trace. A
    `trace_state` of the same `trace_id`, with `reattach_resumed_trace`, is gone on in
    instead of begun again. `trace` is the run's own trace; None in another's.
    """

    def __init__(
        self,
        workflow_name: str,
        trace_id: str | None,
        group_id: str | None,
        metadata: dict[str, Any] | None,
        tracing: TracingConfig | None,
        disabled: bool,
        trace_state: TraceState | None = None,
        reattach_resumed_trace: bool = False,
    ) -> None:
        self.trace: Trace | None = None
        self.workflow_name = workflow_name
        self.trace_id = trace_id
        self.group_id = group_id
        self.metadata = metadata
        self.tracing = tracing
        self.disabled = disabled
        self.trace_state = trace_state
        self.reattach_resumed_trace = reattach_resumed_trace

    def __enter__(self) -> TraceCtxManager:
        self.trace = self._own_trace()
        if self.trace is not None:
            self.trace.start(mark_as_current=True)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.trace is not None:
            self.trace.finish(reset_current=True)

    def _own_trace(self) -> Trace | None:
        if self.disabled:
            return NoOpTrace()
        if get_current_trace() is not None:
            return None
        if (resumed := self._resumed_state()) is not None:
            key = self.tracing.get("api_key") if self.tracing else None
            return resume_trace(resumed, tracing_api_key=key)
        return trace(
            workflow_name=self.workflow_name,
            trace_id=self.trace_id,
            group_id=self.group_id,
            metadata=self.metadata,
            tracing=self.tracing,
        )

    def _resumed_state(self) -> TraceState | None:
        state = self.trace_state
        if not self.reattach_resumed_trace or state is None:
            return None
        if state.trace_id != self.trace_id:
            return None
        return replace(
            state,
            workflow_name=self.workflow_name,
            group_id=self.group_id,
            metadata=self.metadata,
        )


def run_trace(
    config: RunTracing, trace_state: TraceState | None = None
) -> TraceCtxManager:
    """Return the trace around a run under `config`.

    `trace_state` is what the saved run kept: what `config` leaves open is taken from
    it, and a `trace_id` of its own in `config` begins another trace.
    """
    name, trace_id = config.workflow_name, config.trace_id
    group_id, metadata = config.group_id, config.trace_metadata
    if trace_state is not None:
        name = trace_state.workflow_name if name == DEFAULT_WORKFLOW_NAME else name
        trace_id = trace_id or trace_state.trace_id
        group_id = group_id or trace_state.group_id
        metadata = trace_state.metadata if metadata is None else metadata
    return TraceCtxManager(
        workflow_name=name,
        trace_id=trace_id,
        group_id=group_id,
        metadata=metadata,
        tracing=config.tracing,
        disabled=config.tracing_disabled,
        trace_state=trace_state,
        reattach_resumed_trace=trace_state is not None,
    )
