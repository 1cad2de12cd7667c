"""What tools and handoffs look like in a request of the Responses API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import UserError
from ..hosted.custom_tools import CustomTool
from ..hosted.hosted_tools import (
    CodeInterpreterTool,
    FileSearchTool,
    HostedMCPTool,
    ImageGenerationTool,
    ProgrammaticToolCallingTool,
    Tool,
    ToolSearchTool,
    WebSearchTool,
    namespace_of,
)
from ..hosted.patch_tools import ApplyPatchTool
from ..hosted.shell_tools import LocalShellTool, ShellTool
from ..model_settings import MCPToolChoice, ToolChoice
from ..tools.tool import FunctionTool
from .request import only_set

_WORDS = {"auto", "required", "none"}
_HOSTED_CHOICES = {
    "file_search",
    "web_search",
    "web_search_preview",
    "computer_use_preview",
    "image_generation",
    "code_interpreter",
    "programmatic_tool_calling",
    "mcp",
}
_MOST_FILE_RESULTS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The tools of a request, and what they want to see in its answer."""

    tools: list[dict[str, Any]]
    include: list[str]


def offer(
    tools: Sequence[Tool], handoffs: Sequence[Any] = (), *, has_prompt: bool = False
) -> Offer:
    """Return the tools as the server takes them, the handoffs behind.

    The tools of a namespace go together where its first one stands. A prompt may bring
    tools that nobody here knows of: then a tool search may stand alone. Raises
    UserError for tools that do not go together.
    """
    _check(tools, has_prompt)
    sent: list[dict[str, Any]] = []
    namespaces: dict[str, dict[str, Any]] = {}
    for tool in tools:
        named = namespace_of(tool)
        if named is None:
            sent.append(_payload(tool))
            continue
        name, description = named
        if name not in namespaces:
            namespaces[name] = {
                "type": "namespace",
                "name": name,
                "description": description,
                "tools": [],
            }
            sent.append(namespaces[name])
        if namespaces[name]["description"] != description:
            raise UserError(f"Namespace {name!r} has two descriptions; keep one.")
        namespaces[name]["tools"].append(_payload(tool))
    include = [wish for tool in tools for wish in _wishes(tool)]
    return Offer(
        tools=sent + [_handoff(handoff) for handoff in handoffs],
        include=list(dict.fromkeys(include)),
    )


def chosen_tool(
    choice: ToolChoice, tools: Sequence[Tool], handoffs: Sequence[Any] = ()
) -> str | dict[str, str] | None:
    """Return the choice as the server takes it; None leaves it to the server.

    Raises UserError for a tool that cannot be chosen by its name.
    """
    if isinstance(choice, MCPToolChoice):
        return {
            "type": "mcp",
            "server_label": choice.server_label,
            "name": choice.name,
        }
    if choice is None or choice in _WORDS:
        return choice
    if choice in _HOSTED_CHOICES or _is_local(choice, tools):
        return {"type": choice}
    _check_name(choice, tools, handoffs)
    return {"type": "function", "name": choice}


def _is_local(choice: str, tools: Sequence[Tool]) -> bool:
    kinds = {"shell": ShellTool, "apply_patch": ApplyPatchTool}
    kind = kinds.get(choice)
    return kind is not None and any(isinstance(tool, kind) for tool in tools)


def _check_name(name: str, tools: Sequence[Tool], handoffs: Sequence[Any]) -> None:
    """Raise UserError for a name that the model can only come to by a search."""
    functions = [tool for tool in tools if isinstance(tool, FunctionTool)]
    callable_now = {handoff.tool_name for handoff in handoffs} | {
        tool.name for tool in functions if not _is_searched(tool)
    }
    searched = {tool.name for tool in functions if _is_searched(tool)}
    searched |= {named[0] for tool in functions if (named := namespace_of(tool))}
    if any(isinstance(tool, ToolSearchTool) for tool in tools):
        searched.add("tool_search")
    if name in searched - callable_now:
        raise UserError(
            f"tool_choice={name!r} names what the model finds by searching; choose "
            "'auto', 'required' or a tool that it is offered by itself."
        )


def _check(tools: Sequence[Tool], has_prompt: bool) -> None:
    searches = [tool for tool in tools if isinstance(tool, ToolSearchTool)]
    programs = [tool for tool in tools if isinstance(tool, ProgrammaticToolCallingTool)]
    deferred = [tool for tool in tools if _is_deferred(tool)]
    programmatic = [tool for tool in tools if "programmatic" in (_callers(tool) or [])]
    for kind in (searches, programs):
        if len(kind) > 1:
            raise UserError(f"One {type(kind[0]).__name__} is enough; there are more.")
    if deferred and not searches:
        raise UserError(
            f"Tool {_label(deferred[0])!r} is loaded late, so the model only finds it "
            "with a ToolSearchTool() among the tools."
        )
    if searches and not has_prompt and not any(map(_is_searched, tools)):
        raise UserError(
            "ToolSearchTool() finds nothing: give it tools of a tool_namespace(), "
            "function tools with defer_loading=True, or such an MCP server."
        )
    for tool in programmatic:
        if not programs and "direct" not in (_callers(tool) or []):
            raise UserError(
                f"Tool {_label(tool)!r} is for programs only, so it needs a "
                "ProgrammaticToolCallingTool() among the tools."
            )
    if programs and not (programmatic or searches or has_prompt):
        raise UserError(
            "ProgrammaticToolCallingTool() has nothing to call: give a tool "
            "allowed_callers=['programmatic']."
        )


def _is_deferred(tool: Tool) -> bool:
    if isinstance(tool, HostedMCPTool):
        return bool(tool.tool_config.get("defer_loading"))
    return isinstance(tool, FunctionTool) and bool(
        getattr(tool, "defer_loading", False)
    )


def _is_searched(tool: Tool) -> bool:
    return _is_deferred(tool) or namespace_of(tool) is not None


def _callers(tool: Tool) -> list[str] | None:
    if isinstance(tool, HostedMCPTool | CodeInterpreterTool):
        config: dict[str, Any] = dict(tool.tool_config)
        return config.get("allowed_callers")
    return getattr(tool, "allowed_callers", None)


def _label(tool: Tool) -> str:
    if isinstance(tool, HostedMCPTool):
        return str(tool.tool_config.get("server_label") or tool.name)
    return tool.name


def _payload(tool: Tool) -> dict[str, Any]:
    if isinstance(tool, WebSearchTool):
        return _web_search(tool)
    if isinstance(tool, FileSearchTool):
        return _file_search(tool)
    if isinstance(
        tool, HostedMCPTool | CodeInterpreterTool | ImageGenerationTool | CustomTool
    ):
        return dict(tool.tool_config)
    if isinstance(tool, ShellTool):
        callers = only_set({"allowed_callers": tool.allowed_callers})
        return {"type": "shell", "environment": tool.environment, **callers}
    if isinstance(tool, ApplyPatchTool):
        callers = only_set({"allowed_callers": tool.allowed_callers})
        return {"type": "apply_patch", **callers}
    if isinstance(tool, LocalShellTool):
        return {"type": "local_shell"}
    if isinstance(tool, ToolSearchTool):
        told = only_set(
            {
                "description": tool.description,
                "execution": tool.execution,
                "parameters": tool.parameters,
            }
        )
        return {"type": "tool_search", **told}
    if isinstance(tool, ProgrammaticToolCallingTool):
        return {"type": "programmatic_tool_calling"}
    return _function(tool)


def _function(tool: FunctionTool) -> dict[str, Any]:
    if not isinstance(tool, FunctionTool):
        raise UserError(f"{tool!r} is no tool that a model can be offered.")
    optional = {
        "defer_loading": getattr(tool, "defer_loading", False) or None,
        "allowed_callers": getattr(tool, "allowed_callers", None),
        "output_schema": getattr(tool, "output_json_schema", None),
    }
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.params_json_schema,
        "strict": tool.strict_json_schema,
        **only_set(optional),
    }


def _handoff(handoff: Any) -> dict[str, Any]:
    return {
        "type": "function",
        "name": handoff.tool_name,
        "description": handoff.tool_description,
        "parameters": handoff.input_json_schema,
        "strict": handoff.strict_json_schema,
    }


def _web_search(tool: WebSearchTool) -> dict[str, Any]:
    optional = {
        "external_web_access": tool.external_web_access,
        "search_content_types": tool.search_content_types,
        "image_settings": tool.image_settings,
    }
    return {
        "type": "web_search",
        "filters": tool.filters.model_dump() if tool.filters is not None else None,
        "user_location": tool.user_location,
        "search_context_size": tool.search_context_size,
        **only_set(optional),
    }


def _file_search(tool: FileSearchTool) -> dict[str, Any]:
    most = tool.max_num_results
    whole = isinstance(most, int) and not isinstance(most, bool)
    if most is not None and not (whole and 0 <= most <= _MOST_FILE_RESULTS):
        raise UserError(
            f"max_num_results={most!r} of a FileSearchTool must be 1 to "
            f"{_MOST_FILE_RESULTS}, or None."
        )
    optional = {
        "max_num_results": most or None,
        "ranking_options": tool.ranking_options or None,
        "filters": tool.filters or None,
    }
    return {
        "type": "file_search",
        "vector_store_ids": tool.vector_store_ids,
        **only_set(optional),
    }


def _wishes(tool: Tool) -> list[str]:
    if isinstance(tool, FileSearchTool) and tool.include_search_results:
        return ["file_search_call.results"]
    if isinstance(tool, WebSearchTool) and "image" in (tool.search_content_types or []):
        return ["web_search_call.results"]
    return []
