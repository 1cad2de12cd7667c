"""What an OpenTelemetry span says of ours: its name, its kind, its attributes.

Names follow the GenAI conventions (`gen_ai.*`, `mcp.*`); what they have no name for
begins with `placet.`. Contents of calls and answers are told only where our span holds
them, which `RunConfig.trace_include_sensitive_data` decides.
Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/ (spans, agent spans, MCP).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .otel_messages import input_messages, output_messages
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
    SpeechSpanData,
    TaskSpanData,
    TranscriptionSpanData,
    TurnSpanData,
)

Attribute = str | bool | int | float | Sequence[str]


@dataclass(frozen=True, slots=True)
class Description:
    """`attributes` may hold None, which means there is nothing to say."""

    name: str
    attributes: Mapping[str, Attribute | None]
    is_client: bool = False
    """True for a call that leaves the process."""

    def known(self) -> dict[str, Attribute]:
        return {
            key: value for key, value in self.attributes.items() if value is not None
        }


def describe(data: SpanData) -> Description:
    """Return how OpenTelemetry names the work `data` tells of."""
    for kind, described in _DESCRIBED.items():
        if isinstance(data, kind):
            return described(data)
    return Description(data.type, {})


def _task(data: TaskSpanData) -> Description:
    return Description(
        f"invoke_workflow {data.name}",
        {
            "gen_ai.operation.name": "invoke_workflow",
            "gen_ai.workflow.name": data.name,
            **_usage(data.usage),
        },
    )


def _agent(data: AgentSpanData) -> Description:
    return Description(
        f"invoke_agent {data.name}",
        {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": data.name,
            "gen_ai.output.type": _output_type(data.output_type),
            "placet.agent.tools": data.tools,
            "placet.agent.handoffs": data.handoffs,
        },
    )


def _output_type(name: str | None) -> str | None:
    if name is None:
        return None
    return "text" if name == "str" else "json"


def _turn(data: TurnSpanData) -> Description:
    return Description(
        "turn",
        {
            "gen_ai.agent.name": data.agent_name,
            "placet.turn": data.turn,
            **_usage(data.usage),
        },
    )


def _function(data: FunctionSpanData) -> Description:
    server = data.mcp_data.get("server") if data.mcp_data else None
    return Description(
        f"execute_tool {data.name}",
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": data.name,
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": data.call_id,
            "gen_ai.tool.call.arguments": data.input,
            "gen_ai.tool.call.result": _text(data.output),
            "placet.mcp.server": _text(server),
        },
    )


def _generation(data: GenerationSpanData) -> Description:
    return Description(
        f"chat {data.model}" if data.model else "chat",
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": data.model,
            **_request(data.model_config or {}),
            **_usage(data.usage),
            "gen_ai.input.messages": _json(input_messages(data.input)),
            "gen_ai.output.messages": _json(output_messages(data.output)),
        },
        is_client=True,
    )


def _response(data: ResponseSpanData) -> Description:
    response = data.response
    model = data.model or getattr(response, "model", None)
    details = getattr(response, "incomplete_details", None)
    output = output_messages(
        getattr(response, "output", None), getattr(details, "reason", None)
    )
    return Description(
        f"chat {model}" if model else "chat",
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": data.model,
            "gen_ai.response.model": getattr(response, "model", None),
            "gen_ai.response.id": getattr(response, "id", data.response_id),
            "gen_ai.response.finish_reasons": [each["finish_reason"] for each in output]
            or None,
            **_usage(data.usage),
            "gen_ai.input.messages": _json(input_messages(data.input)),
            "gen_ai.output.messages": _json(output),
        },
        is_client=True,
    )


def _handoff(data: HandoffSpanData) -> Description:
    return Description(
        f"handoff {data.to_agent}" if data.to_agent else "handoff",
        {
            "placet.handoff.from_agent": data.from_agent,
            "placet.handoff.to_agent": data.to_agent,
        },
    )


def _guardrail(data: GuardrailSpanData) -> Description:
    return Description(
        f"guardrail {data.name}",
        {
            "placet.guardrail.name": data.name,
            "placet.guardrail.triggered": data.triggered,
        },
    )


def _mcp_tools(data: MCPListToolsSpanData) -> Description:
    return Description(
        "tools/list",
        {
            "mcp.method.name": "tools/list",
            "placet.mcp.server": data.server,
            "placet.mcp.tools": data.result,
        },
        is_client=True,
    )


def _speech(data: SpeechSpanData) -> Description:
    return Description(
        f"speech {data.model}" if data.model else "speech",
        {
            "gen_ai.operation.name": "speech",
            "gen_ai.output.type": "speech",
            "gen_ai.request.model": data.model,
            "gen_ai.input.messages": _json(input_messages(data.input)),
        },
        is_client=True,
    )


def _transcription(data: TranscriptionSpanData) -> Description:
    output = [{"role": "assistant", "content": data.output}] if data.output else None
    return Description(
        f"transcription {data.model}" if data.model else "transcription",
        {
            "gen_ai.operation.name": "transcription",
            "gen_ai.output.type": "text",
            "gen_ai.request.model": data.model,
            "gen_ai.output.messages": _json(output_messages(output)),
        },
        is_client=True,
    )


def _custom(data: CustomSpanData) -> Description:
    return Description(data.name, {"placet.custom.data": _json(data.data)})


def _request(settings: Mapping[str, Any]) -> dict[str, Attribute | None]:
    asked = (
        "temperature",
        "top_p",
        "max_tokens",
        "frequency_penalty",
        "presence_penalty",
    )
    return {f"gen_ai.request.{key}": settings.get(key) for key in asked}


def _usage(usage: Mapping[str, Any] | None) -> dict[str, Attribute | None]:
    """Return the tokens of a model call, or of a turn or a task, which sum them up."""
    if not usage:
        return {}
    read = usage.get("input_tokens_details") or {}
    written = usage.get("output_tokens_details") or {}
    return {
        "gen_ai.usage.input_tokens": usage.get("input_tokens"),
        "gen_ai.usage.output_tokens": usage.get("output_tokens"),
        "gen_ai.usage.cache_read.input_tokens": read.get(
            "cached_tokens", usage.get("cached_input_tokens")
        ),
        "gen_ai.usage.cache_creation.input_tokens": read.get(
            "cache_write_tokens", usage.get("cache_write_input_tokens")
        ),
        "gen_ai.usage.reasoning.output_tokens": written.get("reasoning_tokens"),
    }


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(value)


def _json(value: object) -> str | None:
    return json.dumps(value, default=str, ensure_ascii=False) if value else None


_DESCRIBED: dict[type[SpanData], Callable[[Any], Description]] = {
    TaskSpanData: _task,
    AgentSpanData: _agent,
    TurnSpanData: _turn,
    FunctionSpanData: _function,
    GenerationSpanData: _generation,
    ResponseSpanData: _response,
    HandoffSpanData: _handoff,
    GuardrailSpanData: _guardrail,
    MCPListToolsSpanData: _mcp_tools,
    SpeechSpanData: _speech,
    TranscriptionSpanData: _transcription,
    CustomSpanData: _custom,
}
