"""Hooks: what an author's code is told while a run goes on.

Every method does nothing until a subclass overrides it, and may be sync or async there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeAlias

from typing_extensions import TypeVar

from .callbacks import called
from .cancel import cancel_all
from .context import RunContextWrapper, TContext
from .digest import JSONObject

if TYPE_CHECKING:
    from .agent import Agent
    from .context import AgentHookContext
    from .hosted.hosted_tools import Tool
    from .models.interface import ModelResponse

TAgent = TypeVar("TAgent", default="Agent[Any]")


class RunHooksBase(Generic[TContext, TAgent]):
    """Told of every agent in a run. Give a subclass to `Runner.run(hooks=…)`."""

    async def on_agent_start(
        self, context: AgentHookContext[TContext], agent: TAgent
    ) -> None:
        """`agent` is about to work: at the start, after a handoff, on resume."""

    async def on_agent_end(
        self, context: AgentHookContext[TContext], agent: TAgent, output: Any
    ) -> None:
        """`agent` has given the final output."""

    async def on_handoff(
        self,
        context: RunContextWrapper[TContext],
        from_agent: TAgent,
        to_agent: TAgent,
    ) -> None:
        """`from_agent` has handed the conversation to `to_agent`."""

    async def on_llm_start(
        self,
        context: RunContextWrapper[TContext],
        agent: Agent[TContext],
        system_prompt: str | None,
        input_items: list[JSONObject],
    ) -> None:
        """The model is about to be asked."""

    async def on_llm_end(
        self,
        context: RunContextWrapper[TContext],
        agent: Agent[TContext],
        response: ModelResponse,
    ) -> None:
        """The model has answered."""

    async def on_tool_start(
        self, context: RunContextWrapper[TContext], agent: TAgent, tool: Tool
    ) -> None:
        """A tool is about to run here; `context` is its ToolContext."""

    async def on_tool_end(
        self,
        context: RunContextWrapper[TContext],
        agent: TAgent,
        tool: Tool,
        result: object,
    ) -> None:
        """A tool has run here; `result` is what it returned."""


class AgentHooksBase(Generic[TContext, TAgent]):
    """Told of one agent. Give a subclass to `Agent(hooks=…)`."""

    async def on_start(
        self, context: AgentHookContext[TContext], agent: TAgent
    ) -> None:
        """The agent is about to work: at the start, after a handoff, on resume."""

    async def on_end(
        self, context: AgentHookContext[TContext], agent: TAgent, output: Any
    ) -> None:
        """The agent has given the final output."""

    async def on_handoff(
        self, context: RunContextWrapper[TContext], agent: TAgent, source: TAgent
    ) -> None:
        """`source`, whose hooks these are, has handed the conversation to `agent`."""

    async def on_tool_start(
        self, context: RunContextWrapper[TContext], agent: TAgent, tool: Tool
    ) -> None:
        """A tool is about to run here; `context` is its ToolContext."""

    async def on_tool_end(
        self,
        context: RunContextWrapper[TContext],
        agent: TAgent,
        tool: Tool,
        result: object,
    ) -> None:
        """A tool has run here; `result` is what it returned."""

    async def on_llm_start(
        self,
        context: RunContextWrapper[TContext],
        agent: Agent[TContext],
        system_prompt: str | None,
        input_items: list[JSONObject],
    ) -> None:
        """The model is about to be asked."""

    async def on_llm_end(
        self,
        context: RunContextWrapper[TContext],
        agent: Agent[TContext],
        response: ModelResponse,
    ) -> None:
        """The model has answered."""


RunHooks: TypeAlias = RunHooksBase[TContext, "Agent[Any]"]
AgentHooks: TypeAlias = AgentHooksBase[TContext, "Agent[Any]"]


def checked_run_hooks(hooks: object) -> RunHooksBase[Any, Any] | None:
    """Return `hooks`. Raises TypeError when they are not hooks of a run."""
    if hooks is None or isinstance(hooks, RunHooksBase):
        return hooks
    given = type(hooks).__name__
    if isinstance(hooks, AgentHooksBase):
        raise TypeError(
            f"{given} are hooks of one agent; give them to Agent(hooks=…). "
            "A run takes RunHooks."
        )
    raise TypeError(f"A run's hooks must be RunHooks, not {given}.")


@dataclass(frozen=True, slots=True)
class Hooks:
    """Calls a run's hooks and the present agent's, both at once.

    What a hook raises comes out, after the other one is cancelled and has ended.
    Calls nothing when neither is set, and makes no task unless both are.
    """

    run: RunHooksBase[Any, Any] | None = None
    agent: AgentHooksBase[Any, Any] | None = None

    def __bool__(self) -> bool:
        """Whether anyone is told of anything."""
        return not (self.run is None and self.agent is None)

    async def agent_start(
        self, context: AgentHookContext[Any], agent: Agent[Any]
    ) -> None:
        await _together(
            _call(self.run, "on_agent_start", context, agent),
            _call(self.agent, "on_start", context, agent),
        )

    async def agent_end(
        self, context: AgentHookContext[Any], agent: Agent[Any], output: Any
    ) -> None:
        await _together(
            _call(self.run, "on_agent_end", context, agent, output),
            _call(self.agent, "on_end", context, agent, output),
        )

    async def handoff(
        self,
        context: RunContextWrapper[Any],
        from_agent: Agent[Any],
        to_agent: Agent[Any],
    ) -> None:
        """Tell of a handoff. `self.agent` must still be the hooks of `from_agent`."""
        await _together(
            _call(self.run, "on_handoff", context, from_agent, to_agent),
            _call(self.agent, "on_handoff", context, to_agent, from_agent),
        )

    async def llm_start(
        self,
        context: RunContextWrapper[Any],
        agent: Agent[Any],
        system_prompt: str | None,
        input_items: list[JSONObject],
    ) -> None:
        told = (context, agent, system_prompt, input_items)
        await _together(
            _call(self.run, "on_llm_start", *told),
            _call(self.agent, "on_llm_start", *told),
        )

    async def llm_end(
        self,
        context: RunContextWrapper[Any],
        agent: Agent[Any],
        response: ModelResponse,
    ) -> None:
        # The one event of which the SDK tells the agent's hooks first.
        await _together(
            _call(self.agent, "on_llm_end", context, agent, response),
            _call(self.run, "on_llm_end", context, agent, response),
        )

    async def tool_start(
        self, context: RunContextWrapper[Any], agent: Agent[Any], tool: Tool
    ) -> None:
        await _together(
            _call(self.run, "on_tool_start", context, agent, tool),
            _call(self.agent, "on_tool_start", context, agent, tool),
        )

    async def tool_end(
        self,
        context: RunContextWrapper[Any],
        agent: Agent[Any],
        tool: Tool,
        result: object,
    ) -> None:
        await _together(
            _call(self.run, "on_tool_end", context, agent, tool, result),
            _call(self.agent, "on_tool_end", context, agent, tool, result),
        )


Call: TypeAlias = Coroutine[Any, Any, Any]


def _call(
    hooks: RunHooksBase[Any, Any] | AgentHooksBase[Any, Any] | None,
    event: str,
    *args: Any,
) -> Call | None:
    if hooks is None:
        return None
    what = f"The hook {type(hooks).__name__}.{event}"
    return called(what, getattr(hooks, event), *args)


async def _together(first: Call | None, second: Call | None) -> None:
    if first is None or second is None:
        if alone := first or second:
            await alone
        return
    tasks = [asyncio.create_task(first), asyncio.create_task(second)]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        await cancel_all(tasks)
        raise
