"""Finds OpenAI models, and those of every compatible server, by name."""

from __future__ import annotations

import os

from ..errors import UserError
from .client import find_key
from .interface import Model, ModelProvider
from .openai_chatcompletions import OpenAIChatCompletionsModel
from .openai_responses import OpenAIResponsesModel

DEFAULT_MODEL = "gpt-5-mini"


class OpenAIProvider(ModelProvider):
    """Gives models of one server.

    None means what the environment says: OPENAI_API_KEY, OPENAI_BASE_URL, and
    PLACET_OPENAI_API (`responses` or `chat`) for `use_responses`.
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

        Raises UserError when there is no key or PLACET_OPENAI_API is neither name.
        """
        find_key(self.api_key)
        name = model_name or default_model_name()
        adapter: type[OpenAIResponsesModel | OpenAIChatCompletionsModel]
        adapter = OpenAIChatCompletionsModel
        if self._asks_responses():
            adapter = OpenAIResponsesModel
        return adapter(name, api_key=self.api_key, base_url=self.base_url)

    def _asks_responses(self) -> bool:
        if self.use_responses is not None:
            return self.use_responses
        given = os.environ.get("PLACET_OPENAI_API") or "responses"
        if given not in {"responses", "chat"}:
            raise UserError(
                f"PLACET_OPENAI_API={given!r} is no way to ask a model; use "
                "'responses' (OpenAI) or 'chat' (vLLM, Ollama, llama.cpp)."
            )
        return given == "responses"


def default_model_name() -> str:
    """Return PLACET_MODEL, or `gpt-5-mini` when it is not set."""
    return os.environ.get("PLACET_MODEL") or DEFAULT_MODEL
