"""One turn: the model reads the run so far and answers."""

from __future__ import annotations

import contextlib
import dataclasses
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from ..agent import Agent
from ..callbacks import called
from ..config import CallModelData, ModelInputData
from ..context import context_of
from ..digest import JSONObject
from ..errors import MaxTurnsExceeded, UserError
from ..events import (
    RawResponsesStreamEvent,
    RunItemStreamEvent,
    TurnStartedStreamEvent,
)
from ..handoffs.handoff import Handoff, enabled_handoffs
from ..hosted.hosted_tools import Tool
from ..items import InputItem, RunItem
from ..model_settings import ModelSettings
from ..models.interface import Model, ModelResponse, ModelTracing
from ..models.multi_provider import MultiProvider
from ..models.pace import pace_of
from ..models.retry import with_retries, within
from ..models.stream import collect
from ..output import AgentOutputSchemaBase, output_schema_of
from ..ports import LogEntry
from ..tools.tool_names import resolve_name_collisions
from ..usage import Usage
from .drive import Drive
from .input_check import check_before, check_beside
from .memory import remember_input
from .spans import model_span, model_tracing
from .take import take_answer

DEFAULT_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the model is asked in one turn."""

    agent: Agent[Any]
    model: Model
    settings: ModelSettings
    instructions: str | None
    input: list[JSONObject]
    tools: list[Tool]
    handoffs: list[Handoff[Any, Any]]
    schema: AgentOutputSchemaBase | None
    prompt: Any
    previous_response_id: str | None
    conversation_id: str | None
    tracing: ModelTracing

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the positional and keyword arguments of a Model's two methods."""
        return (
            self.instructions,
            self.input,
            self.settings,
            self.tools,
            self.schema,
            self.handoffs,
            self.tracing,
        ), {
            "previous_response_id": self.previous_response_id,
            "conversation_id": self.conversation_id,
            "prompt": self.prompt,
        }


async def ask_model(run: Drive) -> None:
    """Take one turn. Raises MaxTurnsExceeded, or what the model could not be asked."""
    state = run.state
    if state.max_turns is not None and state.turn >= state.max_turns:
        raise MaxTurnsExceeded(
            f"The run used all of its {state.max_turns} turns without a final answer; "
            "resume its state with a larger max_turns to go on."
        )
    await _admit_input(run)
    run.spans.begin_turn(state.turn + 1, state.current_agent)
    if not run.agent_started:
        await run.unless_stopped(_start_agent(run))
    if not state.input_checked:
        await check_before(run)
        await remember_input(run)
    request = await run.unless_stopped(_request(run))
    response = await check_beside(run, _answer(run, request))
    state.input_checked = True
    state.usage.add(response.usage)
    if hooks := run.own_hooks:
        told = hooks.llm_end(state.context, request.agent, response)
        await run.unless_stopped(told)
    await take_answer(run, response, request.tools, request.handoffs)


async def _admit_input(run: Drive) -> None:
    """Let the model read what people added meanwhile."""
    state = run.state
    given = list(await run.journal(run.ports.journal.begin_turn(state)))
    added: list[RunItem] = [
        InputItem(state.current_agent, raw, input_id=uuid4().hex) for raw in given
    ]
    if not added:
        return
    async with run.storing() as entries:
        entries += [state.add(item) for item in added]
    for item in added:
        await run.emit(RunItemStreamEvent("input_added", item))


async def _start_agent(run: Drive) -> None:
    run.agent_started = True
    state = run.state
    state.context.turn_input = list(state.transcript.base)
    await run.own_hooks.agent_start(context_of(state.context), state.current_agent)


async def _request(run: Drive) -> Request:
    state, agent, context = run.state, run.state.current_agent, run.state.context
    handoffs = await enabled_handoffs(agent, context) if agent.handoffs else []
    tools, handoffs = resolve_name_collisions(
        await agent.get_all_tools(context),
        handoffs,
        run.config.tool_name_collision_policy,
    )
    server = state.server
    data = ModelInputData(
        input=server.unseen(state) if server else state.model_input(),
        instructions=await agent.get_system_prompt(context),
    )
    data = await _filtered(run, data)
    return Request(
        agent=agent,
        model=_model(run),
        settings=_settings(run),
        instructions=data.instructions,
        input=data.input,
        tools=tools,
        handoffs=handoffs,
        schema=output_schema_of(agent),
        prompt=await agent.get_prompt(context),
        previous_response_id=server.previous_response_id if server else None,
        conversation_id=server.conversation_id if server else None,
        tracing=model_tracing(run.config),
    )


async def _filtered(run: Drive, data: ModelInputData) -> ModelInputData:
    given = run.config.call_model_input_filter
    if given is None:
        return data
    agent, context = run.state.current_agent, run.state.context.context
    asked = CallModelData(model_data=data, agent=agent, context=context)
    filtered = await called("The call_model_input_filter", given, asked)
    if not isinstance(filtered, ModelInputData):
        raise UserError(
            f"The call_model_input_filter gave {type(filtered).__name__}; "
            "it must give a ModelInputData."
        )
    return filtered


def _settings(run: Drive) -> ModelSettings:
    """Return the settings of this call: the agent's under the run's.

    Once the agent has called a tool, a choice that forces one is dropped: the model
    could never answer.
    """
    state, agent = run.state, run.state.current_agent
    settings = agent.model_settings.resolve(run.config.model_settings)
    called_before = agent.name in state.transcript.tool_users
    if settings.tool_choice is None or not (agent.reset_tool_choice and called_before):
        return settings
    return dataclasses.replace(settings, tool_choice=None)


async def _answer(run: Drive, request: Request) -> ModelResponse:
    """Return the model's whole answer, asking again while that may help."""
    state, settings = run.state, request.settings
    if hooks := run.own_hooks:
        told = hooks.llm_start(
            state.context, request.agent, request.instructions, request.input
        )
        await run.unless_stopped(told)

    async def attempt(number: int) -> ModelResponse:
        await run.emit(TurnStartedStreamEvent(state.turn + 1, number))
        async with _in_turn(run, request.model):
            asked = run.unless_stopped(_ask(run, request))
            return await within(settings.timeout or DEFAULT_TIMEOUT_S, asked)

    async def withdraw(number: int, error: Exception) -> None:
        state.usage.add(Usage(requests=1))
        payload = {"turn": state.turn + 1, "attempt": number, "error": str(error)}
        async with run.storing() as entries:
            entries.append(LogEntry(kind="retry", payload=payload, frame=state.frame))

    return await with_retries(
        attempt,
        settings=settings.retry,
        sleep=lambda wait_s: run.unless_stopped(_wait(run, wait_s)),
        on_retry=withdraw,
        unless_stopped=run.unless_stopped,
        advice=request.model.get_retry_advice,
        stream=run.streamed,
        previous_response_id=request.previous_response_id,
        conversation_id=request.conversation_id,
    )


def _in_turn(run: Drive, model: Model) -> AbstractAsyncContextManager[None]:
    """Wait for what the model's server asked other runs to wait for."""
    pace = pace_of(model)
    if pace is None:
        return contextlib.nullcontext()
    return pace.request(run.ports.clock, run.unless_stopped)


async def _wait(run: Drive, wait_s: float) -> None:
    await run.ports.clock.sleep(wait_s)


async def _ask(run: Drive, request: Request) -> ModelResponse:
    args, kwargs = request.arguments()
    with model_span(run, request.model) as span:
        if not run.streamed:
            response = await request.model.get_response(*args, **kwargs)
        else:
            response = await collect(
                request.model.stream_response(*args, **kwargs),
                on_event=lambda event: run.emit(RawResponsesStreamEvent(event)),
                raw_usage=bool(request.settings.preserve_raw_usage),
            )
        span.answered(response, request.input)
        return response


def _model(run: Drive) -> Model:
    wanted = run.config.model or run.state.current_agent.model
    if isinstance(wanted, Model):
        return wanted
    return (run.config.model_provider or MultiProvider()).get_model(wanted)
