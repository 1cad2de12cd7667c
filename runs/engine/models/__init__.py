"""Models: the port, the adapters for OpenAI and compatible servers, what they share."""

from .client import close_clients, shared_client
from .interface import (
    Model,
    ModelProvider,
    ModelResponse,
    ModelTracing,
    TResponseInputItem,
    TResponseOutputItem,
    TResponseStreamEvent,
)
from .openai_chatcompletions import OpenAIChatCompletionsModel
from .openai_responses import OpenAIResponsesModel
from .provider import OpenAIProvider, default_model_name
from .stream import collect, response_from_openai

__all__ = [
    "Model",
    "ModelProvider",
    "ModelResponse",
    "ModelTracing",
    "OpenAIChatCompletionsModel",
    "OpenAIProvider",
    "OpenAIResponsesModel",
    "TResponseInputItem",
    "TResponseOutputItem",
    "TResponseStreamEvent",
    "close_clients",
    "collect",
    "default_model_name",
    "response_from_openai",
    "shared_client",
]
