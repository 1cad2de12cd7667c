"""Data of the program's own, kept with a tool's output and never sent to the model."""

from __future__ import annotations

import copy
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..callbacks import called
from ..context import ToolContext
from ..digest import JSONObject
from ..errors import UserError
from .tool import FunctionTool


@dataclass(frozen=True)
class FunctionToolCustomDataContext:
    """What a `custom_data_extractor` is given."""

    tool_context: ToolContext[Any]
    tool: FunctionTool
    output: Any
    """What the tool returned, after its output guardrails."""
    raw_item: Mapping[str, Any]
    """A copy of the `function_call_output` that the model is sent."""


FunctionToolCustomDataExtractor: TypeAlias = Callable[
    [FunctionToolCustomDataContext],
    Mapping[str, Any] | Awaitable[Mapping[str, Any] | None] | None,
]


async def custom_data_of(
    tool: FunctionTool,
    context: ToolContext[Any],
    output: Any,
    raw_item: Mapping[str, Any],
) -> JSONObject | None:
    """Return what `tool` wants kept with this output; None when that is nothing.

    Raises UserError when that is no mapping of texts to JSON.
    """
    if tool.custom_data_extractor is None:
        return None
    given = FunctionToolCustomDataContext(
        context, tool, output, copy.deepcopy(raw_item)
    )
    what = f"The custom_data_extractor of {tool.name!r}"
    data = await called(what, tool.custom_data_extractor, given)
    if not data:
        return None
    try:
        if not isinstance(data, Mapping) or not all(
            isinstance(key, str) for key in data
        ):
            raise TypeError(f"{type(data).__name__} is no mapping of texts")
        plain: JSONObject = json.loads(json.dumps(dict(data), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(
            f"The custom_data_extractor of {tool.name!r} returned what JSON cannot "
            f"hold: {error}."
        ) from error
    return plain
