"""Ready-made filters of what the next agent reads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..digest import JSONObject
from .handoff import HandoffInputData

if TYPE_CHECKING:
    from ..items import RunItem

# By form, so that a kind of tool that servers add later is taken out as well.
_TOOL_TYPE = re.compile(
    r".*_call(_output)?|(mcp|tool_search)_.*|reasoning|program(_output)?"
)
_TOOL_ITEM = re.compile(r"(tool|handoff|mcp|reasoning)_.*item")


def remove_all_tools(handoff_input_data: HandoffInputData) -> HandoffInputData:
    """Return the data without calls, their outputs, handoffs, approvals and reasoning.

    Reasoning goes too: a model's server refuses it without the call it led to.
    """
    data = handoff_input_data
    history = data.input_history
    return data.clone(
        input_history=(
            history
            if isinstance(history, str)
            else tuple(item for item in history if not _is_tool(item))
        ),
        pre_handoff_items=_without_tools(data.pre_handoff_items),
        new_items=_without_tools(data.new_items),
        input_items=(
            None if data.input_items is None else _without_tools(data.input_items)
        ),
    )


def _without_tools(items: tuple[RunItem, ...]) -> tuple[RunItem, ...]:
    return tuple(
        item
        for item in items
        if not _TOOL_ITEM.fullmatch(item.type) and not _is_tool(item.raw)
    )


def _is_tool(item: JSONObject) -> bool:
    return _TOOL_TYPE.fullmatch(str(item.get("type"))) is not None
