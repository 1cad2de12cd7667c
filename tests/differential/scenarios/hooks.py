"""Hooks of runs and agents, in the order they are called."""

from typing import Any

from ..registry import scenario
from ..script import call, text
from ..sides import Side
from .approvals import approve_all, decided, gated, pay, reject_all

HOOKS = "Hooks"
RESUME = "Guardrails and hooks on resume"


def run_hooks(side: Side) -> Any:
    class Noting(side.RunHooks):  # type: ignore[name-defined, misc]
        async def on_agent_start(self, context: Any, agent: Any) -> None:
            side.note("agent start", agent.name, context.turn_input)

        async def on_agent_end(self, context: Any, agent: Any, output: Any) -> None:
            side.note("agent end", agent.name, output)

        async def on_handoff(
            self, context: Any, from_agent: Any, to_agent: Any
        ) -> None:
            side.note("handoff", from_agent.name, to_agent.name)

        async def on_llm_start(
            self, context: Any, agent: Any, system_prompt: Any, input_items: Any
        ) -> None:
            side.note("llm start", agent.name, system_prompt, input_items)

        async def on_llm_end(self, context: Any, agent: Any, response: Any) -> None:
            side.note("llm end", agent.name, response.response_id)
            side.note(context.usage.requests)

        async def on_tool_start(self, context: Any, agent: Any, tool: Any) -> None:
            side.note("tool start", agent.name, tool.name, type(context).__name__)
            side.note(context.tool_call_id, context.tool_arguments)

        async def on_tool_end(
            self, context: Any, agent: Any, tool: Any, result: Any
        ) -> None:
            side.note("tool end", agent.name, tool.name, result)

    return Noting()


def agent_hooks(side: Side) -> Any:
    class Noting(side.AgentHooks):  # type: ignore[name-defined, misc]
        async def on_start(self, context: Any, agent: Any) -> None:
            side.note("own start", agent.name, context.turn_input)

        async def on_end(self, context: Any, agent: Any, output: Any) -> None:
            side.note("own end", agent.name, output)

        async def on_handoff(self, context: Any, agent: Any, source: Any) -> None:
            side.note("own handoff", agent.name, source.name)

        async def on_llm_start(
            self, context: Any, agent: Any, system_prompt: Any, input_items: Any
        ) -> None:
            side.note("own llm start", agent.name, system_prompt, input_items)

        async def on_llm_end(self, context: Any, agent: Any, response: Any) -> None:
            side.note("own llm end", agent.name, response.response_id)

        async def on_tool_start(self, context: Any, agent: Any, tool: Any) -> None:
            side.note("own tool start", agent.name, tool.name)

        async def on_tool_end(
            self, context: Any, agent: Any, tool: Any, result: Any
        ) -> None:
            side.note("own tool end", agent.name, tool.name, result)

    return Noting()


@scenario(HOOKS)
async def hooks_of_a_run(side: Side) -> None:
    tool = gated(side, needs_approval=False)
    agent = side.agent([pay(1)], [text("x")], tools=[tool], instructions="Pay.")
    await side.run(agent, "hi", hooks=run_hooks(side))


@scenario(HOOKS)
async def hooks_of_an_agent(side: Side) -> None:
    tool = gated(side, needs_approval=False)
    agent = side.agent([pay(1)], [text("x")], tools=[tool], hooks=agent_hooks(side))
    await side.run(agent, "hi")


@scenario(HOOKS)
async def hooks_around_a_handoff(side: Side) -> None:
    other = side.agent([text("x")], name="other", hooks=agent_hooks(side))
    main = side.agent(
        [call("transfer_to_other")], handoffs=[other], hooks=agent_hooks(side)
    )
    await side.run(main, "hi", hooks=run_hooks(side))


@scenario(HOOKS)
async def hooks_when_the_run_fails(side: Side) -> None:
    tool = gated(side, needs_approval=False, failure_error_function=None)
    agent = side.agent([pay(1)], ValueError("no"), tools=[tool])
    await side.run(agent, "hi", hooks=run_hooks(side))


@scenario(HOOKS)
async def hooks_when_a_tool_fails(side: Side) -> None:
    @side.function_tool
    def broken() -> str:
        raise ValueError("no")

    agent = side.agent([call("broken")], [text("x")], tools=[broken])
    await side.run(agent, "hi", hooks=run_hooks(side))


@scenario(HOOKS)
async def hook_that_raises(side: Side) -> None:
    class Raising(side.RunHooks):  # type: ignore[name-defined, misc]
        async def on_agent_start(self, context: Any, agent: Any) -> None:
            raise KeyError("no")

    await side.run(side.agent([text("x")]), "hi", hooks=Raising())


@scenario(HOOKS)
async def hooks_of_a_wrong_kind(side: Side) -> None:
    await side.run(side.agent([text("x")]), "hi", hooks=agent_hooks(side))
    await side.failure(lambda: side.agent([text("x")], hooks=run_hooks(side)))


@scenario(RESUME)
async def hooks_on_resume(side: Side) -> None:
    agent = side.agent(
        [pay(1)], [text("x")], tools=[gated(side)], hooks=agent_hooks(side)
    )
    result = await side.run(agent, "hi", hooks=run_hooks(side))
    side.note("paused")
    await decided(side, agent, result, approve_all, hooks=run_hooks(side))


@scenario(RESUME)
async def hooks_when_a_call_is_rejected(side: Side) -> None:
    agent = side.agent([pay(1)], [text("x")], tools=[gated(side)])
    result = await side.run(agent, "hi", hooks=run_hooks(side))
    side.note("paused")
    await decided(side, agent, result, reject_all, hooks=run_hooks(side))
