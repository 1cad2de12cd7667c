"""Which of a server's tools an agent is offered: `tool_filter`."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NotRequired, TypeAlias, TypedDict

from ..context import RunContextWrapper
from ..errors import UserError
from ..tools.tool import settled
from .package import MCPTool

if TYPE_CHECKING:
    from ..agent import Agent

logger = logging.getLogger(__name__)


@dataclass
class ToolFilterContext:
    """Whom the tools are listed for."""

    run_context: RunContextWrapper[Any]
    agent: Agent[Any]
    server_name: str


ToolFilterCallable: TypeAlias = Callable[
    [ToolFilterContext, MCPTool], bool | Awaitable[bool]
]


class ToolFilterStatic(TypedDict):
    """Lists of tool names: only the allowed ones, without the blocked ones."""

    allowed_tool_names: NotRequired[list[str]]
    blocked_tool_names: NotRequired[list[str]]


ToolFilter: TypeAlias = ToolFilterCallable | ToolFilterStatic | None


def create_static_tool_filter(
    allowed_tool_names: list[str] | None = None,
    blocked_tool_names: list[str] | None = None,
) -> ToolFilterStatic | None:
    """Return a filter of these lists; None when neither is given."""
    lists = ToolFilterStatic()
    if allowed_tool_names is not None:
        lists["allowed_tool_names"] = allowed_tool_names
    if blocked_tool_names is not None:
        lists["blocked_tool_names"] = blocked_tool_names
    return lists or None


async def filtered(
    tools: list[Any],
    tool_filter: ToolFilter,
    *,
    server_name: str,
    run_context: RunContextWrapper[Any] | None,
    agent: Agent[Any] | None,
) -> list[Any]:
    """Return the tools that the filter lets through, in their order.

    A callable that raises leaves its tool out. Raises UserError when a callable is to
    be asked without a run and an agent.
    """
    if tool_filter is None:
        return tools
    if not callable(tool_filter):
        return [tool for tool in tools if _is_allowed(tool_filter, tool.name)]
    if run_context is None or agent is None:
        raise UserError(
            f"The tool filter of MCP server {server_name!r} is a callable; "
            "list_tools needs the run's context and the agent to ask it."
        )
    context = ToolFilterContext(run_context, agent, server_name)
    return [tool for tool in tools if await _lets_in(tool_filter, context, tool)]


def _is_allowed(lists: ToolFilterStatic, name: str) -> bool:
    return name in lists.get("allowed_tool_names", [name]) and name not in lists.get(
        "blocked_tool_names", []
    )


async def _lets_in(
    tool_filter: ToolFilterCallable, context: ToolFilterContext, tool: Any
) -> bool:
    try:
        # A copy: the filter must not be able to change what the server listed.
        return bool(await settled(tool_filter(context, tool.model_copy(deep=True))))
    except Exception:
        logger.exception(
            "An MCP tool filter failed; its tool is left out",
            extra={"server": context.server_name, "tool": tool.name},
        )
        return False
