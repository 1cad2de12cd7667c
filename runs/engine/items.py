"""What a run is made of: messages, calls, outputs, in the order they happened.

An item holds its data once, as the plain JSON that models are sent and states are
written as; `raw_item` gives the typed form of it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias
from uuid import uuid4

from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputItem,
    ResponseOutputMessage,
    ResponseReasoningItem,
)
from pydantic import BaseModel, TypeAdapter, ValidationError

from .calls import Call, OutcomeKind
from .digest import JSONObject
from .errors import UserError
from .tools.tool_origin import FROM_PROGRAM, ToolOrigin

if TYPE_CHECKING:
    from .agent import Agent
    from .tools.tool import FunctionTool, LookupKey

Typed: TypeAlias = type[BaseModel] | None
"""The openai client's form of an item, where it has one."""


class RunItem:
    """One thing that happened in a run."""

    __slots__ = ("agent", "call_key", "raw")

    type: ClassVar[str] = "run_item"
    kind: ClassVar[str] = ""
    """Its name in a log or a state."""
    typed: ClassVar[Typed] = None

    def __init__(
        self, agent: Agent[Any], raw_item: JSONObject | BaseModel, *, call_key: str = ""
    ) -> None:
        """Make an item of `agent`'s turn; `raw_item` is what a model's server writes.

        `call_key` names the tool call it is about, if any.
        """
        self.agent = agent
        self.raw = plain_item(raw_item)
        self.call_key = call_key

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.raw!r})"

    @property
    def raw_item(self) -> Any:
        """The item as an object of the openai client, or a dict where it has none."""
        return typed_item(self.raw, self.typed)

    def to_input_item(self) -> JSONObject:
        """Return the item as a model reads it in a later turn."""
        return self.raw

    def to_entry(self) -> JSONObject:
        """Return the item as a log or a state holds it."""
        return {"type": self.kind, "agent": self.agent.name, "raw": self.raw}

    def release_agent(self) -> None:
        """Nothing to do: an item keeps its agent for as long as it is kept."""


def name_called(raw: JSONObject) -> str:
    """Return the qualified name of the tool that a function call is of."""
    name, namespace = str(raw.get("name") or ""), raw.get("namespace")
    # A tool that was found by searching is alone in a namespace of its own name.
    return f"{namespace}.{name}" if namespace and namespace != name else name


def plain_item(given: JSONObject | BaseModel) -> JSONObject:
    """Return an item of the openai client, or a dict, as plain JSON."""
    if isinstance(given, BaseModel):
        return given.model_dump(mode="json", exclude_unset=True, warnings=False)
    return given


def typed_item(raw: JSONObject, typed: Typed = None) -> Any:
    """Return `raw` as an object of the openai client, or itself where it is none."""
    if raw.get("type") == "function_call":  # sparing the choice among all of them
        typed = ResponseFunctionToolCall
    try:
        if typed is not None:
            return typed.model_validate(raw)
        return _output_item().validate_python(raw)
    except ValidationError:
        return raw


@functools.cache
def _output_item() -> TypeAdapter[Any]:
    return TypeAdapter(ResponseOutputItem)


class InputItem(RunItem):
    """What a person or a system said to the agent."""

    __slots__ = ("_input_id",)
    type = "input_item"
    kind = "input"

    def __init__(
        self,
        agent: Agent[Any],
        raw_item: JSONObject | BaseModel,
        *,
        input_id: str = "",
        call_key: str = "",
    ) -> None:
        super().__init__(agent, raw_item, call_key=call_key)
        self._input_id = input_id

    @property
    def input_id(self) -> str:
        """Tells it from an input of the same words; made when it is first asked for."""
        self._input_id = self._input_id or uuid4().hex
        return self._input_id

    def to_entry(self) -> JSONObject:
        entry = super().to_entry()
        return entry | {"input_id": self._input_id} if self._input_id else entry

    @property
    def raw_item(self) -> JSONObject:
        return self.raw


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
    """A call the model asked for, or one that its server made."""

    __slots__ = ("tool",)
    type = "tool_call_item"
    kind = "tool_call"

    def __init__(
        self, agent: Agent[Any], raw_item: JSONObject | BaseModel, *, call_key: str = ""
    ) -> None:
        super().__init__(agent, raw_item, call_key=call_key)
        self.tool: FunctionTool | None = None
        """What is called, where an MCP server offered it in this process."""

    @property
    def description(self) -> str | None:
        """The function tool's; None for other tools, and for one that is gone."""
        tool = self._function_tool()
        return tool.description if tool else None

    @property
    def title(self) -> str | None:
        """What an MCP server calls the tool before people."""
        tool = self._function_tool()
        return tool.title if tool else None

    @property
    def tool_origin(self) -> ToolOrigin | None:
        """Where the function tool comes from."""
        tool = self._function_tool()
        return tool.origin or FROM_PROGRAM if tool else None

    def _function_tool(self) -> FunctionTool | None:
        if self.raw.get("type") != "function_call":
            return None
        return self.tool or self.agent.function_tool_named(name_called(self.raw))

    @property
    def tool_name(self) -> str | None:
        """The function's name, or the kind of the hosted tool."""
        name = self.raw.get("name") or self.raw.get("type")
        return str(name) if name else None

    @property
    def call_id(self) -> str | None:
        found = self.raw.get("call_id") or self.raw.get("id")
        return str(found) if found else None


class HandoffCallItem(RunItem):
    """The model's wish that another agent takes over."""

    __slots__ = ()
    type = "handoff_call_item"
    kind = "handoff_call"
    typed: ClassVar[Typed] = ResponseFunctionToolCall

    @property
    def tool_name(self) -> str:
        return str(self.raw.get("name") or "")


class CompactionItem(RunItem):
    """What a server made of a longer history."""

    __slots__ = ()
    type = "compaction_item"
    kind = "compaction"


class MCPApprovalRequestItem(RunItem):
    """The model's server asks whether it may call a tool of an MCP server."""

    __slots__ = ()
    type = "mcp_approval_request_item"
    kind = "mcp_approval_request"


class MCPApprovalResponseItem(RunItem):
    """The answer to such a request."""

    __slots__ = ()
    type = "mcp_approval_response_item"
    kind = "mcp_approval_response"

    @property
    def raw_item(self) -> JSONObject:
        return self.raw


class MCPListToolsItem(RunItem):
    """The tools an MCP server told the model's server of."""

    __slots__ = ()
    type = "mcp_list_tools_item"
    kind = "mcp_list_tools"


class ToolSearchCallItem(RunItem):
    """The model looked for tools."""

    __slots__ = ()
    type = "tool_search_call_item"
    kind = "tool_search_call"


class ToolSearchOutputItem(RunItem):
    """The tools it found."""

    __slots__ = ()
    type = "tool_search_output_item"
    kind = "tool_search_output"


class OtherItem(RunItem):
    """An item of a kind this engine passes on as it is."""

    __slots__ = ()
    type = "other_item"
    kind = "other"


class ToolCallOutputItem(RunItem):
    """What came of a call."""

    __slots__ = ("asked", "custom_data", "outcome", "output")
    type = "tool_call_output_item"
    kind = "tool_output"

    def __init__(
        self,
        agent: Agent[Any],
        raw_item: JSONObject | BaseModel,
        output: Any = None,
        *,
        call_key: str = "",
        outcome: OutcomeKind = OutcomeKind.SUCCEEDED,
        custom_data: JSONObject | None = None,
        asked: RunItem | None = None,
    ) -> None:
        """As RunItem; `output` is what the tool returned, or what the model reads.

        After loading it is always the latter. `custom_data` no model sees. `asked` is
        the item of the call.
        """
        super().__init__(agent, raw_item, call_key=call_key)
        self.output = output
        self.outcome = outcome
        self.custom_data = custom_data
        self.asked = asked

    @property
    def tool_origin(self) -> ToolOrigin | None:
        """Where the function tool that was called comes from."""
        return self.asked.tool_origin if isinstance(self.asked, ToolCallItem) else None

    @property
    def raw_item(self) -> JSONObject:
        return self.raw

    @property
    def call_id(self) -> str:
        return str(self.raw.get("call_id") or "")

    def to_entry(self) -> JSONObject:
        entry = super().to_entry()
        if self.outcome is not OutcomeKind.SUCCEEDED:
            entry["outcome"] = str(self.outcome)
        if self.custom_data:
            entry["custom_data"] = self.custom_data
        return entry


class HandoffOutputItem(RunItem):
    """Another agent has taken over."""

    __slots__ = ("source_agent", "target_agent")
    type = "handoff_output_item"
    kind = "handoff_output"

    def __init__(
        self,
        agent: Agent[Any],
        raw_item: JSONObject | BaseModel,
        source_agent: Agent[Any],
        target_agent: Agent[Any],
        *,
        call_key: str = "",
    ) -> None:
        super().__init__(agent, raw_item, call_key=call_key)
        self.source_agent = source_agent
        self.target_agent = target_agent

    @property
    def raw_item(self) -> JSONObject:
        return self.raw

    def to_entry(self) -> JSONObject:
        return super().to_entry() | {"target": self.target_agent.name}


class ToolApprovalItem(RunItem):
    """A call that waits for a person. Hand it to `RunState.approve` or `reject`.

    It is made from the state when asked for, never stored, and no model sees it.
    """

    __slots__ = ("call", "path", "tool_origin")
    type = "tool_approval_item"
    kind = "approval"

    def __init__(
        self,
        agent: Agent[Any],
        raw_item: JSONObject | BaseModel,
        *,
        call: Call,
        path: tuple[str, ...] = (),
        tool_origin: ToolOrigin | None = None,
    ) -> None:
        super().__init__(agent, raw_item, call_key=call.key)
        self.tool_origin = tool_origin
        self.call = call
        self.path = path or (agent.name, call.tool)
        """Agents and tools by turns, from the root agent to the tool that waits."""

    @property
    def name(self) -> str:
        return str(self.raw.get("name") or self.call.tool)

    @property
    def tool_name(self) -> str:
        return self.name

    @property
    def tool_namespace(self) -> str | None:
        return self.raw.get("namespace")

    @property
    def tool_lookup_key(self) -> LookupKey | None:
        """What tells the function tool from every other one of the agent."""
        if self.raw.get("type") != "function_call":
            return None
        if self.tool_namespace is None:
            return ("bare", self.name)
        if self.tool_namespace == self.name:
            return ("deferred_top_level", self.name)
        return ("namespaced", self.tool_namespace, self.name)

    @property
    def qualified_name(self) -> str:
        """The tool's name behind its namespace, where it has one."""
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


ITEM_KINDS: dict[str, type[RunItem]] = {
    kind.kind: kind
    for kind in (
        InputItem,
        MessageOutputItem,
        ReasoningItem,
        ToolCallItem,
        ToolCallOutputItem,
        HandoffCallItem,
        HandoffOutputItem,
        CompactionItem,
        MCPApprovalRequestItem,
        MCPApprovalResponseItem,
        MCPListToolsItem,
        ToolSearchCallItem,
        ToolSearchOutputItem,
        OtherItem,
    )
}
"""Each class by its name in a log or a state."""


def model_text(raw: JSONObject) -> str:
    """Return the text of a message, without refusals."""
    return "".join(part.get("text") or "" for part in parts_of(raw))


def refusal_of(raw: JSONObject) -> str:
    """Return what a message refuses with; empty when it does not."""
    return "".join(part.get("refusal") or "" for part in parts_of(raw))


def parts_of(raw: JSONObject) -> list[JSONObject]:
    content = raw.get("content")
    if isinstance(content, str):
        return [{"text": content}]
    return [part for part in content or [] if isinstance(part, dict)]


def message_raw(text: str) -> JSONObject:
    """Return a message of an agent that no model wrote."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {
        "id": "__fake_id__",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }


def input_items(given: str | Sequence[JSONObject]) -> list[JSONObject]:
    """Return a run's input as items; a text becomes one user message.

    Raises UserError for an item that is neither a dict nor the openai client's.
    """
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    items = [plain_item(item) for item in given]
    for item in items:
        if not isinstance(item, Mapping):
            raise UserError(
                f"An input item is a dict or an object of the openai client, not "
                f"{item!r:.80}."
            )
    return items
