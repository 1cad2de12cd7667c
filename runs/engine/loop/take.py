"""Taking in the model's answer: its items, the calls it asks for, its last words."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..calls import (
    CALLED_HERE,
    HOSTED_MCP_REVIEW,
    Call,
    CallKind,
    Review,
    Verdict,
    VerdictKind,
    key_of,
)
from ..digest import JSONObject, call_digest
from ..errors import ModelBehaviorError, ModelRefusalError
from ..events import ItemEventName, RunItemStreamEvent
from ..handoffs.handoff import Handoff
from ..hosted.hosted_tools import HostedMCPTool, LocalTool, Tool
from ..hosted.local_tools import local_tool_of
from ..items import (
    CompactionItem,
    HandoffCallItem,
    MCPApprovalRequestItem,
    MCPListToolsItem,
    MessageOutputItem,
    OtherItem,
    ReasoningItem,
    RunItem,
    ToolCallItem,
    ToolSearchCallItem,
    ToolSearchOutputItem,
    name_called,
    plain_item,
)
from ..models.interface import ModelResponse
from ..state.guardrail_log import result_to_json
from ..state.run_state import RunState
from ..tools.tool import FunctionTool, tools_by_name
from ..tools.tool_guardrails import run_tool_input_guardrails
from .answer import Answer, answer_in
from .conclude import needs_nothing_more
from .drive import Drive
from .failure import handled
from .local_calls import decided_in_code
from .tool_contexts import tool_context

_ITEM_TYPES: dict[str, tuple[type[RunItem], ItemEventName]] = {
    "message": (MessageOutputItem, "message_output_created"),
    "reasoning": (ReasoningItem, "reasoning_item_created"),
    "function_call": (ToolCallItem, "tool_called"),
    "mcp_approval_request": (MCPApprovalRequestItem, "mcp_approval_requested"),
    "mcp_list_tools": (MCPListToolsItem, "mcp_list_tools"),
    "tool_search_call": (ToolSearchCallItem, "tool_search_called"),
    "tool_search_output": (ToolSearchOutputItem, "tool_search_output_created"),
    "compaction": (CompactionItem, "other_item_created"),
}
_TEXTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(CALLED_HERE, ("call_id",)),
    "function_call": ("call_id", "name", "arguments"),
    "mcp_approval_request": ("id", "name", "arguments"),
}
_HANDOFF: tuple[type[RunItem], ItemEventName] = (HandoffCallItem, "handoff_requested")
_TOOL: tuple[type[RunItem], ItemEventName] = (ToolCallItem, "tool_called")
_OTHER: tuple[type[RunItem], ItemEventName] = (OtherItem, "other_item_created")


async def take_answer(
    run: Drive,
    response: ModelResponse,
    tools: Sequence[Tool],
    handoffs: Sequence[Handoff[Any, Any]],
) -> None:
    """Store the answer, and with it the requests its gated calls open."""
    state = run.state
    names = {handoff.tool_name for handoff in handoffs}
    made = [_item(run, plain_item(raw), names) for raw in response.output]
    made = _without_repeats(state, made)
    items = [item for item, _ in made]
    calls, verdicts = await run.unless_stopped(_calls(run, items, tools))
    only_repeats = response.output and not items
    answer, fault = (None, None) if calls or only_repeats else _answer(run, items)
    async with run.storing() as entries:
        state.open_calls(calls)
        for key, verdict in verdicts.items():
            state.open[key].verdict = verdict
        entries += [state.add(item) for item in items]
        entries.append(state.add_response(response, len(items)))
        if state.server is not None:
            state.server.note_answer(state, response.response_id)
        state.answer = answer
        if answer is not None and needs_nothing_more(run):
            state.finish(answer.output)
    await _tell(run, made, [call for call in calls if call.key not in verdicts])
    if fault is not None:
        refused = isinstance(fault, ModelRefusalError)
        await handled(
            run, "model_refusal" if refused else "invalid_final_output", fault
        )


async def _tell(
    run: Drive, made: Sequence[tuple[RunItem, ItemEventName]], undecided: Sequence[Call]
) -> None:
    for item, name in made:
        if not isinstance(item, CompactionItem):
            await run.emit(RunItemStreamEvent(name, item))
    for call in undecided:
        if call.gated:
            asked = run.state.approval_item(call)
            await run.announce(RunItemStreamEvent("approval_requested", asked))


def _item(
    run: Drive, raw: JSONObject, handoffs: Collection[str]
) -> tuple[RunItem, ItemEventName]:
    """Return the item that `raw` is, and the name of its event.

    Raises ModelBehaviorError when a call lacks what it is known or judged by.
    """
    for field in _TEXTS.get(str(raw.get("type")), ()):
        if not isinstance(raw.get(field), str):
            raise ModelBehaviorError(
                f"The model's {raw['type']} has no text for its {field}."
            )
    kind, name = _kind(raw, handoffs)
    return kind(
        run.state.current_agent, raw, call_key=_key(run.state.frame, kind, raw)
    ), name


def _kind(
    raw: JSONObject, handoffs: Collection[str]
) -> tuple[type[RunItem], ItemEventName]:
    kind = str(raw.get("type"))
    if kind == "function_call" and raw.get("name") in handoffs:
        return _HANDOFF
    if kind in _ITEM_TYPES:
        return _ITEM_TYPES[kind]
    return _TOOL if kind.endswith("_call") else _OTHER


def _key(frame: str, kind: type[RunItem], raw: JSONObject) -> str:
    asks = kind in (HandoffCallItem, MCPApprovalRequestItem)
    return (
        key_of(frame, _call_id(raw)) if asks or raw.get("type") in CALLED_HERE else ""
    )


def _without_repeats(
    state: RunState[Any], made: list[tuple[RunItem, ItemEventName]]
) -> list[tuple[RunItem, ItemEventName]]:
    """Leave out calls that repeat one of the same id, tool and arguments.

    Raises ModelBehaviorError when the id is repeated for anything else.
    """
    kept: list[tuple[RunItem, ItemEventName]] = []
    new: dict[str, RunItem] = {}
    for item, name in made:
        if not item.call_key:
            kept.append((item, name))
            continue
        before = new.get(item.call_key) or state.call_item(item.call_key)
        if before is None:
            new[item.call_key] = item
            kept.append((item, name))
        elif _asks_for(before) != _asks_for(item):
            call_id = _call_id(item.raw)
            raise ModelBehaviorError(
                f"The model used call id {call_id!r} again, for another call "
                f"({item.raw.get('name')}); every call needs an id of its own."
            )
    return kept


_WHAT_IS_ASKED = (
    "type", "namespace", "name", "server_label", "arguments", "input", "action",
    "operation", "operations", "caller",
)  # fmt: skip
"""What makes a call the one it is, of every type; the rest is its server's."""


def _asks_for(item: RunItem) -> tuple[Any, ...]:
    return tuple(item.raw.get(name) for name in _WHAT_IS_ASKED)


def _answer(
    run: Drive, items: Sequence[RunItem]
) -> tuple[Answer | None, ModelBehaviorError | ModelRefusalError | None]:
    try:
        return answer_in(run.state.current_agent, items), None
    except (ModelBehaviorError, ModelRefusalError) as error:
        return None, error


async def _calls(
    run: Drive, items: Sequence[RunItem], tools: Sequence[Tool]
) -> tuple[list[Call], dict[str, Verdict]]:
    """Return the calls that `items` ask for, and what is settled about some already."""
    by_name = tools_by_name(tools)
    calls: list[Call] = []
    verdicts: dict[str, Verdict] = {}
    for item in items:
        if isinstance(item, HandoffCallItem):
            calls.append(_call(run, item, CallKind.HANDOFF))
        elif isinstance(item, MCPApprovalRequestItem):
            calls.append(_mcp_call(run, item, tools))
        elif local := local_tool_of(tools, item.raw):
            call, verdict = await _local_call(run, item, local)
            calls.append(call)
            if verdict is not None:
                verdicts[call.key] = verdict
        elif isinstance(item, ToolCallItem) and item.raw.get("type") == "function_call":
            item.tool = by_name.get(name_called(item.raw))
            call = await _function_call(run, item, by_name)
            calls.append(call)
            if call.gated and (text := await _refused_before(run, call, by_name)):
                verdicts[call.key] = Verdict(kind=VerdictKind.REJECT, message=text)
    return calls, verdicts


async def _function_call(
    run: Drive, item: RunItem, tools: Mapping[str, FunctionTool]
) -> Call:
    """Return the call of a tool, and whether a person must approve it."""
    name, arguments = name_called(item.raw), str(item.raw["arguments"])
    tool = tools.get(name)
    if tool is None:
        if run.config.tool_not_found_behavior == "raise_error":
            raise ModelBehaviorError(
                f"The model called {name!r}, which is no tool of "
                f"{run.state.current_agent.name!r}."
            )
        return _call(run, item, CallKind.FUNCTION)
    call_id = str(item.raw.get("call_id") or "")
    gated, why = await tool.gate(run.state.context, arguments, call_id)
    return _call(
        run,
        item,
        CallKind.AGENT if tool.agent_tool else CallKind.FUNCTION,
        schema_hash=tool.schema_hash,
        gated=gated,
        why=why if gated else "",
        review=tool.review,
        parameters=tool.params_json_schema,
    )


async def _local_call(
    run: Drive, item: RunItem, tool: LocalTool
) -> tuple[Call, Verdict | None]:
    """Return the call, and its verdict where the tool's own code gives one."""
    gated, why = await tool.gate(run.state.context, item.raw)
    named = {"name": tool.name, "arguments": tool.arguments(item.raw)}
    call = _call(run, item, CallKind.LOCAL, gated=gated, why=why, named=named)
    if not gated:
        return call, None
    said = await decided_in_code(run, tool, item, call)
    if said is True:
        return dataclasses.replace(call, gated=False, why=""), None
    if isinstance(said, str):
        return call, Verdict(kind=VerdictKind.REJECT, message=said)
    return call, None


def _mcp_call(run: Drive, item: RunItem, tools: Sequence[Tool]) -> Call:
    server = hosted_server(tools, item.raw)
    decides_itself = server is not None and server.on_approval_request is not None
    label = item.raw.get("server_label") or "an MCP server"
    why = "" if decides_itself else f"{label} may be called only when it is approved."
    return _call(
        run,
        item,
        CallKind.HOSTED_MCP,
        gated=not decides_itself,
        why=why,
        review=HOSTED_MCP_REVIEW,
    )


def hosted_server(tools: Sequence[Tool], raw: JSONObject) -> HostedMCPTool | None:
    """Return the hosted server that an approval request is about."""
    for tool in tools:
        if not isinstance(tool, HostedMCPTool):
            continue
        if tool.tool_config.get("server_label") == raw.get("server_label"):
            return tool
    return None


def _call(
    run: Drive,
    item: RunItem,
    kind: CallKind,
    *,
    schema_hash: str = "",
    gated: bool = False,
    why: str = "",
    review: Review | None = None,
    parameters: JSONObject | None = None,
    named: JSONObject | None = None,
) -> Call:
    raw, path = item.raw, run.state.agent_path
    asked = named or raw
    name, arguments = name_called(asked), str(asked["arguments"])
    if kind is CallKind.HOSTED_MCP:
        # Which server runs it is part of what is approved.
        path = f"{path} / {raw.get('server_label') or ''}"
    return Call(
        key=item.call_key,
        call_id=_call_id(raw),
        tool=name,
        agent_path=path,
        arguments=arguments,
        schema_hash=schema_hash,
        digest=call_digest(
            tool=name, schema_hash=schema_hash, agent_path=path, arguments=arguments
        ),
        kind=kind,
        gated=gated,
        why=why,
        review=review or Review(),
        parameters=parameters,
    )


def _call_id(raw: JSONObject) -> str:
    # A function call has an id of its item too, which is not the call's.
    name = "id" if raw.get("type") == "mcp_approval_request" else "call_id"
    return str(raw.get(name) or "")


async def _refused_before(
    run: Drive, call: Call, tools: Mapping[str, FunctionTool]
) -> str | None:
    """Return what a guardrail tells the model before a person is asked, if it does."""
    how = run.config.tool_execution
    if how is None or not how.pre_approval_tool_input_guardrails:
        return None
    tool = tools[call.tool]
    if not tool.tool_input_guardrails:
        return None
    context = tool_context(run, call)
    results: list[Any] = []
    text = await run_tool_input_guardrails(
        tool, context, run.state.current_agent, results
    )
    async with run.storing() as entries:
        for result in results:
            run.state.guardrails.tool_input.append(result)
            written = result_to_json("tool_input", result)
            entries.append(run.state.log_entry("guardrail", written, call.key))
    return text
