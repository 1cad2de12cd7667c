"""Runner: starts a run, or goes on with one."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from .agent import Agent
from .config import DEFAULT_MAX_TURNS, RunConfig
from .context import RunContextWrapper
from .digest import JSONObject
from .drive import Drive
from .errors import UserError
from .loop import drive
from .models import close_clients
from .ports import Ports
from .result import RunResult, RunResultStreaming
from .state import RunState


class Unset(enum.Enum):
    """The default of an argument that None is a value of."""

    UNSET = enum.auto()


UNSET = Unset.UNSET
RunInput = str | Sequence[JSONObject] | RunState[Any]


class Runner:
    """The engine's door. Every method takes a text, a list of items or a RunState."""

    @classmethod
    async def run(
        cls,
        starting_agent: Agent[Any],
        input: RunInput,
        *,
        context: Any = None,
        max_turns: int | Unset | None = UNSET,
        run_config: RunConfig | Mapping[str, Any] | None = None,
        ports: Ports | None = None,
    ) -> RunResult[Any]:
        """Run until the agent has answered or calls wait for a person.

        `max_turns` counts the model's answers, over pauses too; 10 unless given, None
        for no limit; given with a RunState it replaces the state's. `context` given
        with a RunState replaces the application's own value only.
        Raises MaxTurnsExceeded, ModelBehaviorError or UserError, each with the
        `run_state` to go on from.
        """
        run = _prepared(starting_agent, input, context, max_turns, run_config, ports)
        await drive(run)
        return RunResult(run.state)

    @classmethod
    def run_sync(
        cls, starting_agent: Agent[Any], input: RunInput, **options: Any
    ) -> RunResult[Any]:
        """Run as `run` does, from code that is not async.

        Raises RuntimeError where an event loop is running.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(_alone(cls.run(starting_agent, input, **options)))
        raise RuntimeError("An event loop is running here; await Runner.run instead.")

    @classmethod
    def run_streamed(
        cls,
        starting_agent: Agent[Any],
        input: RunInput,
        context: Any = None,
        max_turns: int | Unset | None = UNSET,
        run_config: RunConfig | Mapping[str, Any] | None = None,
        ports: Ports | None = None,
        stop_grace_s: float = 30.0,
    ) -> RunResultStreaming[Any]:
        """Start as `run` does and return at once; read `stream_events()`."""
        run = _prepared(starting_agent, input, context, max_turns, run_config, ports)
        run.streamed = True
        run.stop_grace_s = stop_grace_s
        return RunResultStreaming(run)


async def _alone(run: Awaitable[RunResult[Any]]) -> RunResult[Any]:
    """Return what `run` gives; its connections end with the loop."""
    try:
        return await run
    finally:
        await close_clients()


def _prepared(
    agent: Agent[Any],
    given: RunInput,
    context: Any,
    max_turns: int | Unset | None,
    run_config: RunConfig | Mapping[str, Any] | None,
    ports: Ports | None,
) -> Drive:
    resumed = isinstance(given, RunState)
    state = (
        _resumed(agent, given, context, max_turns)
        if isinstance(given, RunState)
        else _started(agent, given, context, max_turns)
    )
    return Drive(
        state=state,
        config=RunConfig.of(run_config),
        ports=ports or Ports(),
        resumed=resumed,
    )


def _started(
    agent: Agent[Any],
    given: str | Sequence[JSONObject],
    context: Any,
    max_turns: int | Unset | None,
) -> RunState[Any]:
    turns = DEFAULT_MAX_TURNS if isinstance(max_turns, Unset) else max_turns
    return RunState(RunContextWrapper(context=context), given, agent, turns)


def _resumed(
    agent: Agent[Any],
    state: RunState[Any],
    context: Any,
    max_turns: int | Unset | None,
) -> RunState[Any]:
    if agent.name != state.root_agent.name:
        raise UserError(
            f"The state belongs to agent {state.root_agent.name!r}, but "
            f"{agent.name!r} was given; give the run's root agent."
        )
    if context is not None:
        state.context.context = context
    if not isinstance(max_turns, Unset):
        state.max_turns = max_turns
    return state
