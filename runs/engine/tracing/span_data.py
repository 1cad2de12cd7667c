"""What a span says of the work it stands for, by kind of work."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openai.types.responses import Response

JSONObject = dict[str, Any]


class SpanData(abc.ABC):
    """The part of a span that depends on its kind; fields may be set until it ends."""

    __slots__ = ()

    @property
    @abc.abstractmethod
    def type(self) -> str:
        """The kind of work: "agent", "function", ..."""

    @abc.abstractmethod
    def export(self) -> JSONObject:
        """Return the data as a dict, with its kind under "type"."""

    def details(self) -> JSONObject:
        """Return what is known beyond `export()`, whose keys others rely on."""
        return {}


class AgentSpanData(SpanData):
    """An agent's time in charge of a run, from its first turn to its last."""

    __slots__ = ("handoffs", "metadata", "name", "output_type", "tools")
    type = "agent"

    def __init__(
        self,
        name: str,
        handoffs: list[str] | None = None,
        tools: list[str] | None = None,
        output_type: str | None = None,
        metadata: JSONObject | None = None,
    ) -> None:
        self.name = name
        self.handoffs = handoffs
        self.tools = tools
        self.output_type = output_type
        self.metadata = metadata

    def export(self) -> JSONObject:
        return {
            "type": self.type,
            "name": self.name,
            "handoffs": self.handoffs,
            "tools": self.tools,
            "output_type": self.output_type,
        }


class TaskSpanData(SpanData):
    """One call of the runner; exported as a custom span named "task"."""

    __slots__ = ("metadata", "name", "usage")
    type = "task"

    def __init__(
        self,
        name: str,
        usage: JSONObject | None = None,
        metadata: JSONObject | None = None,
    ) -> None:
        self.name = name
        self.usage = usage
        self.metadata = metadata

    def export(self) -> JSONObject:
        return _as_custom(self.type, {"name": self.name}, self.usage)


class TurnSpanData(SpanData):
    """One turn: a model call and what it led to; exported as a custom span, "turn"."""

    __slots__ = ("agent_name", "metadata", "turn", "usage")
    type = "turn"

    def __init__(
        self,
        turn: int,
        agent_name: str,
        usage: JSONObject | None = None,
        metadata: JSONObject | None = None,
    ) -> None:
        self.turn = turn
        self.agent_name = agent_name
        self.usage = usage
        self.metadata = metadata

    def export(self) -> JSONObject:
        data: JSONObject = {"turn": self.turn, "agent_name": self.agent_name}
        return _as_custom(self.type, data, self.usage)


def _as_custom(kind: str, data: JSONObject, usage: JSONObject | None) -> JSONObject:
    data = {"sdk_span_type": kind, **data}
    if usage is not None:
        data["usage"] = usage
    return {"type": "custom", "name": kind, "data": data}


class FunctionSpanData(SpanData):
    """One call of a tool; `call_id` is the model's id of it."""

    __slots__ = ("call_id", "input", "mcp_data", "name", "output")
    type = "function"

    def __init__(
        self,
        name: str,
        input: str | None,
        output: Any | None,
        mcp_data: JSONObject | None = None,
        *,
        call_id: str | None = None,
    ) -> None:
        self.name = name
        self.input = input
        self.output = output
        self.mcp_data = mcp_data
        self.call_id = call_id

    def export(self) -> JSONObject:
        return {
            "type": self.type,
            "name": self.name,
            "input": self.input,
            "output": str(self.output) if self.output is not None else None,
            "mcp_data": self.mcp_data,
        }

    def details(self) -> JSONObject:
        return {} if self.call_id is None else {"call_id": self.call_id}


class GenerationSpanData(SpanData):
    """One call of a model that keeps nothing on its server."""

    __slots__ = ("input", "model", "model_config", "output", "usage")
    type = "generation"

    def __init__(
        self,
        input: Sequence[Mapping[str, Any]] | None = None,
        output: Sequence[Mapping[str, Any]] | None = None,
        model: str | None = None,
        model_config: Mapping[str, Any] | None = None,
        usage: JSONObject | None = None,
    ) -> None:
        self.input = input
        self.output = output
        self.model = model
        self.model_config = model_config
        self.usage = usage

    def export(self) -> JSONObject:
        return {
            "type": self.type,
            "input": self.input,
            "output": self.output,
            "model": self.model,
            "model_config": self.model_config,
            "usage": self.usage,
        }


class ResponseSpanData(SpanData):
    """One call of a model through the Responses API.

    `response` and `input` are for processors; only the id and the usage are exported.
    `model` is the name asked for, `response_id` the id where the response is left out.
    """

    __slots__ = ("input", "model", "response", "response_id", "usage")
    type = "response"

    def __init__(
        self,
        response: Response | None = None,
        input: str | Sequence[Mapping[str, Any]] | None = None,
        usage: JSONObject | None = None,
        *,
        model: str | None = None,
        response_id: str | None = None,
    ) -> None:
        self.response = response
        self.input = input
        self.usage = usage
        self.model = model
        self.response_id = response_id

    def export(self) -> JSONObject:
        known = self.response_id if self.response is None else self.response.id
        return {"type": self.type, "response_id": known, "usage": self.usage}

    def details(self) -> JSONObject:
        return {} if self.model is None else {"model": self.model}


class HandoffSpanData(SpanData):
    """One handoff; `to_agent` is None until the other agent is known."""

    __slots__ = ("from_agent", "to_agent")
    type = "handoff"

    def __init__(self, from_agent: str | None, to_agent: str | None) -> None:
        self.from_agent = from_agent
        self.to_agent = to_agent

    def export(self) -> JSONObject:
        return {
            "type": self.type,
            "from_agent": self.from_agent,
            "to_agent": self.to_agent,
        }


class CustomSpanData(SpanData):
    """Work an application names itself."""

    __slots__ = ("data", "name")
    type = "custom"

    def __init__(self, name: str, data: JSONObject) -> None:
        self.name = name
        self.data = data

    def export(self) -> JSONObject:
        return {"type": self.type, "name": self.name, "data": self.data}


class GuardrailSpanData(SpanData):
    """One check by a guardrail, and whether it stopped the run."""

    __slots__ = ("name", "triggered")
    type = "guardrail"

    def __init__(self, name: str, triggered: bool = False) -> None:
        self.name = name
        self.triggered = triggered

    def export(self) -> JSONObject:
        return {"type": self.type, "name": self.name, "triggered": self.triggered}


class TranscriptionSpanData(SpanData):
    """Speech to text; `input` is the audio, base64 in `input_format`."""

    __slots__ = ("input", "input_format", "model", "model_config", "output")
    type = "transcription"

    def __init__(
        self,
        input: str | None = None,
        input_format: str | None = "pcm",
        output: str | None = None,
        model: str | None = None,
        model_config: Mapping[str, Any] | None = None,
    ) -> None:
        self.input = input
        self.input_format = input_format
        self.output = output
        self.model = model
        self.model_config = model_config

    def export(self) -> JSONObject:
        return {
            "type": self.type,
            "input": {"data": self.input or "", "format": self.input_format},
            "output": self.output,
            "model": self.model,
            "model_config": self.model_config,
        }


class SpeechSpanData(SpanData):
    """Text to speech; `output` is the audio, base64 in `output_format`.

    `first_content_at` is an ISO 8601 time.
    """

    __slots__ = (
        "first_content_at",
        "input",
        "model",
        "model_config",
        "output",
        "output_format",
    )
    type = "speech"

    def __init__(
        self,
        input: str | None = None,
        output: str | None = None,
        output_format: str | None = "pcm",
        model: str | None = None,
        model_config: Mapping[str, Any] | None = None,
        first_content_at: str | None = None,
    ) -> None:
        self.input = input
        self.output = output
        self.output_format = output_format
        self.model = model
        self.model_config = model_config
        self.first_content_at = first_content_at

    def export(self) -> JSONObject:
        return {
            "type": self.type,
            "input": self.input,
            "output": {"data": self.output or "", "format": self.output_format},
            "model": self.model,
            "model_config": self.model_config,
            "first_content_at": self.first_content_at,
        }


class SpeechGroupSpanData(SpanData):
    """Several pieces of speech that answer one `input`."""

    __slots__ = ("input",)
    type = "speech_group"

    def __init__(self, input: str | None = None) -> None:
        self.input = input

    def export(self) -> JSONObject:
        return {"type": self.type, "input": self.input}


class MCPListToolsSpanData(SpanData):
    """Asking an MCP server for its tools; `result` is their names."""

    __slots__ = ("result", "server")
    type = "mcp_tools"

    def __init__(
        self, server: str | None = None, result: list[str] | None = None
    ) -> None:
        self.server = server
        self.result = result

    def export(self) -> JSONObject:
        return {"type": self.type, "server": self.server, "result": self.result}
