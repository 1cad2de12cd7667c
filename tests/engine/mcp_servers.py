"""Builders of MCP servers for the tests: real processes, and one in memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runs.engine import Agent, FunctionTool, RunContextWrapper, ToolContext
from runs.engine.mcp import MCPServer, MCPServerStdio, MCPUtil

SCRIPT = Path(__file__).with_name("mcp_server.py")
CONTEXT: RunContextWrapper[Any] = RunContextWrapper(None)
AGENT: Agent[Any] = Agent(name="A")


def stdio(mode: str = "good", *, name: str = "tests", **options: Any) -> MCPServerStdio:
    """Return a server of `mcp_server.py`, not yet started."""
    pytest.importorskip("mcp")
    # Wrong servers are waited for; a good one may take long to start on a busy machine.
    options.setdefault("client_session_timeout_seconds", 20 if mode == "good" else 0.5)
    params = {"command": sys.executable, "args": [str(SCRIPT), mode]}
    return MCPServerStdio(params, name=name, **options)  # type: ignore[arg-type]  # made from parts


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[str]:
    """Give the URL of a streamable HTTP server."""
    pytest.importorskip("mcp")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SCRIPT),
        "http",
        str(port),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        async with asyncio.timeout(30):
            while b"Uvicorn running" not in await process.stderr.readline():
                assert process.returncode is None
        drain = asyncio.create_task(process.stderr.read())
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    await drain


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until(check: Callable[[], Any]) -> None:
    """Wait for what another process does; it sets no event."""
    async with asyncio.timeout(30):
        while not check():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def children() -> list[int]:
    """Return the ids of the servers that this process has running."""
    pattern = ["pgrep", "-P", str(os.getpid()), "-f", SCRIPT.name]
    found = subprocess.run(pattern, capture_output=True, check=False).stdout
    return [int(pid) for pid in found.split()]


async def pid_of(server: MCPServer) -> int:
    result = await server.call_tool("pid", {})
    return int(result.content[0].text)


async def tools_of(*servers: MCPServer, **options: Any) -> list[FunctionTool]:
    is_strict = options.pop("convert_schemas_to_strict", False)
    return await MCPUtil.get_all_function_tools(
        list(servers), is_strict, CONTEXT, AGENT, **options
    )


def tool_context() -> ToolContext[Any]:
    """Return the context of a call."""
    return ToolContext(
        context=None, tool_name="t", tool_call_id="c1", tool_arguments="{}"
    )


def listed(name: str, **fields: Any) -> Any:
    """Return a tool as a server lists it."""
    defaults = {
        "title": None,
        "description": None,
        "input_schema": {"type": "object", "properties": {}},
        "annotations": None,
        "meta": None,
    }
    return SimpleNamespace(name=name, **(defaults | fields))


def result(*texts: str, **fields: Any) -> Any:
    """Return what a server answers a call with."""
    content = [SimpleNamespace(type="text", text=text) for text in texts]
    defaults = {"structured_content": None, "is_error": False, "meta": None}
    return SimpleNamespace(content=content, **(defaults | fields))


class MemoryServer(MCPServer):
    """A server of the tools given, each answering `answer`."""

    def __init__(
        self, *tools: Any, name: str = "memory", answer: Any = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self._name = name
        self.tools = list(tools)
        self.answer = answer if answer is not None else result("done")
        self.calls: list[tuple[str, Any, Any]] = []
        self.log: list[str] = []
        self.tasks: list[Any] = []
        self.fails_with: BaseException | None = None

    @property
    def name(self) -> str:
        return self._name

    async def connect(self) -> None:
        self.log.append("connect")
        self.tasks.append(asyncio.current_task())
        if self.fails_with is not None:
            raise self.fails_with

    async def cleanup(self) -> None:
        self.log.append("cleanup")
        self.tasks.append(asyncio.current_task())

    async def list_tools(self, run_context: Any = None, agent: Any = None) -> list[Any]:
        return self.tools

    async def call_tool(self, tool_name: str, arguments: Any, meta: Any = None) -> Any:
        self.calls.append((tool_name, arguments, meta))
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    async def list_prompts(self) -> Any:
        return []

    async def get_prompt(self, name: str, arguments: Any = None) -> Any:
        return name
