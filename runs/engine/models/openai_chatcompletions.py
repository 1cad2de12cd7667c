"""A model behind a Chat Completions API: OpenAI, vLLM, Ollama, llama.cpp …"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, cast

from openai import AsyncOpenAI, AsyncStream
from openai.types.chat import ChatCompletionChunk

from ..errors import UserError
from .chat_convert import (
    to_chat_messages,
    to_chat_tools,
    to_response_format,
    used_call_ids,
)
from .chat_stream import ChatAnswer
from .interface import (
    Model,
    ModelResponse,
    ModelTracing,
    TResponseInputItem,
    TResponseStreamEvent,
)
from .request import ClientSource, only_set, refuse_handoffs, send
from .stream import response_from_openai

if TYPE_CHECKING:
    from ..config import ModelSettings
    from ..tools import FunctionTool

_TOOL_CHOICES = {"auto", "required", "none"}
_OPENAI_HOST = "api.openai.com"


class OpenAIChatCompletionsModel(Model):
    """Asks `model` through `openai_client`, or the loop's own client without one.

    Calls whose id is missing, empty or already used get a fresh one, so that an id
    names one call of a run whatever the server does. A client that is given keeps its
    own retries, within each try of the run: make it with `max_retries=0`. Truncation
    and `response_include` mean nothing to these servers and are left out.
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

        Raises what the client raises, ModelCallError when the server sends no answer,
        and UserError for what such a server cannot do.
        """
        refuse_handoffs(handoffs)
        _refuse_server_state(previous_response_id, conversation_id, prompt)
        client = self._clients.get()
        request = self._request(
            client, system_instructions, input, model_settings, tools, output_schema
        )
        completion = await send(client.chat.completions.create, request, model_settings)
        answer = ChatAnswer(self.model, used_call_ids(input))
        answer.request_id = getattr(completion, "_request_id", None)
        return response_from_openai(answer.whole(completion))

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
        """Yield the answer as events of Responses; raises as `get_response` does.

        A stream that breaks off before the server named its end has no last event.
        """
        refuse_handoffs(handoffs)
        _refuse_server_state(previous_response_id, conversation_id, prompt)
        client = self._clients.get()
        request = self._request(
            client, system_instructions, input, model_settings, tools, output_schema
        )
        if model_settings.include_usage is not False:
            request["stream_options"] = {"include_usage": True}
        sent = await send(
            client.chat.completions.create, request, model_settings, stream=True
        )
        answer = ChatAnswer(self.model, used_call_ids(input))
        async with cast("AsyncStream[ChatCompletionChunk]", sent) as chunks:
            answer.request_id = chunks.response.headers.get("x-request-id")
            async for chunk in chunks:
                for event in answer.feed(chunk):
                    yield event
        for event in answer.finish():
            yield event

    def _request(
        self,
        client: AsyncOpenAI,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        settings: ModelSettings,
        tools: list[FunctionTool],
        output_schema: Any,
    ) -> dict[str, Any]:
        reasoning = settings.reasoning
        wanted = {
            "model": self.model,
            "messages": to_chat_messages(input, system_instructions),
            _max_tokens_name(client): settings.max_tokens,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "frequency_penalty": settings.frequency_penalty,
            "presence_penalty": settings.presence_penalty,
            "reasoning_effort": reasoning.effort if reasoning else None,
            "verbosity": settings.verbosity,
            "metadata": settings.metadata,
            "store": settings.store,
            "logprobs": True if settings.top_logprobs is not None else None,
            "top_logprobs": settings.top_logprobs,
            "response_format": to_response_format(output_schema),
            **(_tool_parameters(settings, tools) if tools else {}),
        }
        return only_set(wanted)


def _tool_parameters(
    settings: ModelSettings, tools: list[FunctionTool]
) -> dict[str, Any]:
    # Servers refuse a tool choice without tools, so all three go together.
    return {
        "tools": to_chat_tools(tools),
        "tool_choice": _tool_choice(settings.tool_choice),
        "parallel_tool_calls": settings.parallel_tool_calls,
    }


def _tool_choice(choice: str | None) -> str | dict[str, Any] | None:
    if choice is None or choice in _TOOL_CHOICES:
        return choice
    return {"type": "function", "function": {"name": choice}}


def _max_tokens_name(client: AsyncOpenAI) -> str:
    # OpenAI's newer models refuse the old name; many compatible servers know no other.
    ours = client.base_url.host == _OPENAI_HOST
    return "max_completion_tokens" if ours else "max_tokens"


def _refuse_server_state(
    previous_response_id: str | None, conversation_id: str | None, prompt: Any
) -> None:
    given = only_set(
        {
            "previous_response_id": previous_response_id,
            "conversation_id": conversation_id,
            "prompt": prompt,
        }
    )
    if given:
        raise UserError(
            f"A Chat Completions server knows no {', '.join(given)}: it keeps nothing "
            "between calls. Leave it out, or use OpenAIResponsesModel."
        )
