"""The end of a run: its answer passes the hooks and the guardrails."""

from __future__ import annotations

import logging
from typing import Any

from ..config import OutputGuardrailBlockedMessageArgs
from ..context import context_of
from ..errors import OutputGuardrailTripwireTriggered
from ..guardrails import run_output_guardrails
from ..items import ToolCallItem, ToolCallOutputItem, name_called
from ..state.guardrail_log import result_to_json
from ..state.run_state import RunState
from ..state.view import View
from ..tools.tool import FunctionToolResult, tools_by_name
from ..tools.tool_use import final_output_of
from .answer import Answer
from .drive import Drive
from .spans import guardrail_spans

logger = logging.getLogger(__name__)

BLOCKED = "A guardrail blocked the output of this tool."


def needs_nothing_more(run: Drive) -> bool:
    """Say whether the present agent's answer is final as it comes."""
    agent = run.state.current_agent
    checked = agent.output_guardrails or run.config.output_guardrails
    return not (checked or agent.hooks or run.hooks)


async def tools_answer(run: Drive) -> None:
    """Take the outputs of the turn's tools for the answer, where the agent says so."""
    state, agent = run.state, run.state.current_agent
    if agent.tool_use_behavior == "run_llm_again" or state.answer is not None:
        return
    results = await run.unless_stopped(_results(run))
    decided = await run.unless_stopped(
        final_output_of(agent.tool_use_behavior, state.context, results)
    )
    if not decided.is_final_output:
        return
    output = decided.final_output
    if agent.output_type in (None, str):
        output = str(output)
    async with run.storing():
        state.answer = Answer(output=output, from_tools=True)


async def _results(run: Drive) -> list[FunctionToolResult]:
    """Return what the calls of the last answer gave, in the order they were called."""
    state = run.state
    items = turn_items(state)
    outputs = {
        item.call_key: item for item in items if isinstance(item, ToolCallOutputItem)
    }
    if not outputs:
        return []
    found = await state.current_agent.get_all_tools(state.context)
    tools = tools_by_name(found)
    return [
        FunctionToolResult(
            tool=tools[name_called(item.raw)],
            output=outputs[item.call_key].output,
            run_item=outputs[item.call_key],
        )
        for item in items
        if isinstance(item, ToolCallItem)
        and item.call_key in outputs
        and name_called(item.raw) in tools
    ]


def turn_items(state: RunState[Any]) -> list[Any]:
    """Return the items since the model's last answer, that included."""
    start = state.responses[-1].get("at", 0) if state.responses else state.input_count
    return state.transcript.items[start:]


async def conclude(run: Drive) -> None:
    """Make the answer final. Raises OutputGuardrailTripwireTriggered instead."""
    state, agent = run.state, run.state.current_agent
    answer = state.answer
    if answer is None:
        return
    run.spans.end_turn()
    await run.unless_stopped(
        run.own_hooks.agent_end(context_of(state.context), agent, answer.output)
    )
    try:
        await _check_output(run, answer)
    except OutputGuardrailTripwireTriggered as error:
        if answer.from_tools:
            await _hide_outputs(run, error)
        raise
    async with run.storing():
        state.finish(answer.output)


async def _hide_outputs(run: Drive, error: OutputGuardrailTripwireTriggered) -> None:
    """Let a message stand where a guardrail has blocked what a tool gave.

    Whoever reads the run from here on, the model, a session or a result, reads that.
    """
    state, message = run.state, _blocked_message(run, error)
    hidden = {
        id(item): ToolCallOutputItem(
            item.agent,
            {**item.raw, "output": message},
            message,
            call_key=item.call_key,
            outcome=item.outcome,
            asked=item.asked,
        )
        for item in turn_items(state)
        if isinstance(item, ToolCallOutputItem)
    }
    view = View(
        base=list(state.transcript.base),
        shown=[hidden.get(id(item), item) for item in state.transcript.shown],
        listed=[hidden.get(id(item), item) for item in state.new_items],
    )
    async with run.storing() as entries:
        entries.append(state.show(view))


def _blocked_message(run: Drive, error: OutputGuardrailTripwireTriggered) -> str:
    given = run.config.output_guardrail_blocked_message
    if isinstance(given, str):
        return given
    if given is None:
        return BLOCKED
    asked = OutputGuardrailBlockedMessageArgs(
        default_message=BLOCKED,
        guardrail_name=error.guardrail_result.guardrail.get_name(),
        agent=run.state.current_agent,
        run_context=run.state.context,
    )
    try:
        text = given(asked)
    except Exception:
        logger.exception("An output_guardrail_blocked_message failed")
        return BLOCKED
    return text if isinstance(text, str) and text else BLOCKED


async def _check_output(run: Drive, answer: Answer) -> None:
    state, agent = run.state, run.state.current_agent
    guardrails = [*agent.output_guardrails, *(run.config.output_guardrails or [])]
    if not guardrails:
        return
    gathered: list[Any] = []
    try:
        with guardrail_spans(guardrails, gathered):
            await run.unless_stopped(
                run_output_guardrails(
                    guardrails, agent, answer.output, state.context, gathered
                )
            )
    finally:
        async with run.storing() as entries:
            for result in gathered:
                state.guardrails.output.append(result)
                written = result_to_json("output", result)
                entries.append(state.log_entry("guardrail", written))
