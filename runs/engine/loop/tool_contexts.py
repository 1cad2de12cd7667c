"""The context that code about one call is given."""

from __future__ import annotations

from typing import Any

from ..calls import Call
from ..context import ToolContext
from .drive import Drive


def tool_context(
    run: Drive, call: Call, *, idempotency_key: str = ""
) -> ToolContext[Any]:
    """Return the context of `call`, with the arguments that it runs with."""
    state = run.state
    item = state.call_item(call.key)
    return ToolContext(
        context=state.context.context,
        usage=state.usage,
        turn_input=state.context.turn_input,
        tool_input=state.context.tool_input,
        _state=state,
        tool_name=call.tool,
        tool_call_id=call.call_id,
        tool_arguments=call.runs,
        tool_call=item.raw_item if item else None,
        tool_namespace=item.raw.get("namespace") if item else None,
        agent=state.current_agent,
        run_config=run.config,
        idempotency_key=idempotency_key or f"{state.run_id}:{call.key}",
    )
