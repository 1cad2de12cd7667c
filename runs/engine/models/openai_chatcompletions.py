"""A model behind a Chat Completions API: OpenAI, vLLM, Ollama, llama.cpp …"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Hashable
from typing import TYPE_CHECKING, Any, cast

from openai import AsyncOpenAI, AsyncStream
from openai.types.chat import ChatCompletionChunk

from ..errors import UserError
from ..model_settings import MCPToolChoice
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
from .request import ClientSource, only_set, send
from .retry_advice import ModelRetryAdvice, ModelRetryAdviceRequest, server_advice
from .stream import response_from_openai

if TYPE_CHECKING:
    from openai.types.responses.response_prompt_param import ResponsePromptParam

    from ..hosted.hosted_tools import Tool
    from ..model_settings import ModelSettings, ToolChoice

_logger = logging.getLogger(__name__)

_TOOL_CHOICES = {"auto", "required", "none"}
_OPENAI_HOST = "api.openai.com"


class OpenAIChatCompletionsModel(Model):
    """Asks `model` through `openai_client`, or the loop's own client without one.

    Calls whose id is missing, empty or already used get a fresh one, so that an id
    names one call of a run whatever the server does. A client that is given keeps its
    own retries, within each try of the run, unless the model settings say how to retry:
    make it with `max_retries=0`. What such a server keeps between calls (a response, a
    conversation, a prompt) is refused, or with `strict_feature_validation=False` left
    out with a warning. `buffer_streamed_tool_calls` tells of calls only once the stream
    is over. Truncation and `response_include` mean nothing to these servers and are
    left out.
    """

    def __init__(
        self,
        model: str,
        openai_client: AsyncOpenAI | None = None,
        should_replay_reasoning_content: None = None,
        strict_feature_validation: bool = True,
        buffer_streamed_tool_calls: bool = False,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        organization: str | None = None,
        project: str | None = None,
    ) -> None:
        if should_replay_reasoning_content is not None:
            raise UserError(
                "Reasoning is never sent back to a Chat Completions server; leave "
                "should_replay_reasoning_content out."
            )
        self.model = model
        self._is_strict = strict_feature_validation
        self._calls_at_end = buffer_streamed_tool_calls
        self._clients = ClientSource(
            openai_client, api_key, base_url, organization, project
        )

    def get_retry_advice(
        self, request: ModelRetryAdviceRequest
    ) -> ModelRetryAdvice | None:
        """Return what the server's failure means."""
        return server_advice(request)

    def rate_limit_key(self) -> Hashable:
        """Return the server's address and the model's name."""
        return self._clients.address, self.model

    async def get_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[Tool],
        output_schema: Any,
        handoffs: list[Any],
        tracing: ModelTracing,
        previous_response_id: str | None = None,
        conversation_id: str | None = None,
        prompt: ResponsePromptParam | None = None,
    ) -> ModelResponse:
        """Return the whole answer.

        Raises what the client raises, ModelCallError when the server sends no answer,
        and UserError for what such a server cannot do.
        """
        self._refuse_server_state(previous_response_id, conversation_id, prompt)
        client = self._clients.get(model_settings)
        request = self._request(
            client,
            system_instructions,
            input,
            model_settings,
            to_chat_tools(tools, handoffs),
            output_schema,
        )
        completion = await send(client.chat.completions.create, request, model_settings)
        answer = ChatAnswer(self.model, used_call_ids(input))
        answer.request_id = getattr(completion, "_request_id", None)
        return response_from_openai(
            answer.whole(completion), raw_usage=model_settings.preserve_raw_usage
        )

    async def stream_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[Tool],
        output_schema: Any,
        handoffs: list[Any],
        tracing: ModelTracing,
        previous_response_id: str | None = None,
        conversation_id: str | None = None,
        prompt: ResponsePromptParam | None = None,
    ) -> AsyncIterator[TResponseStreamEvent]:
        """Yield the answer as events of Responses; raises as `get_response` does.

        A stream that breaks off before the server named its end has no last event.
        """
        self._refuse_server_state(previous_response_id, conversation_id, prompt)
        client = self._clients.get(model_settings)
        request = self._request(
            client,
            system_instructions,
            input,
            model_settings,
            to_chat_tools(tools, handoffs),
            output_schema,
        )
        if model_settings.include_usage is not False:
            request["stream_options"] = {"include_usage": True}
        sent = await send(
            client.chat.completions.create, request, model_settings, stream=True
        )
        answer = ChatAnswer(
            self.model, used_call_ids(input), calls_at_end=self._calls_at_end
        )
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
        tools: list[dict[str, Any]],
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
            "logprobs": None if settings.top_logprobs is None else _logprobs(settings),
            "top_logprobs": settings.top_logprobs,
            "prompt_cache_retention": settings.prompt_cache_retention,
            "prompt_cache_options": settings.prompt_cache_options,
            "response_format": to_response_format(output_schema),
            **(_tool_parameters(settings, tools) if tools else {}),
        }
        return only_set(wanted)

    def _refuse_server_state(
        self, previous_response_id: str | None, conversation_id: str | None, prompt: Any
    ) -> None:
        given = only_set(
            {
                "previous_response_id": previous_response_id,
                "conversation_id": conversation_id,
                "prompt": prompt,
            }
        )
        if not given:
            return
        wrong = (
            f"A Chat Completions server knows no {', '.join(given)}: it keeps nothing "
            "between calls. Leave it out, or use OpenAIResponsesModel."
        )
        if self._is_strict:
            raise UserError(wrong)
        _logger.warning("Left out of a request to a chat server: %s", ", ".join(given))


def _logprobs(settings: ModelSettings) -> bool | None:
    # Servers want it with `top_logprobs`; who gives it in `extra_args` has said so.
    return None if "logprobs" in (settings.extra_args or {}) else True


def _tool_parameters(
    settings: ModelSettings, tools: list[dict[str, Any]]
) -> dict[str, Any]:
    # Servers refuse a tool choice without tools, so all three go together.
    return {
        "tools": tools,
        "tool_choice": _tool_choice(settings.tool_choice),
        "parallel_tool_calls": settings.parallel_tool_calls,
    }


def _tool_choice(choice: ToolChoice) -> str | dict[str, Any] | None:
    if isinstance(choice, MCPToolChoice) or choice == "programmatic_tool_calling":
        raise UserError(
            f"A Chat Completions server has no tool {choice!r} to choose; use "
            "OpenAIResponsesModel."
        )
    if choice is None or choice in _TOOL_CHOICES:
        return choice
    return {"type": "function", "function": {"name": choice}}


def _max_tokens_name(client: AsyncOpenAI) -> str:
    # OpenAI's newer models refuse the old name; many compatible servers know no other.
    ours = client.base_url.host == _OPENAI_HOST
    return "max_completion_tokens" if ours else "max_tokens"
