"""Traces and spans of runs, and those who listen to them.

Nothing here sends anything over a network, and no processor is registered to begin
with: Placet keeps its traces itself, with a `SpanRecorder` for each run. Register a
processor of your own to send them elsewhere, such as `otel.OpenTelemetryProcessor`.
While nobody listens a span costs about a microsecond.

A trace holds task > agent > turn > model call, tool call, handoff, guardrail. What a
processor raises is logged and never reaches the run. OPENAI_AGENTS_DISABLE_TRACING=1
switches everything off, as does `set_tracing_disabled(True)`.
"""

from .config import (
    TracingConfig,
    include_task_and_turn_spans,
    set_tracing_export_api_key,
    tracing_export_api_key,
)
from .context import TraceCtxManager, resume_trace, run_trace
from .create import (
    agent_span,
    custom_span,
    function_span,
    gen_group_id,
    gen_span_id,
    gen_trace_id,
    generation_span,
    get_current_span,
    get_current_trace,
    guardrail_span,
    handoff_span,
    mcp_tools_span,
    response_span,
    speech_group_span,
    speech_span,
    task_span,
    trace,
    transcription_span,
    turn_span,
)
from .processor_interface import TracingExporter, TracingProcessor
from .processors import BatchTraceProcessor, ConsoleSpanExporter
from .provider import DefaultTraceProvider, TraceProvider
from .recorder import SpanRecorder
from .scope import recording
from .setup import (
    add_trace_processor,
    flush_traces,
    get_trace_provider,
    set_trace_processors,
    set_trace_provider,
    set_tracing_disabled,
)
from .span_data import (
    AgentSpanData,
    CustomSpanData,
    FunctionSpanData,
    GenerationSpanData,
    GuardrailSpanData,
    HandoffSpanData,
    MCPListToolsSpanData,
    ResponseSpanData,
    SpanData,
    SpeechGroupSpanData,
    SpeechSpanData,
    TaskSpanData,
    TranscriptionSpanData,
    TurnSpanData,
)
from .span_values import (
    model_usage,
    set_current_error,
    span_error,
    task_usage,
    turn_usage,
)
from .spans import NoOpSpan, Span, SpanError
from .traces import NoOpTrace, ReattachedTrace, Trace, TraceState

__all__ = [
    "AgentSpanData",
    "BatchTraceProcessor",
    "ConsoleSpanExporter",
    "CustomSpanData",
    "DefaultTraceProvider",
    "FunctionSpanData",
    "GenerationSpanData",
    "GuardrailSpanData",
    "HandoffSpanData",
    "MCPListToolsSpanData",
    "NoOpSpan",
    "NoOpTrace",
    "ReattachedTrace",
    "ResponseSpanData",
    "Span",
    "SpanData",
    "SpanError",
    "SpanRecorder",
    "SpeechGroupSpanData",
    "SpeechSpanData",
    "TaskSpanData",
    "Trace",
    "TraceCtxManager",
    "TraceProvider",
    "TraceState",
    "TracingConfig",
    "TracingExporter",
    "TracingProcessor",
    "TranscriptionSpanData",
    "TurnSpanData",
    "add_trace_processor",
    "agent_span",
    "custom_span",
    "flush_traces",
    "function_span",
    "gen_group_id",
    "gen_span_id",
    "gen_trace_id",
    "generation_span",
    "get_current_span",
    "get_current_trace",
    "get_trace_provider",
    "guardrail_span",
    "handoff_span",
    "include_task_and_turn_spans",
    "mcp_tools_span",
    "model_usage",
    "recording",
    "response_span",
    "resume_trace",
    "run_trace",
    "set_current_error",
    "set_trace_processors",
    "set_trace_provider",
    "set_tracing_disabled",
    "set_tracing_export_api_key",
    "span_error",
    "speech_group_span",
    "speech_span",
    "task_span",
    "task_usage",
    "trace",
    "tracing_export_api_key",
    "transcription_span",
    "turn_span",
    "turn_usage",
]
