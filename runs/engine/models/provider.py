"""Finds OpenAI models, and those of every compatible server, by name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .client import find_base_url, find_key
from .defaults import (
    default_client,
    default_way,
    set_default_openai_responses_transport,
)
from .either import EitherModel
from .interface import Model, ModelProvider
from .openai_chatcompletions import OpenAIChatCompletionsModel
from .openai_responses import OpenAIResponsesModel

if TYPE_CHECKING:
    from openai import AsyncOpenAI

DEFAULT_MODEL = "gpt-5-mini"


class OpenAIProvider(ModelProvider):
    """Gives models of one server.

    None means what `set_default_openai_key`, `…_client` and `…_api` set, then what the
    environment says: OPENAI_API_KEY, OPENAI_BASE_URL, and PLACET_OPENAI_API for
    `use_responses`: `responses`, `chat`, or `auto`, which asks for responses and takes
    chat completions where the server has nothing else. Answers come over HTTP: a wish
    for websockets changes nothing but a line in the log. The last two options are
    those of `OpenAIChatCompletionsModel`. Raises UserError for a client together with
    what makes one.
    """

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        *,
        openai_client: AsyncOpenAI | None = None,
        organization: str | None = None,
        project: str | None = None,
        use_responses: bool | None = None,
        use_responses_websocket: bool | None = None,
        strict_feature_validation: bool = True,
        buffer_streamed_tool_calls: bool = False,
    ) -> None:
        if openai_client and any((api_key, base_url, organization, project)):
            raise UserError(
                "Give OpenAIProvider either an openai_client or what makes one: "
                "api_key, base_url, organization, project."
            )
        if use_responses_websocket:
            set_default_openai_responses_transport("websocket")
        self.api_key = api_key
        self.base_url = base_url
        self.use_responses = use_responses
        self._client = openai_client
        self._source: dict[str, Any] = {
            "api_key": api_key,
            "base_url": base_url,
            "organization": organization,
            "project": project,
        }
        self._chat_options: dict[str, Any] = {
            "strict_feature_validation": strict_feature_validation,
            "buffer_streamed_tool_calls": buffer_streamed_tool_calls,
        }

    def get_model(self, model_name: str | None) -> Model:
        """Return the model of that name; None or "" means `default_model_name()`.

        Raises UserError when there is no key or PLACET_OPENAI_API is no way to ask.
        """
        client = self._client
        if client is None and not any(self._source.values()):
            client = default_client()
        if client is None:
            find_key(self.api_key)
        name, way = model_name or default_model_name(), self._way()
        responses = OpenAIResponsesModel(
            name, client, model_is_explicit=bool(model_name), **self._source
        )
        chat = OpenAIChatCompletionsModel(
            name, client, **self._source, **self._chat_options
        )
        if way == "auto":
            address = str(client.base_url) if client else find_base_url(self.base_url)
            return EitherModel(responses, chat, server=address or "")
        return responses if way == "responses" else chat

    def _way(self) -> str:
        if self.use_responses is not None:
            return "responses" if self.use_responses else "chat"
        given = default_way() or os.environ.get("PLACET_OPENAI_API") or "auto"
        if given not in {"auto", "responses", "chat"}:
            raise UserError(
                f"PLACET_OPENAI_API={given!r} is no way to ask a model; use 'auto', "
                "'responses' (OpenAI) or 'chat' (vLLM, Ollama, llama.cpp)."
            )
        return given


def default_model_name() -> str:
    """Return PLACET_MODEL, else OPENAI_DEFAULT_MODEL, else `gpt-5-mini`."""
    environment = os.environ
    named = environment.get("PLACET_MODEL") or environment.get("OPENAI_DEFAULT_MODEL")
    return named or DEFAULT_MODEL
