"""Where a function tool comes from, kept with the items of its calls."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class ToolOriginType(enum.StrEnum):
    """The kinds of things a tool can come from."""

    FUNCTION = "function"
    MCP = "mcp"
    AGENT_AS_TOOL = "agent_as_tool"


@dataclass(frozen=True, slots=True)
class ToolOrigin:
    """The source of a tool: a function, an MCP server or an agent."""

    type: ToolOriginType
    mcp_server_name: str | None = None
    agent_name: str | None = None
    agent_tool_name: str | None = None

    def to_json_dict(self) -> dict[str, str]:
        """Return the origin as plain JSON, without what is None."""
        names = {
            "mcp_server_name": self.mcp_server_name,
            "agent_name": self.agent_name,
            "agent_tool_name": self.agent_tool_name,
        }
        known = {key: name for key, name in names.items() if name is not None}
        return {"type": self.type.value, **known}

    @classmethod
    def from_json_dict(cls, data: Any) -> ToolOrigin | None:
        """Return the origin that `data` holds; None when it holds none we know."""
        if not isinstance(data, Mapping) or data.get("type") not in list(
            ToolOriginType
        ):
            return None
        keys = ("mcp_server_name", "agent_name", "agent_tool_name")
        names = [data.get(key) for key in keys]
        return cls(
            ToolOriginType(data["type"]),
            *(name if isinstance(name, str) else None for name in names),
        )


FROM_PROGRAM = ToolOrigin(ToolOriginType.FUNCTION)
"""A function of the program."""
