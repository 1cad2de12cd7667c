"""Who answers: instructions, tools, handoffs and a model."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypedDict, get_origin

from .callbacks import called, takes
from .calls import Review
from .config import RunConfig, made_of
from .context import RunContextWrapper, TContext
from .digest import schema_hash
from .errors import UserError
from .guardrails import InputGuardrail, OutputGuardrail
from .handoffs.handoff import Handoff, as_handoff
from .lifecycle import AgentHooksBase, RunHooksBase
from .mcp import MCPUtil
from .model_settings import ModelSettings
from .models.interface import Model
from .output import AgentOutputSchemaBase
from .prompts import DynamicPromptFunction, Prompt, prompt_payload
from .state.agent_map import AgentMap
from .tools.agent_tool import AgentTool, InputBuilder, OutputExtractor, agent_as_tool
from .tools.tool import (
    FunctionTool,
    IsEnabled,
    NeedsApproval,
    ToolErrorFunction,
    default_tool_error_function,
    tools_by_name,
)
from .tools.tool_use import ToolUseBehavior

if TYPE_CHECKING:
    from .events import AgentToolStreamEvent
    from .hosted.hosted_tools import Tool
    from .mcp import MCPServer
    from .sessions import Session

Instructions = (
    str
    | Callable[[RunContextWrapper[TContext], "Agent[TContext]"], str | Awaitable[str]]
)


class MCPConfig(TypedDict, total=False):
    """How the tools of MCP servers are offered; every key may be left out."""

    convert_schemas_to_strict: bool
    """Whether their schemas are made strict, where that can be done."""
    failure_error_function: ToolErrorFunction | None
    """For servers that have none of their own; None lets the run fail."""
    include_server_in_tool_names: bool
    """Whether tools are called `mcp_<server>__<tool>`."""


@dataclass
class AgentBase(Generic[TContext]):
    """What every agent has: a name, tools and servers of tools."""

    name: str
    handoff_description: str | None = None
    """Tells other agents when to hand over to this one."""
    tools: list[Any] = field(default_factory=list)
    """Function tools, hosted tools and tools with calls of a form of their own."""
    mcp_servers: list[MCPServer] = field(default_factory=list)
    """Connected MCP servers, whose tools the agent has beside its own."""
    mcp_config: MCPConfig = field(default_factory=lambda: MCPConfig())

    async def get_mcp_tools(
        self, run_context: RunContextWrapper[TContext]
    ) -> list[Tool]:
        """Return the tools of the MCP servers, asked of them."""
        if not self.mcp_servers:
            return []
        config = self.mcp_config
        prefixed = config.get("include_server_in_tool_names", False)
        found = await MCPUtil.get_all_function_tools(
            self.mcp_servers,
            config.get("convert_schemas_to_strict", False),
            run_context,
            self,  # type: ignore[arg-type]  # an Agent, as every base of it is
            failure_error_function=config.get(
                "failure_error_function", default_tool_error_function
            ),
            include_server_in_tool_names=prefixed,
            reserved_tool_names=self._own_names() if prefixed else None,
        )
        return list(found)

    def _own_names(self) -> set[str]:
        return {tool.name for tool in self.tools}

    async def get_all_tools(
        self, run_context: RunContextWrapper[TContext]
    ) -> list[Tool]:
        """Return the tools enabled in this run, those of MCP servers first."""
        enabled = [
            tool
            for tool in self.tools
            if not isinstance(tool, FunctionTool)
            or await tool.enabled(run_context, self)
        ]
        if not self.mcp_servers:
            return enabled
        return [*await self.get_mcp_tools(run_context), *enabled]


@dataclass
class Agent(AgentBase[TContext]):
    """A model with instructions, tools, guardrails and handoffs."""

    instructions: Instructions[TContext] | None = None
    """Text, or a sync or async callable of (context, agent) that gives it."""
    prompt: Prompt | DynamicPromptFunction | None = None
    """A prompt stored at the model's server, or a callable that gives one."""
    handoffs: list[Agent[Any] | Handoff[TContext, Any]] = field(default_factory=list)
    """Agents that may take over from this one."""
    model: str | Model | None = None
    """A model, or the name of one; None means the provider's default."""
    model_settings: ModelSettings = field(default_factory=ModelSettings)
    input_guardrails: list[InputGuardrail[TContext]] = field(default_factory=list)
    """Check the run's input, when this agent is the one it starts with."""
    output_guardrails: list[OutputGuardrail[TContext]] = field(default_factory=list)
    """Check the run's answer, when this agent gives it."""
    output_type: type[Any] | AgentOutputSchemaBase | None = None
    """What the answer is an object of; None means text."""
    hooks: AgentHooksBase[TContext, Any] | None = None
    tool_use_behavior: ToolUseBehavior[TContext] = "run_llm_again"
    """Whether a tool's output ends the run: `run_llm_again`, `stop_on_first_tool`,
    `{"stop_at_tool_names": [...]}`, or a callable of (context, results)."""
    reset_tool_choice: bool = True
    """True: a tool_choice that forces a call is dropped once a tool was called."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise TypeError(f"Agent name {self.name!r} must be a text of some length.")
        for name in _LISTS:
            if not isinstance(getattr(self, name), list):
                raise TypeError(f"Agent {self.name!r}: {name} must be a list.")
        for tool in self.tools:
            if not isinstance(getattr(tool, "name", None), str):
                raise TypeError(
                    f"Agent {self.name!r} was given the tool {tool!r}; "
                    "decorate the function with @function_tool."
                )
        self.model_settings = made_of(ModelSettings, self.model_settings) or (
            ModelSettings()
        )
        self._check_kinds()

    def _check_kinds(self) -> None:
        wrong = {
            "handoff_description": not _is(self.handoff_description, str),
            "instructions": not (
                _is(self.instructions, str) or callable(self.instructions)
            ),
            "prompt": not (_is(self.prompt, dict) or callable(self.prompt)),
            "model": not _is(self.model, str | Model),
            "output_type": not (
                _is(self.output_type, type | AgentOutputSchemaBase)
                or get_origin(self.output_type) is not None
            ),
            "hooks": not _is(self.hooks, AgentHooksBase),
            "tool_use_behavior": not (
                self.tool_use_behavior in ("run_llm_again", "stop_on_first_tool")
                or isinstance(self.tool_use_behavior, dict)
                or callable(self.tool_use_behavior)
            ),
            "reset_tool_choice": not isinstance(self.reset_tool_choice, bool),
        }
        for name, is_wrong in wrong.items():
            if is_wrong:
                given = type(getattr(self, name)).__name__
                raise TypeError(
                    f"Agent {self.name!r}: {name} cannot be of the type {given}."
                )

    def clone(self, **changes: Any) -> Agent[TContext]:
        """Return a copy with `changes`; lists that are not changed are shared."""
        return dataclasses.replace(self, **changes)

    def as_tool(
        self,
        tool_name: str | None,
        tool_description: str | None,
        custom_output_extractor: OutputExtractor | None = None,
        is_enabled: IsEnabled = True,
        on_stream: Callable[[AgentToolStreamEvent], Any] | None = None,
        run_config: RunConfig | dict[str, Any] | None = None,
        max_turns: int | None = None,
        hooks: RunHooksBase[TContext, Any] | None = None,
        previous_response_id: str | None = None,
        conversation_id: str | None = None,
        session: Session | None = None,
        failure_error_function: ToolErrorFunction | None = default_tool_error_function,
        needs_approval: NeedsApproval = False,
        parameters: type[Any] | None = None,
        input_builder: InputBuilder | None = None,
        include_input_schema: bool = False,
        on_stream_max_pending_events: int | None = 1024,
        *,
        review: Review | None = None,
    ) -> FunctionTool:
        """Return a tool that runs this agent and gives its answer.

        The agent reads the tool's input and nothing of the caller's conversation. A
        call of its own tools that needs approval pauses the whole run.
        `custom_output_extractor(result)` makes the output of the inner run's result.
        `on_stream` is told of the inner run's events, as long as no more than
        `on_stream_max_pending_events` wait for it. `parameters` is a dataclass or
        pydantic model of the arguments instead of one text, `input`; `input_builder`
        makes the inner run's input of them, and `include_input_schema` lets it see
        their schema. `max_turns` None means 10.
        """
        return agent_as_tool(
            self,
            AgentTool(
                agent=self,
                extract_output=custom_output_extractor,
                on_stream=on_stream,
                run_config=made_of(RunConfig, run_config),
                max_turns=max_turns,
                hooks=hooks,
                previous_response_id=previous_response_id,
                conversation_id=conversation_id,
                session=session,
                parameters=parameters,
                input_builder=input_builder,
                include_input_schema=include_input_schema,
                max_pending_events=on_stream_max_pending_events,
            ),
            name=tool_name,
            description=tool_description,
            is_enabled=is_enabled,
            failure_error_function=failure_error_function,
            needs_approval=needs_approval,
            review=review,
        )

    async def get_system_prompt(
        self, run_context: RunContextWrapper[TContext]
    ) -> str | None:
        """Return the instructions for this run."""
        if self.instructions is None or isinstance(self.instructions, str):
            return self.instructions
        if not takes(self.instructions, 2):
            raise TypeError(
                f"The instructions of {self.name!r} must take two arguments: "
                "(context, agent)."
            )
        what = f"The instructions of {self.name!r}"
        found: str | None = await called(what, self.instructions, run_context, self)
        return found

    async def get_prompt(self, run_context: RunContextWrapper[TContext]) -> Any:
        """Return the stored prompt as the request names it, or None."""
        if self.prompt is None:
            return None
        return await prompt_payload(self, run_context)

    def _own_names(self) -> set[str]:
        return {*super()._own_names(), *self.handoff_names()}

    def agents(self) -> AgentMap:
        """Return every agent that handoffs lead to from this one."""
        return AgentMap(self)

    def handoff_targets(self) -> list[Agent[Any]]:
        """Return the agents this one can hand over to, as far as they are known."""
        targets = [as_handoff(handoff).agent for handoff in self.handoffs]
        return [target for target in targets if target is not None]

    def handoff_names(self) -> list[str]:
        """Return the tool names of the handoffs, enabled or not."""
        return [as_handoff(handoff).tool_name for handoff in self.handoffs]

    def function_tool_named(self, name: str) -> FunctionTool | None:
        """Return the agent's own function tool of that name, enabled or not.

        A namespace is part of the name; of two tools it is the one models are offered.
        """
        return tools_by_name(self.tools).get(name)

    def definition_digest(self) -> str:
        """Return the SHA-256, in hex, of what the agent is: to notice a change."""
        definition = [
            self.name,
            self.instructions if isinstance(self.instructions, str) else None,
            self.model if isinstance(self.model, str) else None,
            [
                schema_hash(tool.name, getattr(tool, "params_json_schema", {}))
                for tool in self.tools
            ],
        ]
        if self.handoffs:
            definition.append(self.handoff_names())
        return hashlib.sha256(json.dumps(definition).encode()).hexdigest()


_LISTS = ("tools", "mcp_servers", "handoffs", "input_guardrails", "output_guardrails")


def _is(value: object, kinds: Any) -> bool:
    return value is None or isinstance(value, kinds)


def check_agent(given: object) -> None:
    """Raise UserError unless `given` is an agent."""
    if not isinstance(given, Agent):
        raise UserError(f"{given!r} is no Agent; give a run the agent it starts with.")
