"""The functions that make traces and spans.

Each returns one that has not begun: use it as a context manager, or call `start` and
`finish`. A span goes under `parent`, or under the current span, or right under the
current trace. Outside every trace, and with `disabled`, nobody hears of it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .config import TracingConfig
from .setup import get_trace_provider
from .span_data import (
    AgentSpanData,
    CustomSpanData,
    FunctionSpanData,
    GenerationSpanData,
    GuardrailSpanData,
    HandoffSpanData,
    MCPListToolsSpanData,
    ResponseSpanData,
    SpeechGroupSpanData,
    SpeechSpanData,
    TaskSpanData,
    TranscriptionSpanData,
    TurnSpanData,
)
from .spans import Span
from .traces import Trace

if TYPE_CHECKING:
    from openai.types.responses import Response

logger = logging.getLogger(__name__)
Parent = Trace | Span[Any] | None


def trace(
    workflow_name: str,
    trace_id: str | None = None,
    group_id: str | None = None,
    metadata: dict[str, Any] | None = None,
    tracing: TracingConfig | None = None,
    disabled: bool = False,
) -> Trace:
    """Return a trace; runs begun inside it become part of it.

    `trace_id` is made up when left out; `group_id` links the traces of a conversation.
    """
    provider = get_trace_provider()
    if provider.get_current_trace() is not None:
        logger.warning("A trace is begun inside another; their spans stay apart.")
    return provider.create_trace(
        name=workflow_name,
        trace_id=trace_id,
        group_id=group_id,
        metadata=metadata,
        tracing=tracing,
        disabled=disabled,
    )


def get_current_trace() -> Trace | None:
    """Return the trace that the calling code runs in; None outside any."""
    return get_trace_provider().get_current_trace()


def get_current_span() -> Span[Any] | None:
    """Return the span that the calling code runs in; None outside any."""
    return get_trace_provider().get_current_span()


def gen_trace_id() -> str:
    """Return a new trace id: "trace_" and 32 hexadecimal digits."""
    return get_trace_provider().gen_trace_id()


def gen_span_id() -> str:
    """Return a new span id: "span_" and 24 hexadecimal digits."""
    return get_trace_provider().gen_span_id()


def gen_group_id() -> str:
    """Return a new group id: "group_" and 24 hexadecimal digits."""
    return get_trace_provider().gen_group_id()


def agent_span(
    name: str,
    handoffs: list[str] | None = None,
    tools: list[str] | None = None,
    output_type: str | None = None,
    span_id: str | None = None,
    parent: Parent = None,
    disabled: bool = False,
) -> Span[AgentSpanData]:
    """Return a span for an agent's time in charge of a run."""
    data = AgentSpanData(name, handoffs, tools, output_type)
    return get_trace_provider().create_span(data, span_id, parent, disabled)


def task_span(
    name: str,
    span_id: str | None = None,
    parent: Parent = None,
    disabled: bool = False,
) -> Span[TaskSpanData]:
    """Return a span for one call of the runner; `name` is the workflow's."""
    return get_trace_provider().create_span(
        TaskSpanData(name), span_id, parent, disabled
    )


def turn_span(
    turn: int,
    agent_name: str,
    span_id: str | None = None,
    parent: Parent = None,
    disabled: bool = False,
) -> Span[TurnSpanData]:
    """Return a span for one turn of an agent; turns count from 1 over a run."""
    data = TurnSpanData(turn, agent_name)
    return get_trace_provider().create_span(data, span_id, parent, disabled)


def function_span(
    name: str,
    input: str | None = None,
    output: str | None = None,
    span_id: str | None = None,
    parent: Parent = None,
    disabled: bool = False,
) -> Span[FunctionSpanData]:
    """Return a span for one call of a tool."""
    data = FunctionSpanData(name, input, output)
    return get_trace_provider().create_span(data, span_id, parent, disabled)


def generation_span(
    input: Sequence[Mapping[str, Any]] | None = None,
    output: Sequence[Mapping[str, Any]] | None = None,
    model: str | None = None,
    model_config: Mapping[str, Any] | None = None,
    usage: dict[str, Any] | None = None,
    span_id: str | None = None,
    parent: Parent = None,
    disabled: bool = False,
) -> Span[GenerationSpanData]:
    """Return a span for one call of a model, told in messages."""
    data = GenerationSpanData(input, output, model, model_config, usage)
    return get_trace_provider().create_span(data, span_id, parent, disabled)


def response_span(
    response: Response | None = None,
    span_id: str | None = None,
    parent: Parent = None,
    disabled: bool = False,
) -> Span[ResponseSpanData]:
    """Return a span for one call of a model through the Responses API."""
    return get_trace_provider().create_span(
        ResponseSpanData(response), span_id, parent, disabled
    )


def handoff_span(
    from_agent: str | None = None,
    to_agent: str | None = None,
    span_id: str | None = None,
    parent: Parent = None,
    disabled: bool = False,
) -> Span[HandoffSpanData]:
    """Return a span for one handoff."""
    data = HandoffSpanData(from_agent, to_agent)
    return get_trace_provider().create_span(data, span_id, parent, disabled)


def custom_span(
    name: str,
    data: dict[str, Any] | None = None,
    span_id: str | None = None,
    parent: Parent = None,
    disabled: bool = False,
) -> Span[CustomSpanData]:
    """Return a span for work of the application's own."""
    return get_trace_provider().create_span(
        CustomSpanData(name, data or {}), span_id, parent, disabled
    )


def guardrail_span(
    name: str,
    triggered: bool = False,
    span_id: str | None = None,
    parent: Parent = None,
    disabled: bool = False,
) -> Span[GuardrailSpanData]:
    """Return a span for one check by a guardrail."""
    data = GuardrailSpanData(name, triggered)
    return get_trace_provider().create_span(data, span_id, parent, disabled)


def transcription_span(
    model: str | None = None,
    input: str | None = None,
    input_format: str | None = "pcm",
    output: str | None = None,
    model_config: Mapping[str, Any] | None = None,
    span_id: str | None = None,
    parent: Parent = None,
    disabled: bool = False,
) -> Span[TranscriptionSpanData]:
    """Return a span for speech turned into text."""
    data = TranscriptionSpanData(input, input_format, output, model, model_config)
    return get_trace_provider().create_span(data, span_id, parent, disabled)


def speech_span(
    model: str | None = None,
    input: str | None = None,
    output: str | None = None,
    output_format: str | None = "pcm",
    model_config: Mapping[str, Any] | None = None,
    first_content_at: str | None = None,
    span_id: str | None = None,
    parent: Parent = None,
    disabled: bool = False,
) -> Span[SpeechSpanData]:
    """Return a span for text turned into speech."""
    data = SpeechSpanData(
        input, output, output_format, model, model_config, first_content_at
    )
    return get_trace_provider().create_span(data, span_id, parent, disabled)


def speech_group_span(
    input: str | None = None,
    span_id: str | None = None,
    parent: Parent = None,
    disabled: bool = False,
) -> Span[SpeechGroupSpanData]:
    """Return a span around several pieces of speech."""
    return get_trace_provider().create_span(
        SpeechGroupSpanData(input), span_id, parent, disabled
    )


def mcp_tools_span(
    server: str | None = None,
    result: list[str] | None = None,
    span_id: str | None = None,
    parent: Parent = None,
    disabled: bool = False,
) -> Span[MCPListToolsSpanData]:
    """Return a span for asking an MCP server for its tools."""
    data = MCPListToolsSpanData(server, result)
    return get_trace_provider().create_span(data, span_id, parent, disabled)
