"""Finds OpenAI models, and those of every compatible server, by name."""

from __future__ import annotations

import os

from ..errors import UserError
from .client import find_key
from .either import EitherModel
from .interface import Model, ModelProvider
from .openai_chatcompletions import OpenAIChatCompletionsModel
from .openai_responses import OpenAIResponsesModel

DEFAULT_MODEL = "gpt-5-mini"


class OpenAIProvider(ModelProvider):
    """Gives models of one server.

    None means what the environment says: OPENAI_API_KEY, OPENAI_BASE_URL, and
    PLACET_OPENAI_API for `use_responses`: `responses`, `chat`, or `auto`, which asks
    for responses and takes chat completions where the server has nothing else.
    """

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        use_responses: bool | None = None,
    ) -> None:
        self.api_key = api_key
        self.base_url = base_url
        self.use_responses = use_responses

    def get_model(self, model_name: str | None) -> Model:
        """Return the model of that name; None or "" means `default_model_name()`.

        Raises UserError when there is no key or PLACET_OPENAI_API is no way to ask.
        """
        find_key(self.api_key)
        name = model_name or default_model_name()
        way = self._way()
        responses = OpenAIResponsesModel(
            name, api_key=self.api_key, base_url=self.base_url
        )
        chat = OpenAIChatCompletionsModel(
            name, api_key=self.api_key, base_url=self.base_url
        )
        if way == "auto":
            server = self.base_url or os.environ.get("OPENAI_BASE_URL") or ""
            return EitherModel(responses, chat, server=server)
        return responses if way == "responses" else chat

    def _way(self) -> str:
        if self.use_responses is not None:
            return "responses" if self.use_responses else "chat"
        given = os.environ.get("PLACET_OPENAI_API") or "auto"
        if given not in {"auto", "responses", "chat"}:
            raise UserError(
                f"PLACET_OPENAI_API={given!r} is no way to ask a model; use 'auto', "
                "'responses' (OpenAI) or 'chat' (vLLM, Ollama, llama.cpp)."
            )
        return given


def default_model_name() -> str:
    """Return PLACET_MODEL, or `gpt-5-mini` when it is not set."""
    return os.environ.get("PLACET_MODEL") or DEFAULT_MODEL
