"""A server's tools as tools of an agent."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, TypeVar

from ..cancel import is_leaked_cancel
from ..context import RunContextWrapper, ToolContext
from ..digest import JSONObject, MalformedArguments, parse_arguments
from ..errors import AgentsException, MCPToolCancellationError, UserError
from ..tools.custom_data import FunctionToolCustomDataContext
from ..tools.strict_schema import ensure_strict_json_schema
from ..tools.tool import (
    FunctionTool,
    InvalidToolArguments,
    ToolErrorFunction,
    default_tool_error_function,
    settled,
)
from ..tools.tool_origin import ToolOrigin, ToolOriginType
from ..tracing import FunctionSpanData, get_current_span, mcp_tools_span
from .approval import needs_approval
from .errors import public_name
from .names import model_name, prefixed_names
from .outputs import custom_data, read_only, tool_output
from .package import CallToolResult, MCPTool
from .server import (
    MCPServer,
    MCPToolCustomDataContext,
    MCPToolMetaContext,
    Unset,
)

if TYPE_CHECKING:
    from ..agent import Agent

T = TypeVar("T")

logger = logging.getLogger(__name__)

MAX_OFFERED = 1_000
"""Tools of one server for one agent; model APIs take far fewer."""

CUSTOM_DATA = "_custom_data"
"""The attribute of a ToolContext that holds a call's data until its output is kept."""


class MCPUtil:
    """Makes function tools of servers' tools."""

    @classmethod
    async def get_all_function_tools(
        cls,
        servers: list[MCPServer],
        convert_schemas_to_strict: bool,
        run_context: RunContextWrapper[Any],
        agent: Agent[Any],
        failure_error_function: ToolErrorFunction | None = default_tool_error_function,
        include_server_in_tool_names: bool = False,
        reserved_tool_names: set[str] | None = None,
    ) -> list[FunctionTool]:
        """Return the tools of all servers, in their order.

        `failure_error_function` is for servers that have none of their own. With
        `include_server_in_tool_names` a tool is `mcp_<server>__<tool>`, and no name is
        one of `reserved_tool_names`. Raises UserError for equal names, and what listing
        raises.
        """
        listed = [
            (server, tool)
            for server in servers
            for tool in await _listed(server, run_context, agent)
        ]
        names = [model_name(tool.name) for _, tool in listed]
        if include_server_in_tool_names:
            names = _prefixed(listed, reserved_tool_names or set())
        _check_different(listed, names)
        return [
            cls.to_function_tool(
                tool,
                owner,
                convert_schemas_to_strict,
                agent,
                failure_error_function,
                name,
            )
            for (owner, tool), name in zip(listed, names, strict=True)
        ]

    @classmethod
    async def get_function_tools(
        cls,
        server: MCPServer,
        convert_schemas_to_strict: bool,
        run_context: RunContextWrapper[Any],
        agent: Agent[Any],
        failure_error_function: ToolErrorFunction | None = default_tool_error_function,
        include_server_in_tool_names: bool = False,
        tool_name_override: Callable[[MCPTool], str] | None = None,
        reserved_tool_names: set[str] | None = None,
    ) -> list[FunctionTool]:
        """Return one server's tools; `tool_name_override` gives each its name."""
        listed = [(server, t) for t in await _listed(server, run_context, agent)]
        if tool_name_override is not None:
            names = [tool_name_override(tool) for _, tool in listed]
        elif include_server_in_tool_names:
            names = _prefixed(listed, reserved_tool_names or set())
        else:
            names = [model_name(tool.name) for _, tool in listed]
        _check_different(listed, names)
        return [
            cls.to_function_tool(
                tool,
                owner,
                convert_schemas_to_strict,
                agent,
                failure_error_function,
                name,
            )
            for (owner, tool), name in zip(listed, names, strict=True)
        ]

    @classmethod
    def to_function_tool(
        cls,
        tool: MCPTool,
        server: MCPServer,
        convert_schemas_to_strict: bool,
        agent: Agent[Any] | None = None,
        failure_error_function: ToolErrorFunction | None = default_tool_error_function,
        tool_name_override: str | None = None,
    ) -> FunctionTool:
        """Return the tool of an agent that calls `tool` on `server`.

        Without `agent`, a callable `require_approval` asks for every call. A schema
        that cannot be made strict stays as it is. Raises UserError for a schema that is
        not of an object.
        """
        name = tool_name_override or model_name(tool.name)
        schema, is_strict = _parameters(tool, server, convert_schemas_to_strict)
        own = server.failure_error_function

        async def invoke(ctx: ToolContext[Any], arguments: str) -> Any:
            return await cls.invoke_mcp_tool(
                server,
                tool,
                ctx,
                arguments,
                meta=copy.deepcopy(tool.meta),
                tool_display_name=name,
            )

        return FunctionTool(
            name=name,
            description=_description(tool),
            params_json_schema=schema,
            on_invoke_tool=invoke,
            strict_json_schema=is_strict,
            needs_approval=needs_approval(server.approval_policy, tool, agent),
            failure_error_function=(
                failure_error_function if isinstance(own, Unset) else own
            ),
            tool_input_guardrails=_copied(server.tool_input_guardrails),
            tool_output_guardrails=_copied(server.tool_output_guardrails),
            custom_data_extractor=_kept_data if server.custom_data_extractor else None,
            origin=ToolOrigin(ToolOriginType.MCP, public_name(server.name)),
            title=tool.title or getattr(tool.annotations, "title", None),
            mcp_annotations=copy.deepcopy(tool.annotations),
        )

    @classmethod
    async def invoke_mcp_tool(
        cls,
        server: MCPServer,
        tool: MCPTool,
        context: RunContextWrapper[Any],
        input_json: str,
        *,
        meta: JSONObject | None = None,
        tool_display_name: str | None = None,
    ) -> Any:
        """Call the tool and return the output for the model; see `tool_output`.

        A result that the server marks as an error is an output too. Raises
        InvalidToolArguments, MCPServerUnavailable, MCPToolCancellationError, the
        package's MCPError when the server refuses, AgentsException for all else.
        """
        name = tool_display_name or tool.name
        try:
            arguments = parse_arguments(input_json or "{}")
        except MalformedArguments as error:
            raise InvalidToolArguments(str(error)) from error
        result = await _called(server, tool, context, arguments, meta)
        output = tool_output(
            result, use_structured_content=server.use_structured_content
        )
        if server.custom_data_extractor is not None and isinstance(
            context, ToolContext
        ):
            finished = MCPToolCustomDataContext(
                run_context=context,
                server_name=server.name,
                tool_name=tool.name,
                tool_display_name=name,
                arguments=read_only(arguments) or {},
                result_meta=read_only(result.meta),
                structured_content=read_only(result.structured_content),
                is_error=result.is_error,
                tool_output=copy.deepcopy(output),
            )
            data = await custom_data(server.custom_data_extractor, finished)
            setattr(context, CUSTOM_DATA, data)
        span = get_current_span()
        if span is not None and isinstance(span.span_data, FunctionSpanData):
            span.span_data.mcp_data = {"server": public_name(server.name)}
        return output


async def _listed(
    server: MCPServer, run_context: RunContextWrapper[Any], agent: Agent[Any]
) -> list[MCPTool]:
    with mcp_tools_span(server=public_name(server.name)) as span:
        tools = await server.list_tools(run_context, agent)
        span.span_data.result = [tool.name for tool in tools]
    if len(tools) > MAX_OFFERED:
        raise UserError(
            f"MCP server {public_name(server.name)!r} offers {len(tools):,} tools; "
            f"choose at most {MAX_OFFERED:,} with a tool_filter."
        )
    names = [tool.name for tool in tools]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise UserError(
            f"MCP server {public_name(server.name)!r} lists several tools named "
            f"{', '.join(map(repr, twice))}; leave them out with a tool_filter."
        )
    return tools


def _prefixed(
    listed: list[tuple[MCPServer, MCPTool]], reserved: Collection[str]
) -> list[str]:
    return prefixed_names([(s.name, tool.name) for s, tool in listed], reserved)


def _check_different(listed: list[tuple[MCPServer, MCPTool]], names: list[str]) -> None:
    owners: dict[str, list[str]] = {}
    for (server, _), name in zip(listed, names, strict=True):
        owners.setdefault(name, []).append(public_name(server.name))
    clashes = [f"{name!r} ({', '.join(s)})" for name, s in owners.items() if s[1:]]
    if clashes:
        raise UserError(
            f"Duplicate tool names found across MCP servers: {'; '.join(clashes)}. Set "
            "mcp_config={'include_server_in_tool_names': True} on the agent, or leave "
            "tools out with a tool_filter."
        )


def _description(tool: MCPTool) -> str:
    titles = (tool.description, tool.title, getattr(tool.annotations, "title", None))
    return next((text for text in titles if text), "")


def _parameters(
    tool: MCPTool, server: MCPServer, convert_to_strict: bool
) -> tuple[JSONObject, bool]:
    """Return the parameters' schema, and whether it is strict."""
    schema = copy.deepcopy(tool.input_schema)
    # MCP may leave out what model APIs need.
    schema.setdefault("type", "object")
    schema.setdefault("properties", {})
    if schema["type"] != "object" or not isinstance(schema["properties"], dict):
        raise UserError(
            f"Tool {tool.name!r} of MCP server {public_name(server.name)!r} takes "
            f"{schema['type']!r}, not an object; leave it out with a tool_filter."
        )
    if not convert_to_strict:
        return schema, False
    try:
        # A tool described by nothing at all takes nothing; any other may take any keys.
        is_described = bool(tool.input_schema)
        return ensure_strict_json_schema(schema, reject_open_objects=is_described), True
    except Exception as error:  # a hostile schema may fail it in any way
        logger.info(
            "An MCP tool's schema cannot be strict",
            extra={"tool": tool.name, "why": f"{type(error).__name__}: {error}"},
        )
        return schema, False


def _kept_data(call: FunctionToolCustomDataContext) -> JSONObject | None:
    data: JSONObject | None = getattr(call.tool_context, CUSTOM_DATA, None)
    return data


def _copied(items: list[T] | None) -> list[T] | None:
    return None if items is None else list(items)


async def _called(
    server: MCPServer,
    tool: MCPTool,
    context: RunContextWrapper[Any],
    arguments: JSONObject,
    meta: JSONObject | None,
) -> CallToolResult:
    where = f"tool {tool.name!r} of MCP server {public_name(server.name)!r}"
    try:
        sent = _merged(await _resolved_meta(server, tool, context, arguments), meta)
        if sent is None:
            return await server.call_tool(tool.name, arguments)
        return await server.call_tool(tool.name, arguments, meta=sent)
    except asyncio.CancelledError as error:
        if not is_leaked_cancel():
            raise
        raise MCPToolCancellationError(f"The call of {where} was cancelled.") from error
    except AgentsException:
        raise
    except Exception as error:
        if _is_answer(error):
            raise
        raise AgentsException(
            f"Calling {where} failed: {type(error).__name__}: {error}"
        ) from error


def _is_answer(error: Exception) -> bool:
    """Say whether the server itself answered with this error."""
    return any(kind.__name__ == "MCPError" for kind in type(error).__mro__)


async def _resolved_meta(
    server: MCPServer,
    tool: MCPTool,
    context: RunContextWrapper[Any],
    arguments: JSONObject,
) -> JSONObject | None:
    if server.tool_meta_resolver is None:
        return None
    asked = MCPToolMetaContext(
        run_context=context,
        server_name=server.name,
        tool_name=tool.name,
        arguments=copy.deepcopy(arguments),
    )
    meta: JSONObject | None = await settled(server.tool_meta_resolver(asked))
    if meta is not None and not isinstance(meta, dict):
        raise TypeError(
            f"The tool_meta_resolver gave {type(meta).__name__}; it must be a dict."
        )
    return meta


def _merged(resolved: JSONObject | None, own: JSONObject | None) -> JSONObject | None:
    """Return both together; what the tool itself was listed with wins."""
    if resolved is None and own is None:
        return None
    return copy.deepcopy({**(resolved or {}), **(own or {})})
