"""What the model is told of a call's result, and what is kept beside it."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ..digest import JSONObject
from ..errors import UserError
from ..tools.tool import settled
from .package import CallToolResult
from .server import MCPToolCustomDataContext, MCPToolCustomDataExtractor

SILENT_FAILURE = "The tool failed and did not say why."


def tool_output(
    result: CallToolResult, *, use_structured_content: bool
) -> str | JSONObject | list[JSONObject]:
    """Return the output for the model: one part, a list of parts, or text.

    A part is `{"type": "text", "text": …}` or `{"type": "image", "image_url": …}` with
    a data URL; audio, resources and links are text that holds their JSON. Structured
    content, when asked for, is JSON text; an error's content blocks come before it,
    because they say what went wrong.
    """
    if use_structured_content and result.structured_content and not result.is_error:
        return json.dumps(result.structured_content)
    parts = [_part(block) for block in result.content]
    if result.is_error and not parts:
        return {"type": "text", "text": SILENT_FAILURE}
    return parts[0] if len(parts) == 1 else parts


def _part(block: Any) -> JSONObject:
    if block.type == "text":
        return {"type": "text", "text": block.text}
    if block.type == "image":
        url = f"data:{block.mime_type};base64,{block.data}"
        return {"type": "image", "image_url": url}
    return {"type": "text", "text": block.model_dump_json()}


async def custom_data(
    extractor: MCPToolCustomDataExtractor, context: MCPToolCustomDataContext
) -> JSONObject | None:
    """Return what the extractor gives, as JSON; None for nothing.

    Raises UserError when it gives anything else than a JSON object.
    """
    found = await settled(extractor(context))
    if not found:
        return None
    is_object = isinstance(found, Mapping) and all(
        isinstance(key, str) for key in found
    )
    try:
        data = (
            json.loads(json.dumps(dict(found), allow_nan=False)) if is_object else None
        )
    except (TypeError, ValueError):
        data = None
    if not isinstance(data, dict):
        raise UserError(
            f"The custom_data_extractor of MCP server {context.server_name!r} gave "
            f"{type(found).__name__} that is no JSON object."
        )
    return data


def read_only(value: JSONObject | None) -> Mapping[str, Any] | None:
    """Return a copy that nobody can write to, nor see change."""
    return None if value is None else MappingProxyType(copy.deepcopy(value))
