"""Whatever an author's code does when it is called, the run ends and leaves no task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from openai.types.responses import ResponseCustomToolCall, ResponseFunctionShellToolCall
from openai.types.responses.response_output_item import McpApprovalRequest

from runs.engine import (
    Agent,
    AgentHooks,
    CustomTool,
    GuardrailFunctionOutput,
    HostedMCPTool,
    ModelRetryBackoffSettings,
    ModelRetrySettings,
    ModelSettings,
    Review,
    RunConfig,
    RunHooks,
    Runner,
    RunStopped,
    ShellTool,
    ToolExecutionConfig,
    function_tool,
    handoff,
    input_guardrail,
    output_guardrail,
    tool_input_guardrail,
    tool_output_guardrail,
)
from runs.engine.testing import (
    ModelStep,
    ScriptedModel,
    assistant_message,
    function_call,
)

from .hostile_runs import ListSession, left_tasks

Place = Callable[[Callable[..., Any]], tuple[Agent[Any], dict[str, Any]]]
"""Gives an agent, and options of its run, in which a hostile function is called."""

PLACES: dict[str, Place] = {}


def place(make: Place) -> Place:
    PLACES[make.__name__] = make
    return make


def agent(*steps: Any, **settings: Any) -> Agent[Any]:
    model = ScriptedModel(steps=[*steps, [assistant_message("end")]])
    return Agent(**{"name": "A", "model": model, **settings})


def calling(tool: Any, arguments: str = "{}", **settings: Any) -> Agent[Any]:
    call = function_call(tool.name, arguments, call_id="1")
    return agent([call], tools=[tool], **settings)


def a_tool(**options: Any) -> Any:
    async def work() -> str:
        return "worked"

    return function_tool(**options)(work)


def failing_tool(**options: Any) -> Any:
    async def fails() -> str:
        raise ValueError("no")

    return function_tool(**options)(fails)


@place
def instructions(hostile: Any) -> Any:
    return agent(instructions=lambda ctx, own: hostile()), {}


@place
def prompt(hostile: Any) -> Any:
    return agent(prompt=lambda data: hostile()), {}


@place
def input_guard(hostile: Any) -> Any:
    return agent(input_guardrails=[input_guardrail(lambda *_: hostile())]), {}


@place
def input_guard_before(hostile: Any) -> Any:
    guard = input_guardrail(run_in_parallel=False)(lambda *_: hostile())
    return agent(input_guardrails=[guard]), {}


@place
def output_guard(hostile: Any) -> Any:
    return agent(output_guardrails=[output_guardrail(lambda *_: hostile())]), {}


@place
def tool_input_guard(hostile: Any) -> Any:
    guard = tool_input_guardrail(lambda _: hostile())
    return calling(a_tool(tool_input_guardrails=[guard])), {}


@place
def tool_input_guard_of_a_repeatable_tool(hostile: Any) -> Any:
    guard = tool_input_guardrail(lambda _: hostile())
    tool = a_tool(tool_input_guardrails=[guard], review=Review(idempotent=True))
    return calling(tool), {}


@place
def pre_approval_guard(hostile: Any) -> Any:
    guard = tool_input_guardrail(lambda _: hostile())
    tool = a_tool(tool_input_guardrails=[guard], needs_approval=True)
    how = ToolExecutionConfig(pre_approval_tool_input_guardrails=True)
    return calling(tool), {"run_config": RunConfig(tool_execution=how)}


@place
def tool_output_guard(hostile: Any) -> Any:
    guard = tool_output_guardrail(lambda _: hostile())
    return calling(a_tool(tool_output_guardrails=[guard])), {}


@place
def tool_body(hostile: Any) -> Any:
    @function_tool
    async def work() -> Any:
        return await hostile()

    return calling(work), {}


@place
def needs_approval(hostile: Any) -> Any:
    return calling(a_tool(needs_approval=lambda *_: hostile())), {}


@place
def is_enabled(hostile: Any) -> Any:
    return calling(a_tool(is_enabled=lambda *_: hostile())), {}


@place
def is_enabled_later(hostile: Any) -> Any:
    asked: list[Any] = []

    def enabled(*_: Any) -> Any:
        asked.append(1)
        return True if len(asked) == 1 else hostile()

    tool = a_tool(is_enabled=enabled, review=Review(idempotent=True))
    return calling(tool), {}


@place
def failure_function(hostile: Any) -> Any:
    return calling(failing_tool(failure_error_function=lambda *_: hostile())), {}


@place
def tool_error_formatter(hostile: Any) -> Any:
    config = RunConfig(tool_error_formatter=lambda _: hostile())
    return calling(failing_tool()), {"run_config": config}


@place
def custom_data(hostile: Any) -> Any:
    return calling(a_tool(custom_data_extractor=lambda _: hostile())), {}


@place
def tool_use(hostile: Any) -> Any:
    return calling(a_tool(), tool_use_behavior=lambda *_: hostile()), {}


@place
def model_filter(hostile: Any) -> Any:
    return agent(), {
        "run_config": RunConfig(call_model_input_filter=lambda _: hostile())
    }


@place
def handoff_filter(hostile: Any) -> Any:
    way = handoff(agent(name="B"), input_filter=lambda _: hostile())
    call = function_call("transfer_to_b", {}, call_id="1")
    return agent([call], handoffs=[way]), {}


@place
def on_handoff(hostile: Any) -> Any:
    way = handoff(agent(name="B"), on_handoff=lambda _: hostile())
    call = function_call("transfer_to_b", {}, call_id="1")
    return agent([call], handoffs=[way]), {}


@place
def handoff_enabled(hostile: Any) -> Any:
    return agent(
        handoffs=[handoff(agent(name="B"), is_enabled=lambda *_: hostile())]
    ), {}


@place
def error_handler(hostile: Any) -> Any:
    handlers = {"max_turns": lambda _: hostile()}
    return calling(a_tool()), {"max_turns": 1, "error_handlers": handlers}


@place
def input_builder(hostile: Any) -> Any:
    tool = agent(name="B").as_tool("b", "B", input_builder=lambda _: hostile())
    return calling(tool, '{"input": "x"}'), {}


@place
def output_extractor(hostile: Any) -> Any:
    tool = agent(name="B").as_tool(
        "b", "B", custom_output_extractor=lambda _: hostile()
    )
    return calling(tool, '{"input": "x"}'), {}


@place
def on_stream(hostile: Any) -> Any:
    tool = agent(name="B").as_tool("b", "B", on_stream=lambda _: hostile())
    return calling(tool, '{"input": "x"}'), {}


@place
def inner_instructions(hostile: Any) -> Any:
    tool = agent(name="B", instructions=lambda *_: hostile()).as_tool("b", "B")
    return calling(tool, '{"input": "x"}'), {}


@place
def model(hostile: Any) -> Any:
    retry = ModelRetrySettings(max_retries=0)
    made = agent(model_settings=ModelSettings(retry=retry))
    made.model = ScriptedModel([ModelStep.respond(lambda _: hostile())])
    return made, {}


@place
def retry_policy(hostile: Any) -> Any:
    backoff = ModelRetryBackoffSettings(initial_delay=0.0)
    retry = ModelRetrySettings(policy=lambda _: hostile(), backoff=backoff)
    settings = ModelSettings(retry=retry)
    return agent(ConnectionError("gone"), model_settings=settings), {}


@place
def retry_policy_beside_a_guardrail(hostile: Any) -> Any:
    made, options = retry_policy(hostile)

    async def fine(*_: Any) -> Any:
        return GuardrailFunctionOutput(None, False)

    made.input_guardrails = [input_guardrail(fine)]
    return made, options


@place
def custom_tool(hostile: Any) -> Any:
    tool = CustomTool("c", "C", on_invoke_tool=lambda *_: hostile())
    return agent([custom_call()], tools=[tool]), {}


@place
def custom_tool_rule(hostile: Any) -> Any:
    tool = CustomTool("c", "C", lambda *_: "x", needs_approval=lambda *_: hostile())
    return agent([custom_call()], tools=[tool]), {}


@place
def on_approval(hostile: Any) -> Any:
    tool = CustomTool(
        "c", "C", lambda *_: "x", needs_approval=True, on_approval=lambda *_: hostile()
    )
    return agent([custom_call()], tools=[tool]), {}


@place
def custom_tool_data(hostile: Any) -> Any:
    tool = CustomTool(
        "c", "C", lambda *_: "x", custom_data_extractor=lambda _: hostile()
    )
    return agent([custom_call()], tools=[tool]), {}


@place
def shell(hostile: Any) -> Any:
    call = ResponseFunctionShellToolCall.model_construct(
        id="s", call_id="1", type="shell_call", action={"commands": ["ls"]}
    )
    return agent([call], tools=[ShellTool(executor=lambda _: hostile())]), {}


@place
def on_approval_request(hostile: Any) -> Any:
    tool = HostedMCPTool(
        tool_config={"type": "mcp", "server_label": "s", "server_url": "http://s"},
        on_approval_request=lambda _: hostile(),
    )
    asked = McpApprovalRequest(
        id="1", arguments="{}", name="n", server_label="s", type="mcp_approval_request"
    )
    return agent([asked], tools=[tool]), {}


def custom_call() -> ResponseCustomToolCall:
    return ResponseCustomToolCall(
        call_id="1", input="x", name="c", type="custom_tool_call"
    )


def _hook_place(name: str, hooks_of: str) -> None:
    def make(hostile: Any) -> Any:
        base: Any = RunHooks if hooks_of == "run" else AgentHooks

        async def told(*_: Any) -> Any:
            return await hostile()

        hooks = base()
        setattr(hooks, name, told)
        way = handoff(agent(name="B"))
        made = agent(
            [function_call("work", "{}", call_id="1")],
            [function_call("transfer_to_b", {}, call_id="2")],
            tools=[a_tool()],
            handoffs=[way],
        )
        if hooks_of == "run":
            return made, {"hooks": hooks}
        made.hooks = hooks
        return made, {}

    PLACES[f"{hooks_of} {name}"] = make


for _name in (
    "on_agent_start", "on_agent_end", "on_handoff", "on_llm_start", "on_llm_end",
    "on_tool_start", "on_tool_end",
):  # fmt: skip
    _hook_place(_name, "run")
for _name in ("on_start", "on_llm_start", "on_llm_end", "on_tool_start", "on_tool_end"):
    _hook_place(_name, "agent")


def _session_place(name: str) -> None:
    def make(hostile: Any) -> Any:
        async def called(*_: Any, **__: Any) -> Any:
            return await hostile()

        session = ListSession()
        setattr(session, name, called)
        return calling(a_tool()), {"session": session}

    PLACES[f"session {name}"] = make


_session_place("get_items")
_session_place("add_items")


@place
def session_callback(hostile: Any) -> Any:
    session = ListSession()
    session.items.append({"role": "user", "content": "before"})
    config = RunConfig(session_input_callback=lambda *_: hostile())
    return agent(), {"session": session, "run_config": config}


class Panic(BaseException):
    """As a native library's panic: no `except Exception` stops it."""


FAULTS: list[Callable[[], BaseException]] = [
    lambda: ValueError("wrong"),
    lambda: SystemExit(3),
    asyncio.CancelledError,
    StopIteration,
    StopAsyncIteration,
    TimeoutError,
    RecursionError,
    lambda: Panic("broken"),
    lambda: BaseExceptionGroup("both", [SystemExit(1), KeyboardInterrupt()]),
    lambda: ExceptionGroup("both", [ValueError("a"), TypeError("b")]),
]


async def ended(made: Agent[Any], options: dict[str, Any], streamed: bool) -> None:
    """Fail unless the run ends, by an answer, a pause or an ordinary error."""
    if streamed:
        task: asyncio.Future[Any] = Runner.run_streamed(
            made, "go", **options
        ).run_loop_task
    else:
        task = asyncio.ensure_future(Runner.run(made, "go", **options))
    await asyncio.wait({task}, timeout=60)

    assert task.done()
    if error := task.exception():
        assert isinstance(error, Exception)
        assert error.run_state.to_json()  # type: ignore[attr-defined]  # as of any


@pytest.mark.parametrize("name", PLACES)
async def test_a_run_outlives_whatever_its_code_raises(name: str) -> None:
    for number, fault in enumerate(FAULTS):

        async def hostile(fault: Any = fault) -> Any:
            raise fault()

        made, options = PLACES[name](hostile)
        await ended(made, options, streamed=bool(number % 2))

        assert left_tasks() == []


GARBAGE: list[Any] = [None, 0, "", "no", [], {}, {"approve": "no"}, object(), b"x", ...]


@pytest.mark.parametrize("name", PLACES)
async def test_a_run_outlives_whatever_its_code_gives(name: str) -> None:
    for number, value in enumerate(GARBAGE):

        async def hostile(value: Any = value) -> Any:
            return value

        made, options = PLACES[name](hostile)
        await ended(made, options, streamed=bool(number % 2))

        assert left_tasks() == []


@pytest.mark.parametrize("way", ["cancel", "stop"])
@pytest.mark.parametrize("name", PLACES)
async def test_code_that_never_ends_holds_no_run_that_is_to_end(
    name: str, way: str
) -> None:
    reached = asyncio.Event()

    async def hostile() -> Any:
        reached.set()
        await asyncio.get_running_loop().create_future()

    made, options = PLACES[name](hostile)
    result = Runner.run_streamed(made, "go", stop_grace_s=0.01, **options)
    async with asyncio.timeout(60):
        await reached.wait()
    result.stop() if way == "stop" else result.cancel()
    await asyncio.wait({result.run_loop_task}, timeout=3)

    assert result.run_loop_task.done()
    if not result.run_loop_task.cancelled():
        assert isinstance(result.run_loop_exception, RunStopped | None)
    assert left_tasks() == []
    result.to_state().to_json()
