"""Runner: starts a run, or goes on with one."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from .agent import Agent, check_agent
from .config import DEFAULT_MAX_TURNS, RunConfig
from .context import RunContextWrapper
from .digest import JSONObject
from .error_handlers import checked_handlers
from .errors import UserError
from .lifecycle import RunHooksBase, checked_run_hooks
from .loop.drive import Control, Drive
from .loop.main import drive
from .loop.memory import check_session
from .models import close_clients
from .ports import Ports
from .result import RunResult, RunResultStreaming
from .sessions import Session, SessionSettings
from .state.run_state import RunState
from .state.server import ServerConversation


class Unset(enum.Enum):
    """The default of an argument that None is a value of."""

    UNSET = enum.auto()


UNSET = Unset.UNSET
RunInput = str | Sequence[JSONObject] | RunState[Any]


class AgentRunner:
    """What `Runner` calls; a program may put another in its place."""

    async def run(
        self, starting_agent: Agent[Any], input: RunInput, **options: Any
    ) -> RunResult[Any]:
        """See `Runner.run`."""
        run = _prepared(starting_agent, input, **options)
        await drive(run)
        return RunResult(run.state, trace=run.trace)

    def run_sync(
        self, starting_agent: Agent[Any], input: RunInput, **options: Any
    ) -> RunResult[Any]:
        """See `Runner.run_sync`."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(_alone(self.run(starting_agent, input, **options)))
        raise RuntimeError("An event loop is running here; await Runner.run instead.")

    def run_streamed(
        self,
        starting_agent: Agent[Any],
        input: RunInput,
        *,
        stop_grace_s: float = 30.0,
        **options: Any,
    ) -> RunResultStreaming[Any]:
        """See `Runner.run_streamed`."""
        run = _prepared(starting_agent, input, **options)
        run.streamed = True
        run.control.stop_grace_s = stop_grace_s
        return RunResultStreaming(run)


_runner = [AgentRunner()]


def get_default_agent_runner() -> AgentRunner:
    """Return what `Runner` calls."""
    return _runner[0]


def set_default_agent_runner(runner: AgentRunner | None) -> None:
    """Let `Runner` call `runner`; None puts the engine's own back."""
    _runner[0] = runner or AgentRunner()


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
        hooks: RunHooksBase[Any, Any] | None = None,
        run_config: RunConfig | Mapping[str, Any] | None = None,
        error_handlers: Mapping[str, Any] | None = None,
        previous_response_id: str | None = None,
        auto_previous_response_id: bool = False,
        conversation_id: str | None = None,
        session: Session | None = None,
        **ours: Any,
    ) -> RunResult[Any]:
        """Run until the agent has answered or calls wait for a person.

        `max_turns` counts the model's answers, over pauses too; 10 unless given, None
        for no limit; given with a RunState it replaces the state's. `context` given
        with a RunState replaces the application's own value only. `error_handlers`
        (`max_turns`, `model_refusal`, `invalid_final_output`) may answer in the run's
        place. A `session` keeps the history here; `conversation_id`,
        `previous_response_id` and `auto_previous_response_id` say that the model's
        server keeps it.
        Beyond the SDK: `ports` (journal, gate and clock), `session_settings`,
        `context_serializer` and `context_deserializer` (remembered by the state).
        Raises MaxTurnsExceeded, ModelBehaviorError, a tripwire's error or UserError,
        each with the `run_state` to go on from.
        """
        return await get_default_agent_runner().run(
            starting_agent,
            input,
            context=context,
            max_turns=max_turns,
            hooks=hooks,
            run_config=run_config,
            error_handlers=error_handlers,
            previous_response_id=previous_response_id,
            auto_previous_response_id=auto_previous_response_id,
            conversation_id=conversation_id,
            session=session,
            **ours,
        )

    @classmethod
    def run_sync(
        cls, starting_agent: Agent[Any], input: RunInput, **options: Any
    ) -> RunResult[Any]:
        """Run as `run` does, from code that is not async.

        Raises RuntimeError where an event loop is running.
        """
        return get_default_agent_runner().run_sync(starting_agent, input, **options)

    @classmethod
    def run_streamed(
        cls,
        starting_agent: Agent[Any],
        input: RunInput,
        context: Any = None,
        max_turns: int | Unset | None = UNSET,
        hooks: RunHooksBase[Any, Any] | None = None,
        run_config: RunConfig | Mapping[str, Any] | None = None,
        previous_response_id: str | None = None,
        auto_previous_response_id: bool = False,
        conversation_id: str | None = None,
        session: Session | None = None,
        *,
        error_handlers: Mapping[str, Any] | None = None,
        **ours: Any,
    ) -> RunResultStreaming[Any]:
        """Start as `run` does and return at once; read `stream_events()`.

        `stop_grace_s` (30) is how long started tools may still take after `stop()`.
        """
        return get_default_agent_runner().run_streamed(
            starting_agent,
            input,
            context=context,
            max_turns=max_turns,
            hooks=hooks,
            run_config=run_config,
            error_handlers=error_handlers,
            previous_response_id=previous_response_id,
            auto_previous_response_id=auto_previous_response_id,
            conversation_id=conversation_id,
            session=session,
            **ours,
        )


async def _alone(run: Awaitable[RunResult[Any]]) -> RunResult[Any]:
    """Return what `run` gives; its connections end with the loop."""
    try:
        return await run
    finally:
        await close_clients()


def _prepared(
    agent: Agent[Any],
    given: RunInput,
    *,
    context: Any = None,
    max_turns: int | Unset | None = UNSET,
    hooks: RunHooksBase[Any, Any] | None = None,
    run_config: RunConfig | Mapping[str, Any] | None = None,
    error_handlers: Mapping[str, Any] | None = None,
    previous_response_id: str | None = None,
    auto_previous_response_id: bool = False,
    conversation_id: str | None = None,
    session: Session | None = None,
    session_settings: SessionSettings | None = None,
    context_serializer: Callable[[Any], Any] | None = None,
    context_deserializer: Callable[[Any], Any] | None = None,
    ports: Ports | None = None,
) -> Drive:
    """Return the stretch to drive. Raises UserError or TypeError on wrong use."""
    check_agent(agent)
    config = RunConfig.of(run_config)
    if session_settings is not None:
        config = dataclasses.replace(config, session_settings=session_settings)
    server = ServerConversation.of(
        conversation_id, previous_response_id, auto_previous_response_id
    )
    if isinstance(given, RunState):
        state = _resumed(agent, given, context, max_turns)
        state.server = state.server or server
    else:
        _check_input(given)
        turns = DEFAULT_MAX_TURNS if isinstance(max_turns, Unset) else max_turns
        wrapper = _wrapped(context)
        state = RunState(wrapper, given, agent, _turns(turns), server=server)
    check_session(session, state.server)
    as_stored = isinstance(given, RunState) and context is None
    state.remember_serializers(
        context_serializer, context_deserializer if as_stored else None
    )
    return Drive(
        state=state,
        go=drive,
        config=config,
        ports=ports or Ports(),
        control=Control(),
        hooks=checked_run_hooks(hooks),
        error_handlers=checked_handlers(error_handlers),
        session=session,
        resumed=isinstance(given, RunState),
    )


def _wrapped(context: Any) -> RunContextWrapper[Any]:
    if isinstance(context, RunContextWrapper):
        return RunContextWrapper(context=context.context, usage=context.usage)
    return RunContextWrapper(context=context)


def _turns(turns: int | None) -> int | None:
    if turns is not None and (not isinstance(turns, int) or turns < 1):
        raise UserError(
            f"max_turns is {turns!r}; give 1 or more, or None for no limit."
        )
    return turns


def _check_input(given: object) -> None:
    if isinstance(given, str):
        return
    if isinstance(given, Mapping | bytes) or not isinstance(given, Sequence):
        raise UserError(
            "A run's input is a text, a list of items or a RunState, "
            f"not {given!r:.80}."
        )


def _resumed(
    agent: Agent[Any],
    state: RunState[Any],
    context: Any,
    max_turns: int | Unset | None,
) -> RunState[Any]:
    if agent.name not in (state.root_agent.name, state.current_agent.name):
        names = {owner.current_agent.name for owner, _ in state.open_calls_below()}
        hint = (
            " It is an agent used as a tool in this run." if agent.name in names else ""
        )
        raise UserError(
            f"The state belongs to agent {state.root_agent.name!r}, but "
            f"{agent.name!r} was given; give the run's root agent.{hint}"
        )
    if context is not None:
        state.set_context(context)
    if not isinstance(max_turns, Unset):
        state.max_turns = _turns(max_turns)
    return state
