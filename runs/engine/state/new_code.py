"""Open calls under other code than they were made under, once a person lets them be.

No approval carries over to another call: one whose tool takes other parameters is that
of the new tool, with a digest that nobody has approved. One whose tool is gone ends
without running. One that had started is neither: what became of it is still asked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..calls import Call, CallKind
from ..digest import JSONObject
from ..errors import CodeChanged
from ..hosted.local_tools import local_tool_of
from .stored import StoredCall

if TYPE_CHECKING:
    from ..agent import Agent
    from ..tools.tool import FunctionTool

WHY = "Its tool has changed since it was called."


def is_gone(
    agent: Agent[Any],
    stored: StoredCall,
    raw: JSONObject,
    renames: Mapping[str, Mapping[str, str]],
    *,
    started: bool,
) -> bool:
    """Say whether the agent has no more what the call is of.

    For a call that had `started`, a tool with other parameters is another one. Raises
    CodeChanged when it had started and cannot even be told to a person any more.
    """
    tools = renames.get("tools", {})
    name = tools.get(stored.tool, stored.tool)
    if stored.kind is CallKind.HANDOFF:
        return name not in agent.handoff_names()
    if stored.kind is CallKind.LOCAL:
        return _is_local_gone(agent, stored, raw, started=started)
    if not stored.schema_hash or stored.kind is CallKind.HOSTED_MCP:
        return False
    tool = agent.function_tool_named(name)
    if tool is None:
        return not agent.mcp_servers  # a server is asked when the call is about to run
    if started and tool.schema_hash_as(stored.tool) != stored.schema_hash:
        return True
    return _is_another_kind(stored, tool, renames.get("agents", {}))


def _is_local_gone(
    agent: Agent[Any], stored: StoredCall, raw: JSONObject, *, started: bool
) -> bool:
    if local_tool_of(agent.tools, raw) is not None:
        return False
    if started:
        raise CodeChanged(
            f"A call of {stored.tool!r} had started, and agent {agent.name!r} no "
            "longer has the tool; put it back, so that a person can be asked what "
            "became of the call, or stop the run."
        )
    return True


def _is_another_kind(
    stored: StoredCall, tool: FunctionTool, agents: Mapping[str, str]
) -> bool:
    if (stored.kind is CallKind.AGENT) != (tool.agent_tool is not None):
        return True
    if stored.nested is None or tool.agent_tool is None:
        return False
    name = stored.nested.agent
    return agents.get(name, name) != tool.agent_tool.agent.name


def tool_now(
    agent: Agent[Any], stored: StoredCall, renamed: Mapping[str, str]
) -> FunctionTool | None:
    """Return the function tool of that name, whatever its parameters."""
    if not stored.schema_hash or stored.kind not in (CallKind.FUNCTION, CallKind.AGENT):
        return None
    return agent.function_tool_named(renamed.get(stored.tool, stored.tool))


def under_new_code(call: Call, tool: FunctionTool, *, has_begun: bool) -> Call:
    """Return the call as the tool there is now would be called.

    A tool that asks by a rule asks: the rule judged, if at all, another call. An agent
    that `has_begun` goes on; nobody is asked again whether it may begin.
    """
    hashed = tool.schema_hash_as(call.tool)
    gated = call.gated or (not has_begun and tool.needs_approval is not False)
    if hashed == call.schema_hash and gated == call.gated:
        return call
    changed = dataclasses.replace(
        call,
        schema_hash=hashed,
        gated=gated,
        why=WHY if gated else "",
        parameters=tool.params_json_schema,
    )
    return dataclasses.replace(changed, digest=changed.current_digest())
