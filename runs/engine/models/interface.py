"""The Model port: ask a model once, whole or as a stream."""

from __future__ import annotations

import abc
import enum
from collections.abc import AsyncIterator, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openai.types.responses import ResponseOutputItem, ResponseStreamEvent

from ..digest import JSONObject
from ..usage import Usage

if TYPE_CHECKING:
    from openai.types.responses.response_prompt_param import ResponsePromptParam

    from ..hosted.hosted_tools import Tool
    from ..model_settings import ModelSettings
    from .retry_advice import ModelRetryAdvice, ModelRetryAdviceRequest

# Plain JSON: what the run stores is what the model is sent.
TResponseInputItem = JSONObject
TResponseOutputItem = ResponseOutputItem
TResponseStreamEvent = ResponseStreamEvent


class ModelTracing(enum.Enum):
    """How much of a model call goes into its trace."""

    DISABLED = 0
    ENABLED = 1
    ENABLED_WITHOUT_DATA = 2

    def is_disabled(self) -> bool:
        return self is ModelTracing.DISABLED

    def include_data(self) -> bool:
        """Say whether what was asked and answered goes in too."""
        return self is ModelTracing.ENABLED


@dataclass
class ModelResponse:
    """One whole answer of a model."""

    output: list[TResponseOutputItem]
    """Messages, calls and reasoning, in the order the model gave them."""
    usage: Usage
    response_id: str | None
    """The server's id of this answer; None from servers that keep none."""
    request_id: str | None = None
    raw_usage: dict[str, Any] | None = None
    """The usage as the server sent it, with `ModelSettings.preserve_raw_usage`."""

    def to_input_items(self) -> list[dict[str, Any]]:
        """Return the output as items of a later input."""
        return [item.model_dump(exclude_unset=True) for item in self.output]


class Model(abc.ABC):
    """Something that answers a list of input items. Subclass it for other servers.

    Each call of a tool needs an id that nothing else in the run has.
    """

    async def close(self) -> None:
        """Let go of what the model holds open; nothing by default."""
        return None

    def get_retry_advice(
        self, request: ModelRetryAdviceRequest
    ) -> ModelRetryAdvice | None:
        """Return what this model knows about its failure; None when nothing."""
        return None

    def rate_limit_key(self) -> Hashable | None:
        """Return what is equal for all models whose requests one server counts as one.

        Their runs then wait together when it says so. None: nothing is shared.
        """
        return None

    @abc.abstractmethod
    async def get_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[Tool],
        output_schema: Any,
        handoffs: list[Any],
        tracing: ModelTracing,
        *,
        previous_response_id: str | None,
        conversation_id: str | None,
        prompt: ResponsePromptParam | None,
    ) -> ModelResponse:
        """Return the model's whole answer.

        Raises `openai.APIError` and its kin for what the server or the network got
        wrong; the run decides whether to ask again.
        """

    @abc.abstractmethod
    def stream_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[Tool],
        output_schema: Any,
        handoffs: list[Any],
        tracing: ModelTracing,
        *,
        previous_response_id: str | None,
        conversation_id: str | None,
        prompt: ResponsePromptParam | None,
    ) -> AsyncIterator[TResponseStreamEvent]:
        """Yield the events of the model's answer; the last holds the whole response.

        A stream that ends without a terminal event has failed: the run asks again.
        """


class ModelProvider(abc.ABC):
    """Finds a model by its name."""

    @abc.abstractmethod
    def get_model(self, model_name: str | None) -> Model:
        """Return the model called `model_name`, or the default one for None."""

    async def aclose(self) -> None:
        """Let go of what the provider holds open; nothing by default."""
        return None
