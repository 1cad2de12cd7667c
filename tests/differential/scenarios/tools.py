"""Function tools at work: contexts, failures, timeouts, which are offered."""

import asyncio
from functools import partial
from typing import Any

from ..registry import scenario
from ..script import call, text
from ..sides import Side

TOOLS = "Function tools"


async def once(side: Side, tool: Any, arguments: Any = None, **options: Any) -> Any:
    """Play a run that calls `tool` once."""
    agent = side.agent([call(tool.name, arguments)], [text("done")], tools=[tool])
    return await side.run(agent, "hi", **options)


@scenario(TOOLS)
async def sync_and_async_tools(side: Side) -> None:
    @side.function_tool
    def add(a: int, b: int = 2) -> int:
        """Add two numbers."""
        return a + b

    @side.function_tool
    async def shout(word: str) -> str:
        return word.upper()

    answers = [[call("add", {"a": 1}, "c1"), call("shout", {"word": "x"}, "c2")]]
    await side.run(side.agent(*answers, [text("done")], tools=[add, shout]), "hi")


@scenario(TOOLS)
async def outputs_in_call_order_whichever_ends_first(side: Side) -> None:
    first_may_end = asyncio.Event()

    @side.function_tool
    async def slow() -> str:
        await first_may_end.wait()
        side.note("slow ends")
        return "slow"

    @side.function_tool
    async def quick() -> str:
        side.note("quick ends")
        first_may_end.set()
        return "quick"

    answers = [[call("slow", id="c1"), call("quick", id="c2")]]
    await side.run(side.agent(*answers, [text("done")], tools=[slow, quick]), "hi")


@scenario(TOOLS)
async def context_of_the_run(side: Side) -> None:
    @side.function_tool
    @side.takes_context
    def who(ctx: Any, greeting: str) -> str:
        ctx.context["seen"] = True
        return f"{greeting} {ctx.context['user']} {ctx.usage.requests}"

    context = {"user": "ada"}
    await once(side, who, {"greeting": "hello"}, context=context)
    side.note(context)


@scenario(TOOLS)
async def context_of_the_call(side: Side) -> None:
    @side.function_tool
    @side.takes_tool_context
    async def what(ctx: Any, word: str) -> str:
        side.note(ctx.tool_name, ctx.tool_call_id, ctx.tool_arguments)
        side.note(ctx.agent.name, ctx.tool_call, ctx.run_config is not None)
        return word

    await once(side, what, {"word": "x"})


@scenario(TOOLS)
async def default_of_a_failing_tool(side: Side) -> None:
    @side.function_tool
    def broken() -> str:
        raise ValueError("the disk is full")

    await once(side, broken)


@scenario(TOOLS)
async def failure_function_of_ones_own(side: Side) -> None:
    def told(ctx: Any, error: Exception) -> str:
        return f"sorry: {type(error).__name__} {error} {ctx.context}"

    async def told_later(ctx: Any, error: Exception) -> str:
        return f"later: {error}"

    for func in (told, told_later):

        @side.function_tool(failure_error_function=func)
        def broken() -> str:
            raise ValueError("the disk is full")

        await once(side, broken, context="ctx")


@scenario(TOOLS)
async def failure_that_ends_the_run(side: Side) -> None:
    @side.function_tool(failure_error_function=None)
    def broken() -> str:
        raise ValueError("the disk is full")

    await once(side, broken)
    side.note(type(side.error and side.error.__cause__).__name__)


@scenario(TOOLS)
async def failure_beside_a_tool_that_goes_well(side: Side) -> None:
    @side.function_tool(failure_error_function=None)
    def broken() -> str:
        raise ValueError("the disk is full")

    @side.function_tool
    def fine() -> str:
        side.note("fine ran")
        return "fine"

    answers = [[call("fine", id="c1"), call("broken", id="c2")]]
    await side.run(side.agent(*answers, tools=[fine, broken]), "hi")


@scenario(TOOLS)
async def unknown_tool_of_a_run_without_settings(side: Side) -> None:
    await side.run(side.agent([call("nothing")], [text("x")]), "hi")


@scenario(TOOLS)
async def unknown_tool_is_an_error_when_asked_for(side: Side) -> None:
    config = side.RunConfig(tool_not_found_behavior="raise_error")
    agent = side.agent([call("nothing")], [text("never")])
    await side.run(agent, "hi", run_config=config)


@scenario(TOOLS)
async def unknown_tool_is_told_to_the_model(side: Side) -> None:
    def told(args: Any) -> str | None:
        side.note(args.kind, args.tool_name, args.call_id, args.tool_type)
        return f"no {args.tool_name}"

    for formatter in (None, told, lambda args: None):
        config = side.RunConfig(
            tool_not_found_behavior="return_error_to_model",
            tool_error_formatter=formatter,
        )
        await side.run(
            side.agent([call("nothing")], [text("x")]), "hi", run_config=config
        )


@scenario(TOOLS)
async def formatter_told_of_a_failing_tool(side: Side) -> None:
    @side.function_tool
    def broken() -> str:
        raise ValueError("the disk is full")

    def told(args: Any) -> str | None:
        side.note(args.kind, args.tool_name, args.call_id)
        return None

    config = side.RunConfig(tool_error_formatter=told)
    await once(side, broken, run_config=config)


@scenario(TOOLS)
async def timeout_told_to_the_model(side: Side) -> None:
    @side.function_tool(timeout=0.01)
    async def stuck() -> str:
        await asyncio.Event().wait()
        return "never"

    await once(side, stuck)


@scenario(TOOLS)
async def timeout_in_words_of_ones_own(side: Side) -> None:
    def told(ctx: Any, error: Exception) -> str:
        side.note(type(error).__name__)
        return "took too long"

    @side.function_tool(timeout=0.01, timeout_error_function=told)
    async def stuck() -> str:
        await asyncio.Event().wait()
        return "never"

    await once(side, stuck)


@scenario(TOOLS)
async def timeout_that_raises(side: Side) -> None:
    @side.function_tool(timeout=0.01, timeout_behavior="raise_exception")
    async def stuck() -> str:
        await asyncio.Event().wait()
        return "never"

    await once(side, stuck)


@scenario(TOOLS)
async def timeout_options_that_cannot_be(side: Side) -> None:
    async def stuck() -> str:
        return ""

    def sync() -> str:
        return ""

    for func, options in (
        (stuck, {"timeout": 0}),
        (stuck, {"timeout": -1.0}),
        (stuck, {"timeout": "long"}),
        (stuck, {"timeout": 1.0, "timeout_behavior": "explode"}),
        (sync, {"timeout": 1.0}),
    ):
        side.note(options)
        await side.failure(partial(side.function_tool, func, **options))


def giver(side: Side, value: Any) -> Any:
    @side.function_tool
    def give() -> Any:
        """Give it."""
        return value

    return give


@scenario(TOOLS)
async def tools_enabled_by_a_value_or_a_callable(side: Side) -> None:
    asked: set[tuple[str, str]] = set()

    def for_ada(ctx: Any, agent: Any) -> bool:
        asked.add((ctx.context, agent.name))
        return bool(ctx.context == "ada")

    async def never(ctx: Any, agent: Any) -> bool:
        return False

    def a() -> str:
        return "a"

    tools = [
        side.function_tool(a, name_override=name, is_enabled=enabled)
        for name, enabled in [("off", False), ("ada", for_ada), ("never", never)]
    ]
    agent = side.agent([text("x")], [text("y")], tools=tools)
    await side.run(agent, "hi", context="ada")
    await side.run(agent, "hi", context="bob")
    side.note(sorted(asked))


@scenario(TOOLS)
async def call_of_a_disabled_tool(side: Side) -> None:
    def a() -> str:
        return "a"

    tool = side.function_tool(a, is_enabled=False)
    await once(side, tool)


@scenario(TOOLS)
async def no_more_at_once_than_allowed(side: Side) -> None:
    running = 0
    most = 0

    @side.function_tool
    async def busy(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(3):
            await asyncio.sleep(0)
        running -= 1
        return number

    calls = [call("busy", {"number": n}, f"c{n}") for n in range(5)]
    agent = side.agent(calls, [text("done")], tools=[busy])
    config = side.RunConfig(
        tool_execution=side.ToolExecutionConfig(max_function_tool_concurrency=2)
    )
    await side.run(agent, "hi", run_config=config)
    side.note("most", most)
    await side.failure(
        lambda: side.ToolExecutionConfig(max_function_tool_concurrency=0)
    )


@scenario(TOOLS)
async def two_tools_of_one_name(side: Side) -> None:
    def one() -> str:
        return "one"

    def two() -> str:
        return "two"

    tools = [
        side.function_tool(one, name_override="same"),
        side.function_tool(two, name_override="same"),
    ]
    for policy in ("warn", "error", "explode"):
        side.note(policy)
        agent = side.agent([call("same")], [text("x")], tools=tools)
        config = {"tool_name_collision_policy": policy}
        await side.failure(partial(side.run, agent, "hi", run_config=config))


@scenario(TOOLS)
async def tool_and_handoff_of_one_name(side: Side) -> None:
    def one() -> str:
        return "one"

    tool = side.function_tool(one, name_override="transfer_to_b")
    other = side.agent([text("b's")], name="b")
    for policy in ("warn", "error"):
        agent = side.agent([call("transfer_to_b")], [text("x")], tools=[tool])
        agent.handoffs = [other]
        config = side.RunConfig(tool_name_collision_policy=policy)
        await side.run(agent, "hi", run_config=config)
