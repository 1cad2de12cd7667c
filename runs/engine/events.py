"""What a streamed run tells as it goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .items import RunItem

if TYPE_CHECKING:
    from .agent import Agent
    from .models.interface import TResponseStreamEvent

ItemEventName = Literal[
    "message_output_created",
    "tool_called",
    "tool_output",
    "reasoning_item_created",
    "approval_requested",
    "approval_resolved",
    "input_added",
    "other_item_created",
]


@dataclass(frozen=True, slots=True)
class RawResponsesStreamEvent:
    """An event of the model's own stream."""

    data: TResponseStreamEvent
    type: Literal["raw_response_event"] = "raw_response_event"


@dataclass(frozen=True, slots=True)
class RunItemStreamEvent:
    """An item was made; it is stored already."""

    name: ItemEventName
    item: RunItem
    type: Literal["run_item_stream_event"] = "run_item_stream_event"


@dataclass(frozen=True, slots=True)
class AgentUpdatedStreamEvent:
    """Another agent goes on from here."""

    new_agent: Agent[Any]
    type: Literal["agent_updated_stream_event"] = "agent_updated_stream_event"


@dataclass(frozen=True, slots=True)
class TurnStartedStreamEvent:
    """The model is about to be asked; what an earlier attempt streamed is withdrawn."""

    turn: int
    """From 1."""
    attempt: int
    """From 1."""
    type: Literal["turn_started_stream_event"] = "turn_started_stream_event"


StreamEvent = (
    RawResponsesStreamEvent
    | RunItemStreamEvent
    | AgentUpdatedStreamEvent
    | TurnStartedStreamEvent
)
