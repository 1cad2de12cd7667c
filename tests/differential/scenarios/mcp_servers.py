"""Tools of MCP servers that run here: offered, called, gated."""

import sys
from pathlib import Path
from typing import Any

import mcp_types

from ..registry import scenario
from ..script import call, text
from ..sides import Side
from .approvals import approve_all, decided

PROGRAM = Path(__file__).parents[2] / "engine" / "mcp_server.py"
MCP = "Hosted tools and MCP"
SCHEMA = {
    "type": "object",
    "properties": {"path": {"type": "string"}},
    "required": ["path"],
}


def server(side: Side, **options: Any) -> Any:
    class Files(side.MCPServer):  # type: ignore[name-defined, misc]
        name = "files"

        async def connect(self) -> None:
            return None

        async def cleanup(self) -> None:
            return None

        async def list_tools(self, run_context: Any = None, agent: Any = None) -> Any:
            return [
                mcp_types.Tool(
                    name=name, description=f"To {name}.", input_schema=SCHEMA
                )
                for name in ("read", "erase")
            ]

        async def call_tool(
            self, tool_name: str, arguments: Any, meta: Any = None
        ) -> Any:
            side.note("called", tool_name, arguments)
            if arguments["path"] == "/lost":
                raise ValueError("no such file")
            parts = [mcp_types.TextContent(type="text", text=f"{tool_name} done")]
            return mcp_types.CallToolResult(content=[*parts])

        async def list_prompts(self) -> Any:
            raise NotImplementedError

        async def get_prompt(self, name: str, arguments: Any = None) -> Any:
            raise NotImplementedError

    return Files(**options)


@scenario(MCP)
async def mcp_tools_are_offered_and_called(side: Side) -> None:
    agent = side.agent(
        [call("read", {"path": "/a"}, "c1")],
        [call("read", {"path": "/lost"}, "c2")],
        [text("x")],
        mcp_servers=[server(side)],
    )
    await side.run(agent, "hi")


@scenario(MCP)
async def mcp_tools_in_strict_form(side: Side) -> None:
    agent = side.agent(
        [text("x")],
        mcp_servers=[server(side)],
        mcp_config={"convert_schemas_to_strict": True},
    )
    await side.run(agent, "hi")


@scenario(MCP)
async def mcp_tools_that_need_approval(side: Side) -> None:
    for required in (
        "always",
        {"erase": "always"},
        {"always": {"tool_names": ["erase"]}},
    ):
        agent = side.agent(
            [call("read", {"path": "/a"}, "c1"), call("erase", {"path": "/a"}, "c2")],
            [text("x")],
            mcp_servers=[server(side, require_approval=required)],
        )
        result = await side.run(agent, "hi")
        await decided(side, agent, result, approve_all)


@scenario(MCP)
async def mcp_tools_of_one_name_on_two_servers(side: Side) -> None:
    servers = [server(side), server(side)]
    await side.run(side.agent([text("x")], mcp_servers=servers), "hi")


@scenario(MCP)
async def mcp_server_that_is_a_program(side: Side) -> None:
    program = side.MCPServerStdio(
        name="numbers",
        params={"command": sys.executable, "args": [str(PROGRAM)]},
        require_approval={"always": {"tool_names": ["add"]}},
        client_session_timeout_seconds=8,
    )
    async with program as server:
        agent = side.agent(
            [
                call("add", {"a": 1, "b": 2}, "c1"),
                call("weather", {"city": "Oslo"}, "c2"),
                call("mixed", {}, "c3"),
            ],
            [text("x")],
            mcp_servers=[server],
        )
        result = await side.run(agent, "hi")
        side.note(
            [
                (each.tool_name, each.description, each.title, each.tool_origin)
                for each in result.new_items
                if each.type == "tool_call_item"
            ]
        )
        await decided(side, agent, result, approve_all)
