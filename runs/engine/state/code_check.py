"""Whether the code still has what the open calls of a stored state are of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..calls import CallKind
from ..digest import JSONObject
from ..errors import CodeChanged
from ..hosted.local_tools import LocalToolBase, local_tool_of
from ..items import name_called
from .schema_diff import difference
from .stored import StoredCall, text_in

if TYPE_CHECKING:
    from ..agent import Agent
    from ..tools.tool import FunctionTool


class Asked(NamedTuple):
    """What a call's item asks for."""

    name: str
    arguments: str
    is_known: bool = True
    """False where only the tool could tell, and it is gone."""


def what_it_asks(
    agent: Agent[Any], stored: StoredCall, raw: JSONObject, *, is_gone: bool = False
) -> Asked:
    """Return the name and the arguments that a call's item has."""
    if stored.kind is not CallKind.LOCAL:
        return Asked(name_called(raw), text_in(raw, "arguments"))
    if is_gone:
        return Asked(stored.tool, "", is_known=False)
    return Asked(stored.tool, _local_tool(agent, stored, raw).arguments(raw))


def must_ask(
    agent: Agent[Any], stored: StoredCall, raw: JSONObject, tool: FunctionTool | None
) -> bool:
    """Say whether a person must approve the call: no state can talk that away."""
    if stored.kind is CallKind.LOCAL:
        return stored.gated or _local_tool(agent, stored, raw).always_asks
    return stored.gated or (tool is not None and tool.needs_approval is True)


def _local_tool(
    agent: Agent[Any], stored: StoredCall, raw: JSONObject
) -> LocalToolBase:
    tool = local_tool_of(agent.tools, raw)
    if tool is None:
        raise CodeChanged(
            f"The run waits in a call of {stored.tool!r}, which agent "
            f"{agent.name!r} no longer has; put the tool back, or stop the run."
        )
    return tool


def tool_called(
    agent: Agent[Any], stored: StoredCall, renamed: Mapping[str, str]
) -> FunctionTool | None:
    """Return the tool an open call is of. Raises UserError when it has changed."""
    if stored.kind is CallKind.HANDOFF:
        _check_handoff(agent, renamed.get(stored.tool, stored.tool))
        return None
    if not stored.schema_hash or stored.kind is CallKind.HOSTED_MCP:
        return None
    name = renamed.get(stored.tool, stored.tool)
    tool = agent.function_tool_named(name)
    if tool is None and agent.mcp_servers:
        return None  # its server is asked for it when the call is about to run
    if tool is None:
        raise CodeChanged(
            f"The run waits in a call of {stored.tool!r}, which agent "
            f"{agent.name!r} no longer has; put the tool back, say with "
            'renames={"tools": {old: new}} what it is called now, or stop the run.'
        )
    if tool.schema_hash_as(stored.tool) != stored.schema_hash:
        raise CodeChanged(
            f"The parameters of {stored.tool!r} have changed since the run called "
            f"it: {difference(stored.parameters, tool.params_json_schema)}. "
            "Put the tool back as it was, or stop the run."
        )
    return tool


def _check_handoff(agent: Agent[Any], tool_name: str) -> None:
    names = agent.handoff_names()
    if tool_name not in names:
        raise CodeChanged(
            f"The run is about to hand over with {tool_name!r}, which agent "
            f"{agent.name!r} no longer has; it has: {', '.join(names) or 'none'}."
        )
