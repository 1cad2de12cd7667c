"""Tools of Model Context Protocol servers, through the official `mcp` package.

The package is an optional extra, `placet[mcp]`; it is loaded when a server connects.

    async with MCPServerStdio({"command": "uvx", "args": ["mcp-server-git"]}) as git:
        agent = Agent(name="A", mcp_servers=[git])
        await Runner.run(agent, "What changed today?")
"""

from .approval import (
    LocalMCPApprovalCallable,
    RequireApprovalMapping,
    RequireApprovalObject,
    RequireApprovalPolicy,
    RequireApprovalSetting,
    RequireApprovalToolList,
)
from .errors import MCPPackageMissing, MCPServerTimeout, MCPServerUnavailable
from .filters import (
    ToolFilter,
    ToolFilterCallable,
    ToolFilterContext,
    ToolFilterStatic,
    create_static_tool_filter,
)
from .function_tools import MCPUtil
from .manager import MCPServerManager
from .server import (
    MCPServer,
    MCPToolCustomDataContext,
    MCPToolCustomDataExtractor,
    MCPToolMetaContext,
    MCPToolMetaResolver,
)
from .transports import (
    HttpClientFactory,
    MCPServerSse,
    MCPServerSseParams,
    MCPServerStdio,
    MCPServerStdioParams,
    MCPServerStreamableHttp,
    MCPServerStreamableHttpParams,
)

__all__ = [
    "HttpClientFactory",
    "LocalMCPApprovalCallable",
    "MCPPackageMissing",
    "MCPServer",
    "MCPServerManager",
    "MCPServerSse",
    "MCPServerSseParams",
    "MCPServerStdio",
    "MCPServerStdioParams",
    "MCPServerStreamableHttp",
    "MCPServerStreamableHttpParams",
    "MCPServerTimeout",
    "MCPServerUnavailable",
    "MCPToolCustomDataContext",
    "MCPToolCustomDataExtractor",
    "MCPToolMetaContext",
    "MCPToolMetaResolver",
    "MCPUtil",
    "RequireApprovalMapping",
    "RequireApprovalObject",
    "RequireApprovalPolicy",
    "RequireApprovalSetting",
    "RequireApprovalToolList",
    "ToolFilter",
    "ToolFilterCallable",
    "ToolFilterContext",
    "ToolFilterStatic",
    "create_static_tool_filter",
]
