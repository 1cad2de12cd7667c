"""What the open calls of a state remember of their tools, where nothing else does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..calls import CallKind
from ..digest import JSONObject
from ..errors import UserError
from .agent_map import AgentMap
from .definition import keys_of, living_renames
from .stored import StoredCall, StoredState

if TYPE_CHECKING:
    from ..agent import Agent

Renames = Mapping[str, Mapping[str, str]]


def recollected(
    definition: JSONObject, agent: Agent[Any], head: StoredState, renames: Renames
) -> JSONObject:
    """Return `definition` with the tools of open calls as they were when called."""
    keys = keys_of(agent)
    agents = {key: dict(has) for key, has in definition["agents"].items()}
    holding = living_renames(definition, renames)
    for owner, stored in _open_calls(agent, head, holding):
        has = agents[keys[id(owner)]]
        has["tools"] = _with(has["tools"], owner, stored, holding["tools"])
    return {**definition, "agents": agents}


def _with(
    tools: JSONObject,
    owner: Agent[Any],
    stored: StoredCall,
    renamed: Mapping[str, str],
) -> JSONObject:
    name = renamed.get(stored.tool, stored.tool)
    tool = owner.function_tool_named(name)
    if tool is None and owner.mcp_servers:
        return tools  # known to its server only
    if tool is not None and tool.schema_hash_as(stored.tool) == stored.schema_hash:
        return tools
    was = {
        "kind": "FunctionTool",
        "asks": "always" if stored.gated else "never",
        **tools.get(name, {}),
        "schema_hash": stored.schema_hash,
        "parameters": stored.parameters,
    }
    return {**tools, stored.tool: was}


def _open_calls(
    agent: Agent[Any], head: StoredState, renames: Renames
) -> Iterator[tuple[Agent[Any], StoredCall]]:
    """Yield the open calls of tools with parameters, each with its agent."""
    try:
        owner = AgentMap(agent, renames["agents"]).agent_of(head.current_agent)
    except UserError:
        return  # the run cannot go on at all, and says so when it is read
    for stored in head.open:
        if not stored.schema_hash or stored.kind is CallKind.HANDOFF:
            continue
        yield owner, stored
        name = renames["tools"].get(stored.tool, stored.tool)
        tool = owner.function_tool_named(name)
        used = tool.agent_tool if tool else None
        if stored.nested is not None and used is not None:
            yield from _open_calls(used.agent, stored.nested, renames)
