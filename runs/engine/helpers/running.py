"""Running an agent in one call."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from ..agent import Agent
from ..digest import JSONObject
from ..errors import AgentsException
from ..result import RunResult, RunResultStreaming
from ..run import Runner
from ..sessions import Session
from ..state.run_state import RunState

Result: TypeAlias = RunResult[Any] | RunResultStreaming[Any]
ResultProcessor: TypeAlias = Callable[[Any], Awaitable[Any]]

_log = logging.getLogger(__name__)


async def default_result_processor(result: Any) -> Any:
    """Return `result` once its run has paused or ended, and everything is stored.

    A streamed run's events are read and dropped; of any other there is nothing to
    wait for. Raises what ended the run.
    """
    if isinstance(result, RunResultStreaming):
        async for _ in result.stream_events():
            pass
    return result


async def run_agent(
    agent: Agent[Any],
    run_input: str | Sequence[JSONObject] | RunState[Any],
    session: Session | None = None,
    stream: bool = False,
    result_processor: ResultProcessor | None = default_result_processor,
    **options: Any,
) -> Any:
    """Run the agent and return its result, as `result_processor` gives it.

    `stream` makes it a RunResultStreaming; the default processor waits for its end,
    None returns it at once, with the run under way. `options` are those of
    `Runner.run`. Raises what Runner.run does, once it is written to the log.
    """
    try:
        result = await _started(agent, run_input, session, stream, options)
        return result if result_processor is None else await result_processor(result)
    except AgentsException as error:
        _log.warning(
            "A run of an agent failed.",
            extra={"agent": agent.name, "error": type(error).__name__},
        )
        raise


async def _started(
    agent: Agent[Any],
    run_input: str | Sequence[JSONObject] | RunState[Any],
    session: Session | None,
    stream: bool,
    options: dict[str, Any],
) -> Result:
    if session is not None:
        options["session"] = session
    if stream:
        return Runner.run_streamed(agent, run_input, **options)
    return await Runner.run(agent, run_input, **options)
