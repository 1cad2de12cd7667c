"""The official `mcp` package: loaded when a server connects, never before.

What the engine reads of the package's values is spelled out here as protocols, so that
the rest is typed whether or not the package is installed.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import Any, Protocol

from ..digest import JSONObject
from .errors import MCPPackageMissing

OLDEST_MAJOR = 2


class MCPTool(Protocol):
    """A tool as a server lists it: the package's `mcp.types.Tool`."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str | None: ...
    @property
    def description(self) -> str | None: ...
    @property
    def input_schema(self) -> JSONObject: ...
    @property
    def annotations(self) -> Any: ...
    @property
    def meta(self) -> JSONObject | None: ...


class CallToolResult(Protocol):
    """What a server answers a call with: the package's `mcp.types.CallToolResult`."""

    @property
    def content(self) -> list[Any]: ...
    @property
    def structured_content(self) -> JSONObject | None: ...
    @property
    def is_error(self) -> bool | None: ...
    @property
    def meta(self) -> JSONObject | None: ...


def load(module: str = "mcp") -> Any:
    """Return the package, or one of its modules.

    Raises MCPPackageMissing when there is no package, or one of version 1.
    """
    try:
        found = importlib.metadata.version("mcp")
        loaded = importlib.import_module(module)
    except ImportError as error:
        raise MCPPackageMissing("it is not installed") from error
    if int(found.partition(".")[0]) < OLDEST_MAJOR:
        raise MCPPackageMissing(f"{found} is installed")
    return loaded
