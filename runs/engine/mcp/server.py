"""What any MCP server is to an agent: tools, prompts, and rules about its tools."""

from __future__ import annotations

import abc
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from ..context import RunContextWrapper
from ..digest import JSONObject
from ..tools.tool import ToolErrorFunction
from ..tools.tool_guardrails import ToolInputGuardrail, ToolOutputGuardrail
from .approval import RequireApprovalSetting, approval_policy
from .package import CallToolResult, MCPTool

if TYPE_CHECKING:
    from ..agent import Agent


class Unset:
    """The type of UNSET: nothing was given, where None means something."""


UNSET: Final = Unset()


@dataclass
class MCPToolMetaContext:
    """The call that a `tool_meta_resolver` gives `_meta` for."""

    run_context: RunContextWrapper[Any]
    server_name: str
    tool_name: str
    """The name on the server."""
    arguments: JSONObject | None


@dataclass(frozen=True)
class MCPToolCustomDataContext:
    """The finished call that a `custom_data_extractor` takes data from."""

    run_context: RunContextWrapper[Any]
    server_name: str
    tool_name: str
    """The name on the server."""
    tool_display_name: str
    """The name the model called."""
    arguments: Mapping[str, Any]
    result_meta: Mapping[str, Any] | None
    structured_content: Mapping[str, Any] | None
    is_error: bool | None
    tool_output: Any
    """What the model is told."""


MCPToolMetaResolver: TypeAlias = Callable[
    [MCPToolMetaContext], JSONObject | Awaitable[JSONObject | None] | None
]
MCPToolCustomDataExtractor: TypeAlias = Callable[
    [MCPToolCustomDataContext],
    Mapping[str, Any] | Awaitable[Mapping[str, Any] | None] | None,
]


class MCPServer(abc.ABC):
    """A server of tools and prompts; usable as an async context manager.

    `use_structured_content`: tell the model a result's structured content instead of
    its content blocks, where it has any and is no error.
    `require_approval`: which calls a person must approve; see `approval`.
    `failure_error_function`: gives the model's text for a failed call; None lets the
    run fail; not given, the agent's `mcp_config` decides.
    `tool_meta_resolver`: gives the `_meta` sent with a call.
    `custom_data_extractor`: gives data kept beside the output, which no model sees.
    Raises UserError when `require_approval` has none of its forms.
    """

    def __init__(
        self,
        use_structured_content: bool = False,
        require_approval: RequireApprovalSetting = None,
        failure_error_function: ToolErrorFunction | Unset | None = UNSET,
        tool_meta_resolver: MCPToolMetaResolver | None = None,
        custom_data_extractor: MCPToolCustomDataExtractor | None = None,
        *,
        tool_input_guardrails: list[ToolInputGuardrail[Any]] | None = None,
        tool_output_guardrails: list[ToolOutputGuardrail[Any]] | None = None,
    ) -> None:
        self.use_structured_content = use_structured_content
        self.approval_policy = approval_policy(require_approval)
        self.failure_error_function = failure_error_function
        self.tool_meta_resolver = tool_meta_resolver
        self.custom_data_extractor = custom_data_extractor
        self.tool_input_guardrails = tool_input_guardrails
        self.tool_output_guardrails = tool_output_guardrails

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.cleanup()

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """A name for people."""

    @property
    def cached_tools(self) -> list[Any] | None:
        """The tools as last listed; None when nothing is kept."""
        return None

    @abc.abstractmethod
    async def connect(self) -> None:
        """Start or reach the server; it stays connected until `cleanup`."""

    @abc.abstractmethod
    async def cleanup(self) -> None:
        """Leave the server, and end it where it was started here."""

    @abc.abstractmethod
    async def list_tools(
        self,
        run_context: RunContextWrapper[Any] | None = None,
        agent: Agent[Any] | None = None,
    ) -> list[MCPTool]:
        """Return the tools, those that a filter leaves out excepted."""

    @abc.abstractmethod
    async def call_tool(
        self,
        tool_name: str,
        arguments: JSONObject | None,
        meta: JSONObject | None = None,
    ) -> CallToolResult:
        """Call a tool by its name on the server; `meta` is the request's `_meta`."""

    @abc.abstractmethod
    async def list_prompts(self) -> Any:
        """Return the package's `ListPromptsResult` of all prompts."""

    @abc.abstractmethod
    async def get_prompt(self, name: str, arguments: JSONObject | None = None) -> Any:
        """Return the package's `GetPromptResult`."""

    async def list_resources(self, cursor: str | None = None) -> Any:
        """Return one page, a `ListResourcesResult`; `cursor` is the page before's."""
        raise NotImplementedError(f"MCP server {self.name!r} lists no resources.")

    async def list_resource_templates(self, cursor: str | None = None) -> Any:
        """Return one page, a `ListResourceTemplatesResult`."""
        raise NotImplementedError(f"MCP server {self.name!r} lists no templates.")

    async def read_resource(self, uri: str) -> Any:
        """Return the package's `ReadResourceResult`."""
        raise NotImplementedError(f"MCP server {self.name!r} reads no resources.")
