"""One turn: the model reads the run so far and answers; the answer is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from .calls import Call, Review
from .config import ModelRetrySettings, ModelSettings
from .digest import JSONObject, call_digest
from .drive import Drive
from .errors import MaxTurnsExceeded, ModelBehaviorError
from .events import (
    ItemEventName,
    RawResponsesStreamEvent,
    RunItemStreamEvent,
    TurnStartedStreamEvent,
)
from .items import (
    InputItem,
    MessageOutputItem,
    OtherItem,
    ReasoningItem,
    RunItem,
    ToolCallItem,
    model_text,
)
from .models.interface import Model, ModelResponse, ModelTracing, TResponseStreamEvent
from .models.provider import OpenAIProvider
from .models.stream import collect
from .ports import LogEntry
from .retry import with_retries
from .tools import FunctionTool

DEFAULT_TIMEOUT_S = 300.0

_ITEM_TYPES: dict[str, tuple[type[RunItem], ItemEventName]] = {
    "message": (MessageOutputItem, "message_output_created"),
    "function_call": (ToolCallItem, "tool_called"),
    "reasoning": (ReasoningItem, "reasoning_item_created"),
}
_OTHER: tuple[type[RunItem], ItemEventName] = (OtherItem, "other_item_created")


async def ask_model(run: Drive) -> None:
    """Take one turn. Raises MaxTurnsExceeded, or what the model could not be asked."""
    state = run.state
    if state.max_turns is not None and state.turn >= state.max_turns:
        raise MaxTurnsExceeded(state.max_turns)
    await _admit_input(run)
    instructions, tools = await run.unless_stopped(_prompt(run))
    response = await _answer(run, instructions, tools)
    await _take(run, response, tools)


async def _prompt(run: Drive) -> tuple[str | None, list[FunctionTool]]:
    state, agent = run.state, run.state.current_agent
    return (
        await agent.get_system_prompt(state.context),
        await agent.get_all_tools(state.context),
    )


async def _admit_input(run: Drive) -> None:
    """Let the model read what people added meanwhile."""
    state = run.state
    added: list[RunItem] = [
        InputItem(agent=state.current_agent, raw=raw)
        for raw in await run.ports.journal.begin_turn(state)
    ]
    if not added:
        return
    async with run.writing:
        await run.ports.journal.append(state, [state.add(item) for item in added])
    for item in added:
        await run.emit(RunItemStreamEvent("input_added", item))


async def _answer(
    run: Drive, instructions: str | None, tools: list[FunctionTool]
) -> ModelResponse:
    """Return the model's whole answer, asking again while that may help."""
    state, agent = run.state, run.state.current_agent
    settings = agent.model_settings.resolve(run.config.model_settings)
    model = _model(run)
    request = state.model_input()

    async def attempt(number: int) -> ModelResponse:
        await run.emit(TurnStartedStreamEvent(state.turn + 1, number))
        asked = _ask(run, model, settings, instructions, request, tools)
        async with asyncio.timeout(settings.timeout or DEFAULT_TIMEOUT_S):
            return await run.unless_stopped(asked)

    async def withdraw(number: int, error: Exception) -> None:
        payload = {"turn": state.turn + 1, "attempt": number, "error": str(error)}
        entry = LogEntry(kind="retry", payload=payload)
        async with run.writing:
            await run.ports.journal.append(state, [entry])

    return await with_retries(
        attempt,
        settings=settings.retry or ModelRetrySettings(),
        sleep=lambda wait_s: run.unless_stopped(_wait(run, wait_s)),
        on_retry=withdraw,
    )


async def _wait(run: Drive, wait_s: float) -> None:
    await run.ports.clock.sleep(wait_s)


async def _ask(
    run: Drive,
    model: Model,
    settings: ModelSettings,
    instructions: str | None,
    request: list[Any],
    tools: list[FunctionTool],
) -> ModelResponse:
    if not run.streamed:
        return await model.get_response(
            instructions,
            request,
            settings,
            tools,
            None,
            [],
            ModelTracing.DISABLED,
            previous_response_id=None,
            conversation_id=None,
            prompt=None,
        )
    events = model.stream_response(
        instructions,
        request,
        settings,
        tools,
        None,
        [],
        ModelTracing.DISABLED,
        previous_response_id=None,
        conversation_id=None,
        prompt=None,
    )

    async def on_event(event: TResponseStreamEvent) -> None:
        await run.emit(RawResponsesStreamEvent(event))

    return await collect(events, on_event=on_event)


def _model(run: Drive) -> Model:
    wanted = run.config.model or run.state.current_agent.model
    if isinstance(wanted, Model):
        return wanted
    return (run.config.model_provider or OpenAIProvider()).get_model(wanted)


async def _take(run: Drive, response: ModelResponse, tools: list[FunctionTool]) -> None:
    """Store the answer, and with it the requests its gated calls open."""
    state = run.state
    made = [_item(run, raw) for raw in map(_plain, response.output)]
    asked = [item.raw for item, _ in made if isinstance(item, ToolCallItem)]
    calls = await run.unless_stopped(_calls(run, asked, tools))
    async with run.writing:
        state.open_calls(calls)
        entries = [state.add(item) for item, _ in made]
        entries.append(state.add_response(response, len(made)))
        if not calls:
            state.finish(_final_text([item for item, _ in made]))
        await run.ports.journal.append(state, entries)
    for item, name in made:
        await run.emit(RunItemStreamEvent(name, item))
    for call in calls:
        if call.gated:
            item = state.approval_item(call)
            await run.emit(RunItemStreamEvent("approval_requested", item))


def _plain(output: Any) -> JSONObject:
    if isinstance(output, dict):
        return output
    plain: JSONObject = output.model_dump(
        mode="json", exclude_unset=True, warnings=False
    )
    return plain


def _item(run: Drive, raw: JSONObject) -> tuple[RunItem, ItemEventName]:
    kind, name = _ITEM_TYPES.get(str(raw.get("type")), _OTHER)
    key = str(raw.get("call_id") or "") if kind is ToolCallItem else ""
    return kind(agent=run.state.current_agent, raw=raw, call_key=key), name


async def _calls(
    run: Drive, asked: Sequence[JSONObject], tools: Sequence[FunctionTool]
) -> list[Call]:
    return [await _call(run, raw, tools) for raw in asked]


async def _call(run: Drive, raw: JSONObject, tools: Sequence[FunctionTool]) -> Call:
    """Return the call that `raw` asks for, and whether a person must approve it."""
    name, arguments = str(raw["name"]), str(raw["arguments"])
    call_id = str(raw.get("call_id") or "")
    path = run.state.current_agent.name
    tool = next((tool for tool in tools if tool.name == name), None)
    if tool is None and run.config.tool_not_found_behavior == "raise":
        raise ModelBehaviorError(f"The model called {name!r}, which is no tool.")
    gated, why = False, ""
    if tool is not None:
        gated, why = await tool.gate(run.state.context, arguments, call_id)
    schema = tool.schema_hash if tool else ""
    return Call(
        key=call_id,
        call_id=call_id,
        tool=name,
        agent_path=path,
        arguments=arguments,
        schema_hash=schema,
        digest=call_digest(
            tool=name, schema_hash=schema, agent_path=path, arguments=arguments
        ),
        gated=gated,
        why=why if gated else "",
        review=tool.review if tool else Review(),
    )


def _final_text(items: Sequence[RunItem]) -> str:
    """Return the text of the last message; an answer without one is empty."""
    messages = [item for item in items if isinstance(item, MessageOutputItem)]
    return model_text(messages[-1].raw) if messages else ""
