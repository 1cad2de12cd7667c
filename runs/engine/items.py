"""What a run is made of: messages, calls, outputs, in the order they happened.

An item holds its data once, as the plain JSON that models are sent and states are
written as; `raw_item` gives the typed form of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseReasoningItem,
)
from pydantic import BaseModel

from .calls import Call, OutcomeKind
from .digest import JSONObject

if TYPE_CHECKING:
    from .agent import Agent

Typed: TypeAlias = type[BaseModel] | None
"""The openai client's form of an item, where it has one."""


@dataclass(eq=False, slots=True, kw_only=True)
class RunItem:
    """One thing that happened in a run."""

    type: ClassVar[str] = "run_item"
    kind: ClassVar[str] = ""
    """Its name in a log or a state."""
    typed: ClassVar[Typed] = None

    agent: Agent[Any]
    """Whose turn it belongs to."""
    raw: JSONObject
    """The item as a model's server writes it."""
    call_key: str = ""
    """The tool call it is about, if any."""

    @property
    def raw_item(self) -> Any:
        """The item as an object of the openai client, or a dict where it has none."""
        if self.typed is None:
            return self.raw
        return self.typed.model_validate(self.raw)

    def to_input_item(self) -> JSONObject:
        """Return the item as a model reads it in a later turn."""
        return self.raw

    def to_entry(self) -> JSONObject:
        """Return the item as a log or a state holds it."""
        return {"type": self.kind, "agent": self.agent.name, "raw": self.raw}


class InputItem(RunItem):
    """What a person or a system said to the agent."""

    __slots__ = ()
    type = "input_item"
    kind = "input"


class MessageOutputItem(RunItem):
    """What the agent said."""

    __slots__ = ()
    type = "message_output_item"
    kind = "message"
    typed: ClassVar[Typed] = ResponseOutputMessage


class ReasoningItem(RunItem):
    """What the model thought."""

    __slots__ = ()
    type = "reasoning_item"
    kind = "reasoning"
    typed: ClassVar[Typed] = ResponseReasoningItem


class ToolCallItem(RunItem):
    """A call the model asked for."""

    __slots__ = ()
    type = "tool_call_item"
    kind = "tool_call"
    typed: ClassVar[Typed] = ResponseFunctionToolCall


class OtherItem(RunItem):
    """An item of a kind this engine passes on as it is."""

    __slots__ = ()
    type = "other_item"
    kind = "other"


@dataclass(eq=False, slots=True, kw_only=True)
class ToolCallOutputItem(RunItem):
    """What came of a call."""

    type: ClassVar[str] = "tool_call_output_item"
    kind: ClassVar[str] = "tool_output"

    outcome: OutcomeKind
    output: Any = field(default=None)
    """What the tool returned; after loading, the text the model was told."""

    def to_entry(self) -> JSONObject:
        return {
            "type": self.kind,
            "agent": self.agent.name,
            "raw": self.raw,
            "outcome": str(self.outcome),
        }


@dataclass(eq=False, slots=True, kw_only=True)
class ToolApprovalItem(RunItem):
    """A call that waits for a person. Hand it to `RunState.approve` or `reject`.

    It is made from the state when asked for, never stored, and no model sees it.
    """

    type: ClassVar[str] = "tool_approval_item"
    kind: ClassVar[str] = "approval"
    typed: ClassVar[Typed] = ResponseFunctionToolCall

    call: Call

    @property
    def name(self) -> str:
        return self.call.tool

    @property
    def tool_name(self) -> str:
        return self.call.tool

    @property
    def qualified_name(self) -> str:
        return self.call.tool

    @property
    def arguments(self) -> str:
        """The text the model wrote."""
        return self.call.arguments

    @property
    def tool_arguments(self) -> str:
        """Another name for `arguments`."""
        return self.call.arguments

    @property
    def call_id(self) -> str:
        return self.call.call_id


def model_text(raw: JSONObject) -> str:
    """Return the text of a message, refusals included."""
    return "".join(
        part.get("text") or part.get("refusal") or ""
        for part in raw.get("content") or []
        if isinstance(part, dict)
    )


def input_items(given: str | Sequence[JSONObject]) -> list[JSONObject]:
    """Return a run's input as items; a text becomes one user message."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    return list(given)


class ItemHelpers:
    """Readers of items."""

    @staticmethod
    def input_to_new_input_list(given: str | Sequence[JSONObject]) -> list[JSONObject]:
        return input_items(given)

    @staticmethod
    def text_message_output(message: MessageOutputItem) -> str:
        return model_text(message.raw)

    @staticmethod
    def text_message_outputs(items: Sequence[RunItem]) -> str:
        """Return the texts of all messages among `items`, joined."""
        return "".join(
            model_text(item.raw)
            for item in items
            if isinstance(item, MessageOutputItem)
        )
