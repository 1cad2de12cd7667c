"""An MCP server for the tests: well-behaved by default, or wrong in one named way.

`python mcp_server.py` serves over stdio with the official package, and
`python mcp_server.py http PORT` over streamable HTTP. Any other word is a way to
misbehave; those speak JSON-RPC by hand, because no library helps to be wrong.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
import time
from typing import Any

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAA"
    "AABJRU5ErkJggg=="
)
"""A PNG of one pixel."""


def well_behaved(*http: str) -> None:
    from mcp.server import MCPServer
    from mcp.server.mcpserver import Image
    from mcp_types import (
        AudioContent,
        CallToolResult,
        EmbeddedResource,
        TextContent,
        TextResourceContents,
    )

    server = MCPServer("tests")

    @server.tool()
    def add(a: int, b: int = 1) -> str:
        """Add two numbers."""
        return str(a + b)

    @server.tool(title="The weather")
    def weather(city: str) -> dict[str, Any]:
        return {"city": city, "celsius": 21}

    @server.tool()
    def pid() -> str:
        return str(os.getpid())

    @server.tool(structured_output=False)
    def picture() -> Any:
        return Image(data=PIXEL, format="png")

    @server.tool(structured_output=False)
    def mixed() -> Any:
        found = TextResourceContents(uri="file:///a.txt", text="in the file")
        return [
            TextContent(type="text", text="first"),
            AudioContent(type="audio", data="AAAA", mime_type="audio/wav"),
            EmbeddedResource(type="resource", resource=found),
        ]

    @server.tool()
    def fail(why: str) -> str:
        raise ValueError(why)

    @server.tool(structured_output=False)
    def fail_silently() -> Any:
        return CallToolResult(content=[], is_error=True)

    @server.tool()
    def die() -> str:
        os._exit(3)

    @server.tool()
    async def wait(file: str) -> str:
        """Say that it has begun, in a file, and do not end."""
        import anyio

        await anyio.Path(file).write_text("begun")
        await anyio.sleep_forever()
        return "never"

    @server.prompt()
    def greet(name: str) -> str:
        return f"Greet {name}."

    @server.resource("note://one")
    def note() -> str:
        return "a note"

    if http:
        server.run("streamable-http", port=int(http[0]))
    else:
        server.run()


asked: dict[str, int] = {}
"""How often each method was called."""

HOSTILE_NAMES = ["a" * 200, "../../etc/passwd", "rm -rf /", "näme", "", "ok"]


def tool(name: str, schema: Any = None) -> dict[str, Any]:
    return {"name": name, "inputSchema": schema or {"type": "object"}}


def listing(mode: str, cursor: str | None) -> dict[str, Any]:
    number = int(cursor or 0)
    if mode == "many":
        return {"tools": [tool(f"t{n}") for n in range(10_000)]}
    if mode == "endless":
        page = [tool(f"t{n}") for n in range(500 * number, 500 * number + 500)]
        return {"tools": page, "nextCursor": str(number + 1)}
    if mode == "circle":
        return {"tools": [tool(f"t{number}")], "nextCursor": str(1 - number)}
    if mode == "pages":
        following = {"nextCursor": str(number + 1)} if number < 2 else {}
        return {"tools": [tool(f"t{number}")], **following}
    if mode == "names":
        return {"tools": [tool(name) for name in HOSTILE_NAMES]}
    if mode == "twice":
        return {"tools": [tool("same"), tool("same")]}
    if mode == "schema":
        return {
            "tools": [
                tool(
                    "odd",
                    {
                        "type": "object",
                        "properties": {
                            "a": {"type": "object", "additionalProperties": True}
                        },
                    },
                ),
                tool("ok"),
            ]
        }
    if mode in ("counting", "changing"):
        named = tool(f"listed{asked['tools/list']}")
        return {"tools": [{**named, "description": str(os.getpid())}]}
    if mode == "malformed":
        return {"tools": [{"name": 7}]}
    return {"tools": [tool("echo"), tool("big")]}


def answer(mode: str, message: dict[str, Any]) -> dict[str, Any]:
    method, params = message["method"], message.get("params") or {}
    if method == "initialize":
        info = {"name": "raw", "version": "1"}
        capabilities = {"tools": {"listChanged": True}}
        version = params["protocolVersion"]
        return {
            "result": {
                "protocolVersion": version,
                "capabilities": capabilities,
                "serverInfo": info,
            }
        }
    if method == "tools/list":
        return {"result": listing(mode, params.get("cursor"))}
    if method == "tools/call" and (mode == "flaky" and asked[method] <= 2):
        return {"error": {"code": -32000, "message": f"attempt {asked[method]}"}}
    if method == "tools/call" and mode == "refuse":
        return {"error": {"code": -32000, "message": "not on Sundays"}}
    if method == "tools/call" and mode == "nonsense":
        return {"result": {"content": "not a list"}}
    if method == "tools/call":
        text = json.dumps(
            {"arguments": params.get("arguments"), "meta": params.get("_meta")}
        )
        return {"result": {"content": [{"type": "text", "text": text}]}}
    return {"error": {"code": -32601, "message": "unknown method"}}


def write(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def misbehave(mode: str) -> None:
    if mode == "exit":
        sys.exit(3)
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if mode == "noise":
        print("Hello! I am not JSON.", flush=True)
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message or mode == "mute":
            continue
        method = message["method"]
        asked[method] = asked.get(method, 0) + 1
        if mode == "counting" and method == "tools/call":
            sys.exit(3)
        if mode == "closes" and method == "tools/call":
            os.close(1)
            time.sleep(60)
        if mode == "changing" and asked.get("tools/list") == 1:
            write({"method": "notifications/tools/list_changed"})
        write({"id": message["id"], **answer(mode, message)})
        if mode == "garbage" and method == "tools/list":
            print("\x00\xff{not json", flush=True)
        if mode == "changed" and method == "tools/list":
            write({"method": "notifications/tools/list_changed"})
        if mode in ("deaf", "unread") and method == "tools/list":
            time.sleep(60)
    while mode == "stubborn":
        time.sleep(1)


if __name__ == "__main__":
    mode = sys.argv[1] if len(sys.argv) > 1 else "good"
    if mode in ("good", "http"):
        well_behaved(*sys.argv[2:])
    else:
        misbehave(mode)
