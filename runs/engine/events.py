"""What a streamed run tells as it goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from .items import RunItem

if TYPE_CHECKING:
    from .agent import Agent
    from .models.interface import TResponseStreamEvent

ItemEventName = Literal[
    "message_output_created",
    "handoff_requested",
    # Misspelt in the SDK, and so in every program that waits for it.
    "handoff_occured",
    "tool_called",
    "tool_search_called",
    "tool_search_output_created",
    "tool_output",
    "reasoning_item_created",
    "mcp_approval_requested",
    "mcp_approval_response",
    "mcp_list_tools",
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
    """An item was made.

    Calls and reasoning are told of as soon as the model has written them, everything
    else once it is stored. After a new `turn_started_stream_event` of the same turn,
    what the failed attempt told of counts no more.
    """

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


class AgentToolStreamEvent(TypedDict):
    """What `as_tool(on_stream=...)` is told of the inner run."""

    event: StreamEvent
    agent: Agent[Any]
    tool_call: Any
    """The outer call, as an object of the openai client."""
