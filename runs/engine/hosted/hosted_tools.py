"""Tools that the model's server runs: the engine passes them on.

Only servers with the Responses API know them. The tools whose calls come back to be run
here, as shells and patches, are `LocalToolBase`s.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypeAlias, TypedDict, cast

from openai.types.responses.web_search_tool import Filters as WebSearchToolFilters

from ..context import RunContextWrapper
from ..tools.tool import FunctionTool
from .custom_tools import CustomTool
from .patch_tools import ApplyPatchTool
from .shell_tools import LocalShellTool, ShellTool
from .tool_callers import checked_callers

if TYPE_CHECKING:
    from typing import Required

    from openai.types.responses.file_search_tool_param import Filters, RankingOptions
    from openai.types.responses.response_output_item import McpApprovalRequest
    from openai.types.responses.tool_param import (
        CodeInterpreter,
        ImageGeneration,
        ImageGenerationInputImageMask,
        Mcp,
    )
    from openai.types.responses.web_search_tool_param import UserLocation


class WebSearchToolImageSettings(TypedDict, total=False):
    """How images come among the results of a web search."""

    max_results: int
    caption: bool


@dataclass
class WebSearchTool:
    """Lets the model search the web."""

    user_location: UserLocation | None = None
    filters: WebSearchToolFilters | None = None
    """A dict will do, as `{"allowed_domains": ["example.org"]}`."""
    search_context_size: Literal["low", "medium", "high"] = "medium"
    external_web_access: bool | None = None
    """False keeps the search to what the server has stored."""
    search_content_types: list[Literal["text", "image"]] | None = None
    image_settings: WebSearchToolImageSettings | None = None

    def __post_init__(self) -> None:
        if isinstance(self.filters, dict):
            given: dict[str, Any] = self.filters
            unknown = sorted(given.keys() - WebSearchToolFilters.model_fields.keys())
            if unknown:
                raise TypeError(f"A web search has no filter {', '.join(unknown)}.")
            self.filters = WebSearchToolFilters.model_validate(given)

    @property
    def name(self) -> str:
        return "web_search"


@dataclass
class FileSearchTool:
    """Lets the model search files that the server keeps."""

    vector_store_ids: list[str]
    max_num_results: int | None = None
    """1 to 50; None and 0 leave it to the server."""
    include_search_results: bool = False
    """Whether the passages found are part of the answer."""
    ranking_options: RankingOptions | None = None
    filters: Filters | None = None

    @property
    def name(self) -> str:
        return "file_search"


@dataclass
class CodeInterpreterTool:
    """Lets the model run code in a container of the server."""

    tool_config: CodeInterpreter

    def __post_init__(self) -> None:
        config = _with_callers(self.tool_config, "code_interpreter")
        self.tool_config = cast("CodeInterpreter", config)

    @property
    def name(self) -> str:
        return "code_interpreter"


class ImageGenerationToolConfig(TypedDict, total=False):
    """What `ImageGenerationTool` is sent as; the server knows which values it takes."""

    type: Required[Literal["image_generation"]]
    action: Literal["generate", "edit", "auto"]
    background: Literal["transparent", "opaque", "auto"]
    input_fidelity: Literal["high", "low"] | None
    input_image_mask: ImageGenerationInputImageMask
    model: str
    moderation: Literal["auto", "low"]
    output_compression: int
    output_format: Literal["png", "webp", "jpeg"]
    partial_images: int
    quality: Literal["low", "medium", "high", "xhigh", "max", "auto"]
    size: str


@dataclass
class ImageGenerationTool:
    """Lets the model make images."""

    tool_config: ImageGenerationToolConfig | ImageGeneration

    @property
    def name(self) -> str:
        return "image_generation"


@dataclass
class MCPToolApprovalRequest:
    """A hosted server's call that waits for a decision."""

    ctx_wrapper: RunContextWrapper[Any]
    data: McpApprovalRequest


class MCPToolApprovalFunctionResult(TypedDict):
    """The decision of code."""

    approve: bool
    reason: NotRequired[str]
    """Why not; the model reads it."""


MCPToolApprovalFunction: TypeAlias = Callable[
    [MCPToolApprovalRequest],
    MCPToolApprovalFunctionResult | Awaitable[MCPToolApprovalFunctionResult],
]


@dataclass
class HostedMCPTool:
    """Lets the model's server call the tools of a remote MCP server."""

    tool_config: Mcp
    on_approval_request: MCPToolApprovalFunction | None = None
    """Decides in code, sync or async; without it the call waits for a person."""

    def __post_init__(self) -> None:
        label = self.tool_config.get("server_label", "unknown")
        config = _with_callers(self.tool_config, f"hosted MCP server {label}")
        self.tool_config = cast("Mcp", config)

    @property
    def name(self) -> str:
        return "hosted_mcp"


@dataclass
class ToolSearchTool:
    """Lets the model look for tools whose definitions it was not sent."""

    description: str | None = None
    execution: Literal["server", "client"] | None = None
    """No run answers the searches of `client`."""
    parameters: object | None = None

    @property
    def name(self) -> str:
        return "tool_search"


@dataclass
class ProgrammaticToolCallingTool:
    """Lets the model write code, run by its server, that calls other tools."""

    @property
    def name(self) -> str:
        return "programmatic_tool_calling"


HostedTool: TypeAlias = (
    FileSearchTool
    | WebSearchTool
    | HostedMCPTool
    | ImageGenerationTool
    | CodeInterpreterTool
    | ToolSearchTool
    | ProgrammaticToolCallingTool
)
"""What the model's server runs by itself."""

LocalTool: TypeAlias = LocalShellTool | ShellTool | ApplyPatchTool | CustomTool
"""What the server knows by itself and the run carries out."""

Tool: TypeAlias = FunctionTool | HostedTool | LocalTool


def namespace_of(tool: object) -> tuple[str, str] | None:
    """Return name and description of the tool's namespace; None where it has none."""
    if not isinstance(tool, FunctionTool) or not tool.namespace:
        return None
    return tool.namespace, tool.namespace_description or ""


def _with_callers(config: Mapping[str, Any], tool_name: str) -> dict[str, Any]:
    copied = dict(config)
    if copied.get("allowed_callers") is not None:
        copied["allowed_callers"] = checked_callers(
            copied["allowed_callers"], tool_name
        )
    return copied
