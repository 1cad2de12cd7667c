"""A model behind OpenAI's Responses API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable
from typing import TYPE_CHECKING, Any, cast

from openai import AsyncOpenAI, AsyncStream
from openai.types.responses import (
    ResponseCompletedEvent,
    ResponseIncompleteEvent,
    ResponseStreamEvent,
)

from .chat_convert import PROVIDER_DATA
from .chat_items import REASONING_PREFIX
from .interface import (
    Model,
    ModelResponse,
    ModelTracing,
    TResponseInputItem,
    TResponseStreamEvent,
)
from .offered_tools import chosen_tool, offer
from .request import ClientSource, only_set, plain, send
from .retry_advice import ModelRetryAdvice, ModelRetryAdviceRequest, server_advice
from .stream import response_from_openai

if TYPE_CHECKING:
    from openai.types.responses.response_prompt_param import ResponsePromptParam

    from ..hosted.hosted_tools import Tool
    from ..model_settings import ModelSettings

_LAST_EVENTS = (ResponseCompletedEvent, ResponseIncompleteEvent)
_LOGPROBS = "message.output_text.logprobs"


class OpenAIResponsesModel(Model):
    """Asks `model` through `openai_client`, or the loop's own client without one.

    A client that is given keeps its own retries, within each try of the run, unless the
    model settings say how to retry: make it with `max_retries=0`. A `model` that is not
    explicit is left out of a request that names a prompt, which has its own. The API
    knows no frequency or presence penalty: both settings are left out.
    """

    def __init__(
        self,
        model: str,
        openai_client: AsyncOpenAI | None = None,
        *,
        model_is_explicit: bool = True,
        api_key: str | None = None,
        base_url: str | None = None,
        organization: str | None = None,
        project: str | None = None,
    ) -> None:
        self.model = model
        self._is_explicit = model_is_explicit
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

        Raises what the client raises, ModelCallError for an answer that failed on the
        server, and UserError for settings that do not fit together.
        """
        request = self._request(
            system_instructions,
            input,
            model_settings,
            tools,
            output_schema,
            handoffs,
            _kept_by_server(previous_response_id, conversation_id, prompt),
        )
        client = self._clients.get(model_settings)
        answer = await send(client.responses.create, request, model_settings)
        return response_from_openai(answer, raw_usage=model_settings.preserve_raw_usage)

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
        """Yield the server's events as they come; raises as `get_response` does."""
        request = self._request(
            system_instructions,
            input,
            model_settings,
            tools,
            output_schema,
            handoffs,
            _kept_by_server(previous_response_id, conversation_id, prompt),
        )
        client = self._clients.get(model_settings)
        answer = await send(
            client.responses.create, request, model_settings, stream=True
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
        tools: list[Tool],
        output_schema: Any,
        handoffs: list[Any],
        kept_by_server: dict[str, Any],
    ) -> dict[str, Any]:
        has_prompt = "prompt" in kept_by_server
        offered = offer(tools, handoffs, has_prompt=has_prompt)
        choice = chosen_tool(settings.tool_choice, tools, handoffs)
        if has_prompt and not offered.tools and isinstance(choice, dict):
            choice = None  # it names a tool that only a list of tools could hold
        parallel = settings.parallel_tool_calls
        return only_set(
            {
                "model": self.model if self._is_explicit or not has_prompt else None,
                "input": _input_items(input),
                "instructions": system_instructions,
                "tools": offered.tools or None,
                "tool_choice": choice,
                "parallel_tool_calls": (
                    parallel if offered.tools or has_prompt else None
                ),
                "temperature": settings.temperature,
                "top_p": settings.top_p,
                "truncation": settings.truncation,
                "max_output_tokens": settings.max_tokens,
                "reasoning": plain(settings.reasoning),
                "text": _text_config(settings, output_schema),
                "metadata": settings.metadata,
                "store": settings.store,
                "include": _include(settings, offered.include),
                "top_logprobs": settings.top_logprobs,
                "prompt_cache_retention": settings.prompt_cache_retention,
                "prompt_cache_options": settings.prompt_cache_options,
                "context_management": settings.context_management,
                **kept_by_server,
            }
        )


def _kept_by_server(
    previous_response_id: str | None, conversation_id: str | None, prompt: Any
) -> dict[str, Any]:
    return only_set(
        {
            "previous_response_id": previous_response_id,
            "conversation": conversation_id,
            "prompt": prompt,
        }
    )


def _input_items(given: str | list[TResponseInputItem]) -> list[Any]:
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    items = [plain(item) for item in given]
    # Reasoning that the chat adapter made has an id this server never gave.
    return [_known(item) for item in items if not _is_chat_reasoning(item)]


def _known(item: Any) -> Any:
    """Return the item without what only another server understands."""
    if not isinstance(item, dict) or PROVIDER_DATA not in item:
        return item
    return {name: value for name, value in item.items() if name != PROVIDER_DATA}


def _is_chat_reasoning(item: Any) -> bool:
    if not isinstance(item, dict) or item.get("type") != "reasoning":
        return False
    return str(item.get("id")).startswith(REASONING_PREFIX)


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


def _include(settings: ModelSettings, wished: list[str]) -> list[str] | None:
    include = [*wished, *(settings.response_include or [])]
    if settings.top_logprobs is not None:
        include.append(_LOGPROBS)
    return list(dict.fromkeys(include)) or None
