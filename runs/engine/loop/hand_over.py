"""Handing over: another agent goes on with the run, and reads what a filter lets it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ..agent import Agent
from ..calls import OpenCall
from ..config import RunConfig
from ..errors import ModelBehaviorError, UserError
from ..events import AgentUpdatedStreamEvent, RunItemStreamEvent
from ..handoffs.handoff import Handoff, HandoffInputData, as_handoff, next_input
from ..items import HandoffOutputItem, ToolCallOutputItem, input_items
from ..state.view import View
from .conclude import turn_items
from .drive import Drive
from .spans import handoff_span_of

logger = logging.getLogger(__name__)

IGNORED = "Only one agent can take over; this handoff was ignored."


async def hand_over(run: Drive) -> None:
    """Let the first handoff of an answer happen, once its other calls are settled."""
    state = run.state
    if not state.open or not state.only_handoffs():
        return
    first, *others = list(state.open.values())
    name = state.renamed_tools.get(first.call.tool, first.call.tool)
    handoff = _handoff(state.current_agent, name)
    with handoff_span_of(
        run, [open_call.call.tool for open_call in (first, *others)]
    ) as span:
        try:
            target = await run.unless_stopped(
                handoff.on_invoke_handoff(state.context, first.call.arguments)
            )
        except ModelBehaviorError as error:
            await _answer(run, [first, *others], f"The handoff failed: {error}")
            return
        span.handed_to(target.name)
        await _answer(run, others, IGNORED)
        await _switch(run, first, handoff, target)
    run.spans.end_agent()


def _handoff(agent: Agent[Any], tool_name: str) -> Handoff[Any, Any]:
    for given in agent.handoffs:
        handoff = as_handoff(given)
        if handoff.tool_name == tool_name:
            return handoff
    raise UserError(
        f"Agent {agent.name!r} has no handoff named {tool_name!r} any more; "
        "put it back."
    )


async def _answer(run: Drive, calls: Sequence[OpenCall], text: str) -> None:
    """Give handoffs that do not happen their output."""
    agent = run.state.current_agent
    for open_call in calls:
        call = open_call.call
        raw = {"type": "function_call_output", "call_id": call.call_id, "output": text}
        item = ToolCallOutputItem(agent, raw, text, call_key=call.key)
        async with run.storing() as entries:
            entries.append(run.state.close_call(call, item))
        await run.emit(RunItemStreamEvent("tool_output", item))


async def _switch(
    run: Drive, open_call: OpenCall, handoff: Handoff[Any, Any], target: Agent[Any]
) -> None:
    state, call = run.state, open_call.call
    source = state.current_agent
    raw = {
        "type": "function_call_output",
        "call_id": call.call_id,
        "output": handoff.get_transfer_message(target),
    }
    item = HandoffOutputItem(source, raw, source, target, call_key=call.key)
    hooks = run.own_hooks
    await run.unless_stopped(hooks.handoff(state.context, source, target))
    view = await _view(run, handoff, item)
    async with run.storing() as entries:
        entries.append(state.close_call(call, item))
        state.current_agent = target
        if view is not None:
            entries.append(state.show(view))
    run.agent_started = False
    await run.emit(RunItemStreamEvent("handoff_occured", item))
    await run.emit(AgentUpdatedStreamEvent(target))


async def _view(
    run: Drive, handoff: Handoff[Any, Any], output: HandoffOutputItem
) -> View | None:
    """Return what the next agent reads; None when that is everything."""
    config = run.config
    if run.state.server is not None:
        _check_server_keeps(handoff, config)
        return None
    data = _data(run, output)
    chosen = await run.unless_stopped(
        next_input(
            handoff,
            data,
            run_filter=config.handoff_input_filter,
            run_nests=config.nest_handoff_history,
            history_mapper=config.handoff_history_mapper,
        )
    )
    return None if chosen is data else _as_view(run, data, chosen)


def _check_server_keeps(handoff: Handoff[Any, Any], config: RunConfig) -> None:
    """Raise UserError when a filter would edit what only the server holds."""
    if handoff.input_filter or config.handoff_input_filter:
        raise UserError(
            "The model's server keeps this conversation, so a handoff cannot filter "
            "it; leave out the input filter, or conversation_id and "
            "previous_response_id."
        )
    if handoff.nest_handoff_history or config.nest_handoff_history:
        logger.warning("A server keeps the conversation; its history is not nested")


def _data(run: Drive, output: HandoffOutputItem) -> HandoffInputData:
    state = run.state
    new = turn_items(state)
    since = {id(item) for item in new}
    earlier = [item for item in state.transcript.shown if id(item) not in since]
    given = (
        state.given_input if state.transcript.view is None else state.transcript.base
    )
    return HandoffInputData(
        input_history=given if isinstance(given, str) else tuple(given),
        pre_handoff_items=tuple(earlier),
        new_items=(*new, output),
        run_context=state.context,
    )


def _as_view(run: Drive, data: HandoffInputData, chosen: HandoffInputData) -> View:
    """Return `chosen` as the view; what a result lists keeps its earlier turns."""
    new = chosen.new_items if chosen.input_items is None else chosen.input_items
    since = {id(item) for item in data.new_items}
    earlier = [item for item in run.state.new_items if id(item) not in since]
    return View(
        base=input_items(chosen.input_history),
        shown=[*chosen.pre_handoff_items, *new],
        listed=[*earlier, *chosen.new_items],
    )
