"""Hooks, error handlers and tool_use_behavior: what authors' code is told and asked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from runs.engine import Agent, FunctionTool, MaxTurnsExceeded, UserError, function_tool
from runs.engine.context import AgentHookContext, RunContextWrapper
from runs.engine.error_handlers import (
    RunErrorData,
    RunErrorHandlerInput,
    RunErrorHandlerResult,
    checked_handlers,
    handle,
)
from runs.engine.lifecycle import (
    AgentHooks,
    Hooks,
    RunHooks,
    RunHooksBase,
    checked_run_hooks,
)
from runs.engine.models.interface import ModelResponse
from runs.engine.tools.tool_use import (
    StopAtTools,
    ToolsToFinalOutputResult,
    final_output_of,
)
from runs.engine.usage import Usage

AGENT: Agent[Any] = Agent(name="A")
OTHER: Agent[Any] = Agent(name="B")
CONTEXT: RunContextWrapper[Any] = RunContextWrapper(context=None)
STARTED: AgentHookContext[Any] = AgentHookContext(context=None)
RESPONSE = ModelResponse(output=[], usage=Usage(), response_id=None)


@function_tool
def look() -> str:
    """Look."""
    return "seen"


@function_tool
def find() -> str:
    """Find."""
    return "found"


def noting(hooks: Any, told: list[tuple[Any, ...]], of: str) -> Any:
    """Return `hooks` with every event noted in `told`."""

    def of_event(event: str) -> Any:
        async def note(*args: Any) -> None:
            told.append((of, event, *args))

        return note

    for event in dir(hooks):
        if event.startswith("on_"):
            setattr(hooks, event, of_event(event))
    return hooks


async def test_hooks_tell_both_of_every_event_in_the_order_of_the_sdk() -> None:
    told: list[tuple[Any, ...]] = []
    hooks = Hooks(
        noting(RunHooks[Any](), told, "run"), noting(AgentHooks[Any](), told, "agent")
    )

    await hooks.agent_start(STARTED, AGENT)
    await hooks.llm_start(CONTEXT, AGENT, "be brief", [{"role": "user"}])
    await hooks.llm_end(CONTEXT, AGENT, RESPONSE)
    await hooks.tool_start(CONTEXT, AGENT, look)
    await hooks.tool_end(CONTEXT, AGENT, look, 7)
    await hooks.handoff(CONTEXT, AGENT, OTHER)
    await hooks.agent_end(STARTED, AGENT, "done")

    assert told == [
        ("run", "on_agent_start", STARTED, AGENT),
        ("agent", "on_start", STARTED, AGENT),
        ("run", "on_llm_start", CONTEXT, AGENT, "be brief", [{"role": "user"}]),
        ("agent", "on_llm_start", CONTEXT, AGENT, "be brief", [{"role": "user"}]),
        ("agent", "on_llm_end", CONTEXT, AGENT, RESPONSE),
        ("run", "on_llm_end", CONTEXT, AGENT, RESPONSE),
        ("run", "on_tool_start", CONTEXT, AGENT, look),
        ("agent", "on_tool_start", CONTEXT, AGENT, look),
        ("run", "on_tool_end", CONTEXT, AGENT, look, 7),
        ("agent", "on_tool_end", CONTEXT, AGENT, look, 7),
        ("run", "on_handoff", CONTEXT, AGENT, OTHER),
        ("agent", "on_handoff", CONTEXT, OTHER, AGENT),
        ("run", "on_agent_end", STARTED, AGENT, "done"),
        ("agent", "on_end", STARTED, AGENT, "done"),
    ]


async def test_hooks_that_override_nothing_do_nothing() -> None:
    hooks = Hooks(RunHooks[Any](), AgentHooks[Any]())

    await hooks.agent_start(STARTED, AGENT)
    await hooks.llm_start(CONTEXT, AGENT, None, [])
    await hooks.llm_end(CONTEXT, AGENT, RESPONSE)
    await hooks.tool_start(CONTEXT, AGENT, look)
    await hooks.tool_end(CONTEXT, AGENT, look, None)
    await hooks.handoff(CONTEXT, AGENT, OTHER)
    await hooks.agent_end(STARTED, AGENT, None)


async def test_hooks_that_are_not_set_are_not_called() -> None:
    await Hooks().tool_start(CONTEXT, AGENT, look)


async def test_hooks_of_run_and_agent_run_at_once() -> None:
    arrived = asyncio.Barrier(2)

    class OfRun(RunHooks[Any]):
        async def on_tool_start(self, *_: Any) -> None:
            await asyncio.wait_for(arrived.wait(), timeout=60)

    class OfAgent(AgentHooks[Any]):
        async def on_tool_start(self, *_: Any) -> None:
            await asyncio.wait_for(arrived.wait(), timeout=60)

    await Hooks(OfRun(), OfAgent()).tool_start(CONTEXT, AGENT, look)


async def test_sync_hooks_are_called_too() -> None:
    seen: list[str] = []

    class OfAgent(AgentHooks[Any]):
        def on_start(self, context: Any, agent: Agent[Any]) -> None:  # type: ignore[override]
            seen.append(agent.name)

    await Hooks(None, OfAgent()).agent_start(STARTED, AGENT)

    assert seen == ["A"]


async def test_hook_that_raises_ends_the_other_and_lets_its_error_out() -> None:
    waiting = asyncio.Event()
    ended = asyncio.Event()

    class OfRun(RunHooks[Any]):
        async def on_tool_start(self, *_: Any) -> None:
            waiting.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

    class OfAgent(AgentHooks[Any]):
        async def on_tool_start(self, *_: Any) -> None:
            await waiting.wait()
            raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        await Hooks(OfRun(), OfAgent()).tool_start(CONTEXT, AGENT, look)

    assert ended.is_set()


@pytest.mark.parametrize("raised", [SystemExit(3), asyncio.CancelledError()])
async def test_hook_can_neither_end_the_worker_nor_stop_the_run(
    raised: BaseException,
) -> None:
    class Leaves(RunHooks[Any]):
        async def on_tool_start(self, *_: Any) -> None:
            raise raised

    with pytest.raises(UserError, match=r"The hook Leaves\.on_tool_start"):
        await Hooks(Leaves()).tool_start(CONTEXT, AGENT, look)


@pytest.mark.parametrize("of_agent", [None, AgentHooks[Any]()])
async def test_cancelling_the_run_ends_its_hooks(of_agent: Any) -> None:
    waiting = asyncio.Event()

    class Waits(RunHooks[Any]):
        async def on_tool_start(self, *_: Any) -> None:
            waiting.set()
            await asyncio.Event().wait()

    hooks = Hooks(Waits(), of_agent)
    telling = asyncio.create_task(hooks.tool_start(CONTEXT, AGENT, look))
    await waiting.wait()

    telling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await telling

    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_checked_run_hooks_refuses_hooks_of_an_agent() -> None:
    hooks: RunHooksBase[Any, Any] = RunHooks[Any]()

    assert checked_run_hooks(None) is None
    assert checked_run_hooks(hooks) is hooks
    with pytest.raises(TypeError, match=r"Agent\(hooks="):
        checked_run_hooks(AgentHooks[Any]())
    with pytest.raises(TypeError, match="not dict"):
        checked_run_hooks({})


FAILURE: RunErrorHandlerInput[Any] = RunErrorHandlerInput(
    error=MaxTurnsExceeded(3),
    context=CONTEXT,
    run_data=RunErrorData(
        input="hello",
        new_items=[],
        history=[],
        output=[],
        raw_responses=[],
        last_agent=AGENT,
    ),
)


async def answer(handler: Any) -> RunErrorHandlerResult | None:
    return await handle({"max_turns": handler}, "max_turns", FAILURE)


async def test_handle_gives_a_handler_of_one_argument_the_whole_failure() -> None:
    seen: list[Any] = []

    async def handler(data: RunErrorHandlerInput[Any]) -> str:
        seen.append(data)
        return "later"

    assert await answer(handler) == RunErrorHandlerResult("later", True)
    assert seen == [FAILURE]


async def test_handle_gives_a_handler_of_two_arguments_context_and_error() -> None:
    result = await answer(lambda ctx, error: (ctx, error))

    assert result == RunErrorHandlerResult((CONTEXT, FAILURE.error))


@pytest.mark.parametrize(
    ("given", "result"),
    [
        (None, None),
        ("text", RunErrorHandlerResult("text")),
        (0, RunErrorHandlerResult(0)),
        ({"answer": 4}, RunErrorHandlerResult({"answer": 4})),
        ({"final_output": 4}, RunErrorHandlerResult(4)),
        (
            {"final_output": 4, "include_in_history": False},
            RunErrorHandlerResult(4, include_in_history=False),
        ),
        (
            RunErrorHandlerResult(4, include_in_history=False),
            RunErrorHandlerResult(4, include_in_history=False),
        ),
    ],
)
async def test_handle_takes_every_form_of_answer(
    given: Any, result: RunErrorHandlerResult | None
) -> None:
    assert await answer(lambda data: given) == result


async def test_handle_refuses_a_result_with_unknown_keys() -> None:
    with pytest.raises(UserError, match="'in_history'"):
        await answer(lambda data: {"final_output": 4, "in_history": False})


async def test_handle_lets_the_error_out_when_nothing_is_set_for_it() -> None:
    handlers = {"max_turns": lambda data: "x", "model_refusal": None}

    assert await handle(None, "max_turns", FAILURE) is None
    assert await handle({}, "max_turns", FAILURE) is None
    assert await handle(handlers, "model_refusal", FAILURE) is None


async def test_handle_lets_out_what_a_handler_raises() -> None:
    def handler(data: Any) -> Any:
        raise LookupError("no answer")

    with pytest.raises(LookupError, match="no answer"):
        await answer(handler)


def test_checked_handlers_names_the_kinds_for_an_unknown_one() -> None:
    with pytest.raises(
        UserError, match="max_turns, model_refusal, invalid_final_output"
    ):
        checked_handlers({"max_turn": lambda data: "x"})


@pytest.mark.parametrize("handler", ["text", lambda: "x", lambda a, b, c: "x"])
def test_checked_handlers_refuses_what_cannot_be_called(handler: Any) -> None:
    with pytest.raises(UserError, match="one argument"):
        checked_handlers({"max_turns": handler})


@dataclass
class Result:
    """What is read of a FunctionToolResult."""

    tool: FunctionTool
    output: Any


RESULTS = [Result(look, "seen"), Result(find, "found")]
GO_ON = ToolsToFinalOutputResult(is_final_output=False, final_output=None)


@pytest.mark.parametrize(
    ("behavior", "decided"),
    [
        ("run_llm_again", GO_ON),
        ("stop_on_first_tool", ToolsToFinalOutputResult(True, "seen")),
        (
            StopAtTools(stop_at_tool_names=["find"]),
            ToolsToFinalOutputResult(True, "found"),
        ),
        ({"stop_at_tool_names": ["other"]}, GO_ON),
        ({"stop_at_tool_names": []}, GO_ON),
    ],
)
async def test_final_output_of_each_form(
    behavior: Any, decided: ToolsToFinalOutputResult
) -> None:
    assert await final_output_of(behavior, CONTEXT, RESULTS) == decided


async def test_final_output_of_a_function_is_what_it_decides() -> None:
    seen: list[Any] = []

    def decide(ctx: Any, results: Any) -> ToolsToFinalOutputResult:
        seen.extend([ctx, results])
        return ToolsToFinalOutputResult(True, "enough")

    async def decide_later(ctx: Any, results: Any) -> ToolsToFinalOutputResult:
        return decide(ctx, results)

    enough = ToolsToFinalOutputResult(True, "enough")
    assert await final_output_of(decide, CONTEXT, RESULTS) == enough
    assert await final_output_of(decide_later, CONTEXT, RESULTS) == enough
    assert seen == [CONTEXT, RESULTS] * 2


async def test_final_output_of_no_results_asks_nobody() -> None:
    def decide(ctx: Any, results: Any) -> ToolsToFinalOutputResult:
        raise AssertionError("asked")

    assert await final_output_of(decide, CONTEXT, []) == GO_ON
    assert await final_output_of("stop_on_first_tool", CONTEXT, []) == GO_ON


@pytest.mark.parametrize(
    "behavior",
    [
        "stop",
        None,
        {"stop_at_tools": ["look"]},
        {"stop_at_tool_names": "look"},
        {"stop_at_tool_names": ["look"], "more": 1},
        lambda ctx, results: "seen",
        lambda ctx, results: None,
    ],
)
async def test_final_output_of_a_wrong_behavior_is_an_error(behavior: Any) -> None:
    with pytest.raises(UserError, match="tool_use_behavior"):
        await final_output_of(behavior, CONTEXT, RESULTS)
