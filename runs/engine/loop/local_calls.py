"""Calls of tools that have a form of their own and run here: shells, patches, text."""

from __future__ import annotations

import asyncio
from typing import Any

from ..callbacks import called
from ..calls import Call, Outcome, OutcomeKind
from ..cancel import is_leaked_cancel
from ..context import ToolContext
from ..digest import JSONObject
from ..errors import RunInterrupted
from ..hosted.hosted_tools import LocalTool
from ..hosted.local_tools import LocalOutput, local_tool_of, told_of
from ..items import RunItem
from ..tools.invoke import STOPPED
from .drive import Drive
from .run_tool import CallEnded
from .spans import tool_span
from .tool_contexts import tool_context


async def decided_in_code(
    run: Drive, tool: LocalTool, item: RunItem, call: Call
) -> bool | str:
    """Return True to let a gated call run unasked, a text to refuse it, or False.

    The tool's own `on_approval` says so, where it has one.
    """
    on_approval = getattr(tool, "on_approval", None)
    if on_approval is None:
        return False
    asked = run.state.approval_item_of(item, call)
    said = await called("on_approval", on_approval, run.state.context, asked)
    if said["approve"] is True:
        return True
    return str(said.get("reason") or "The program rejected this call; it was not run.")


async def run_local(run: Drive, call: Call, raw: JSONObject, key: str) -> CallEnded:
    """Return how the call ended that `raw` asks for."""
    state = run.state
    tools = await state.current_agent.get_all_tools(state.context)
    tool = local_tool_of(tools, raw)
    if tool is None:
        text = f"There is no tool {call.tool!r} any more."
        return CallEnded(outcome=Outcome(kind=OutcomeKind.INVALID, output=text))
    if tool.arguments(raw) != call.arguments or (tool.always_asks and not call.gated):
        text = f"{call.tool} has changed since it was called; call it again."
        return CallEnded(outcome=Outcome(kind=OutcomeKind.INVALID, output=text))
    context = tool_context(run, call, idempotency_key=key)
    with tool_span(run, call) as span:
        ended = await _answered(run, tool, context, raw)
        span.ended(ended.outcome)
        return ended


async def _answered(
    run: Drive, tool: LocalTool, context: ToolContext[Any], raw: JSONObject
) -> CallEnded:
    agent = run.state.current_agent
    try:
        await run.own_hooks.tool_start(context, agent, tool)
        output = await tool.answer(context, raw)
        await run.own_hooks.tool_end(context, agent, tool, output.text)
        return _ended(output)
    except RunInterrupted:
        raise
    except asyncio.CancelledError as error:
        if not is_leaked_cancel() and not run.control.stopping.is_set():
            raise
        kind = OutcomeKind.FAILED if is_leaked_cancel() else OutcomeKind.UNKNOWN
        text = str(error) if is_leaked_cancel() else STOPPED
        return CallEnded(outcome=Outcome(kind=kind, output=text))
    except Exception as error:
        outcome = Outcome(kind=OutcomeKind.FAILED, output=told_of(error))
        return CallEnded(outcome=outcome)


def _ended(output: LocalOutput) -> CallEnded:
    kind = OutcomeKind.FAILED if output.failed else OutcomeKind.SUCCEEDED
    data = dict(output.custom_data) if output.custom_data else None
    return CallEnded(
        outcome=Outcome(kind=kind, output=output.text),
        item=output.item,
        custom_data=data,
    )


def output_for(run: Drive, call_raw: JSONObject, outcome: Outcome) -> JSONObject | None:
    """Return the output item of a local call that did not run, or ran before."""
    tool = local_tool_of(run.state.current_agent.tools, call_raw)
    if tool is None:
        return None
    failed = outcome.kind is not OutcomeKind.SUCCEEDED
    return tool.output_item(call_raw, str(outcome.output), failed=failed)
