"""The Model port: ask a model once, whole or as a stream."""

from __future__ import annotations

import abc
import enum
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openai.types.responses import ResponseOutputItem, ResponseStreamEvent

from ..digest import JSONObject
from ..usage import Usage

if TYPE_CHECKING:
    from ..config import ModelSettings
    from ..tools import FunctionTool

# Plain JSON: what the run stores is what the model is sent.
TResponseInputItem = JSONObject
TResponseOutputItem = ResponseOutputItem
TResponseStreamEvent = ResponseStreamEvent


class ModelTracing(enum.Enum):
    """How much of a model call goes into its trace."""

    DISABLED = 0
    ENABLED = 1
    ENABLED_WITHOUT_DATA = 2


@dataclass
class ModelResponse:
    """One whole answer of a model."""

    output: list[TResponseOutputItem]
    """Messages, calls and reasoning, in the order the model gave them."""
    usage: Usage
    response_id: str | None
    """The server's id of this answer; None from servers that keep none."""
    request_id: str | None = None
    raw_usage: Any = None

    def to_input_items(self) -> list[dict[str, Any]]:
        """Return the output as items of a later input."""
        return [item.model_dump(exclude_unset=True) for item in self.output]


class Model(abc.ABC):
    """Something that answers a list of input items. Subclass it for other servers."""

    @abc.abstractmethod
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
        tools: list[FunctionTool],
        output_schema: Any,
        handoffs: list[Any],
        tracing: ModelTracing,
        *,
        previous_response_id: str | None,
        conversation_id: str | None,
        prompt: Any,
    ) -> AsyncIterator[TResponseStreamEvent]:
        """Yield the events of the model's answer; the last holds the whole response.

        A stream that ends without a terminal event has failed: the run asks again.
        """


class ModelProvider(abc.ABC):
    """Finds a model by its name."""

    @abc.abstractmethod
    def get_model(self, model_name: str | None) -> Model:
        """Return the model called `model_name`, or the default one for None."""
