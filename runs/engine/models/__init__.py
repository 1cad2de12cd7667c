"""Models: the port, the adapters for OpenAI and compatible servers, what they share."""

from .client import close_clients, shared_client
from .defaults import (
    set_default_openai_api,
    set_default_openai_client,
    set_default_openai_key,
    set_default_openai_responses_transport,
    share_keys_with_tracing,
)
from .interface import (
    Model,
    ModelProvider,
    ModelResponse,
    ModelTracing,
    TResponseInputItem,
    TResponseOutputItem,
    TResponseStreamEvent,
)
from .multi_provider import MultiProvider, MultiProviderMap
from .openai_chatcompletions import OpenAIChatCompletionsModel
from .openai_responses import OpenAIResponsesModel
from .provider import OpenAIProvider, default_model_name
from .stream import collect, response_from_openai

__all__ = [
    "Model",
    "ModelProvider",
    "ModelResponse",
    "ModelTracing",
    "MultiProvider",
    "MultiProviderMap",
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
    "set_default_openai_api",
    "set_default_openai_client",
    "set_default_openai_key",
    "set_default_openai_responses_transport",
    "share_keys_with_tracing",
    "shared_client",
]
