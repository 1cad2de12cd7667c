"""A model behind OpenAI's Responses API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, cast

from openai import AsyncOpenAI, AsyncStream
from openai.types.responses import (
    ResponseCompletedEvent,
    ResponseIncompleteEvent,
    ResponseStreamEvent,
)

from .chat_items import REASONING_PREFIX
from .interface import (
    Model,
    ModelResponse,
    ModelTracing,
    TResponseInputItem,
    TResponseStreamEvent,
)
from .request import ClientSource, only_set, plain, refuse_handoffs, send
from .stream import response_from_openai

if TYPE_CHECKING:
    from ..config import ModelSettings
    from ..tools import FunctionTool

_TOOL_CHOICES = {"auto", "required", "none"}
_LAST_EVENTS = (ResponseCompletedEvent, ResponseIncompleteEvent)
_LOGPROBS = "message.output_text.logprobs"


class OpenAIResponsesModel(Model):
    """Asks `model` through `openai_client`, or the loop's own client without one.

    A client that is given keeps its own retries, within each try of the run: make it
    with `max_retries=0`. The API knows no frequency or presence penalty: both settings
    are left out.
    """

    def __init__(
        self,
        model: str,
        openai_client: AsyncOpenAI | None = None,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
    ) -> None:
        self.model = model
        self._clients = ClientSource(openai_client, api_key, base_url)

    async def get_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[FunctionTool],
        output_schema: Any,
        handoffs: list[Any],
        tracing: ModelTracing,
        *,
        previous_response_id: str | None,
        conversation_id: str | None,
        prompt: Any,
    ) -> ModelResponse:
        """Return the whole answer.

        Raises what the client raises, ModelCallError for an answer that failed on the
        server, and UserError for settings that do not fit together.
        """
        refuse_handoffs(handoffs)
        request = self._request(
            system_instructions, input, model_settings, tools, output_schema
        )
        request |= _server_state(previous_response_id, conversation_id, prompt)
        answer = await send(
            self._clients.get().responses.create, request, model_settings
        )
        return response_from_openai(answer)

    async def stream_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[FunctionTool],
        output_schema: Any,
        handoffs: list[Any],
        tracing: ModelTracing,
        *,
        previous_response_id: str | None,
        conversation_id: str | None,
        prompt: Any,
    ) -> AsyncIterator[TResponseStreamEvent]:
        """Yield the server's events as they come; raises as `get_response` does."""
        refuse_handoffs(handoffs)
        request = self._request(
            system_instructions, input, model_settings, tools, output_schema
        )
        request |= _server_state(previous_response_id, conversation_id, prompt)
        answer = await send(
            self._clients.get().responses.create, request, model_settings, stream=True
        )
        async with cast("AsyncStream[ResponseStreamEvent]", answer) as events:
            request_id = events.response.headers.get("x-request-id")
            async for event in events:
                if isinstance(event, _LAST_EVENTS):
                    event.response._request_id = request_id
                yield event

    def _request(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        settings: ModelSettings,
        tools: list[FunctionTool],
        output_schema: Any,
    ) -> dict[str, Any]:
        return {
            "model": self.model,
            "input": _input_items(input),
            **only_set(
                {
                    "instructions": system_instructions,
                    "tools": [_tool(tool) for tool in tools] or None,
                    "tool_choice": _tool_choice(settings.tool_choice),
                    "parallel_tool_calls": settings.parallel_tool_calls,
                    "temperature": settings.temperature,
                    "top_p": settings.top_p,
                    "truncation": settings.truncation,
                    "max_output_tokens": settings.max_tokens,
                    "reasoning": plain(settings.reasoning),
                    "text": _text_config(settings, output_schema),
                    "metadata": settings.metadata,
                    "store": settings.store,
                    "include": _include(settings),
                    "top_logprobs": settings.top_logprobs,
                }
            ),
        }


def _server_state(
    previous_response_id: str | None, conversation_id: str | None, prompt: Any
) -> dict[str, Any]:
    return only_set(
        {
            "previous_response_id": previous_response_id,
            "conversation": conversation_id,
            "prompt": plain(prompt),
        }
    )


def _input_items(given: str | list[TResponseInputItem]) -> list[Any]:
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    items = [plain(item) for item in given]
    # Reasoning that the chat adapter made has an id this server never gave.
    return [item for item in items if not _is_chat_reasoning(item)]


def _is_chat_reasoning(item: Any) -> bool:
    if not isinstance(item, dict) or item.get("type") != "reasoning":
        return False
    return str(item.get("id")).startswith(REASONING_PREFIX)


def _tool(tool: FunctionTool) -> dict[str, Any]:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.params_json_schema,
        "strict": tool.strict_json_schema,
    }


def _tool_choice(choice: str | None) -> str | dict[str, str] | None:
    if choice is None or choice in _TOOL_CHOICES:
        return choice
    return {"type": "function", "name": choice}


def _text_config(settings: ModelSettings, schema: Any) -> dict[str, Any] | None:
    config = only_set({"verbosity": settings.verbosity})
    if schema is not None and not schema.is_plain_text():
        config["format"] = {
            "type": "json_schema",
            "name": "final_output",
            "schema": schema.json_schema(),
            "strict": schema.is_strict_json_schema(),
        }
    return config or None


def _include(settings: ModelSettings) -> list[str] | None:
    include = list(settings.response_include or [])
    if settings.top_logprobs is not None and _LOGPROBS not in include:
        include.append(_LOGPROBS)
    return include or None
