"""What a run gives back, whole or as it goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from .cancel import cancel_all
from .context import RunContextWrapper, TContext
from .digest import JSONObject
from .errors import UserError
from .events import StreamEvent
from .items import RunItem, ToolApprovalItem, input_items
from .loop.drive import Drive
from .loop.failure import items_of
from .state.run_state import RunState
from .tools.agent_tool import AgentToolInvocation
from .usage import Usage

if TYPE_CHECKING:
    from .agent import Agent
    from .models.interface import ModelResponse
    from .tracing import Trace

T = TypeVar("T")


class RunResultBase(Generic[TContext]):
    """A run as it stands: its items, its answer or the calls it waits for."""

    def __init__(
        self,
        state: RunState[TContext],
        *,
        trace: Trace | None = None,
        invocation: AgentToolInvocation | None = None,
    ) -> None:
        self._state = state
        self._trace = trace
        self._invocation = invocation

    @property
    def state(self) -> RunState[TContext]:
        """The live state; `to_state` gives one of your own."""
        return self._state

    @property
    def input(self) -> str | list[JSONObject]:
        """What the run was given: one text, or items, those of a session first."""
        return self._state.given_input

    @property
    def new_items(self) -> list[RunItem]:
        """The items since the input, then one for each of its calls that waits.

        What waits inside an agent used as a tool is in `interruptions` alone.
        """
        return items_of(self._state)

    @property
    def raw_responses(self) -> list[ModelResponse]:
        return self._state.model_responses

    @property
    def final_output(self) -> Any:
        """The agent's answer; None while the run is paused."""
        return self._state.final_output

    @property
    def output(self) -> Any:
        """Another name for `final_output`."""
        return self._state.final_output

    @property
    def stop_reason(self) -> str | None:
        """Why the run ended without an answer, when a reviewer stopped it."""
        return self._state.stop_reason

    @property
    def interruptions(self) -> list[ToolApprovalItem]:
        """The calls that wait for a person; empty when the run has ended."""
        return self._state.get_interruptions()

    @property
    def input_guardrail_results(self) -> list[Any]:
        return self._state.input_guardrail_results

    @property
    def output_guardrail_results(self) -> list[Any]:
        return self._state.output_guardrail_results

    @property
    def tool_input_guardrail_results(self) -> list[Any]:
        return self._state.tool_input_guardrail_results

    @property
    def tool_output_guardrail_results(self) -> list[Any]:
        return self._state.tool_output_guardrail_results

    @property
    def context_wrapper(self) -> RunContextWrapper[TContext]:
        return self._state.context

    @property
    def usage(self) -> Usage:
        return self._state.usage

    @property
    def last_agent(self) -> Agent[Any]:
        return self._state.current_agent

    @property
    def last_response_id(self) -> str | None:
        return self._state.last_response_id

    @property
    def max_turns(self) -> int | None:
        return self._state.max_turns

    @property
    def agent_tool_invocation(self) -> AgentToolInvocation | None:
        """The call this run was started by, when its agent was used as a tool."""
        return self._invocation

    @property
    def trace(self) -> Trace | None:
        """The trace of the run; a NoOpTrace when tracing is off."""
        return self._trace

    def final_output_as(self, cls: type[T], raise_if_incorrect_type: bool = False) -> T:
        """Return the answer, typed. Raises TypeError, if asked to, on another type."""
        if raise_if_incorrect_type and not isinstance(self.final_output, cls):
            raise TypeError(
                f"The final output is {type(self.final_output).__name__}, "
                f"not {cls.__name__}."
            )
        return cast(T, self.final_output)

    def to_state(self) -> RunState[TContext]:
        """Return a state to decide on, store or resume; each call gives a new one."""
        return self._state.copy()

    def to_input_list(
        self, *, mode: Literal["preserve_all", "normalized"] = "preserve_all"
    ) -> list[JSONObject]:
        """Return everything so far as the input of a next run.

        `preserve_all` gives every item of the run, `normalized` what the last agent
        reads: the two differ once a handoff has filtered its input.
        """
        if mode == "normalized":
            return self._state.model_input()
        if mode != "preserve_all":
            raise UserError(
                f"mode {mode!r} is neither 'preserve_all' nor 'normalized'."
            )
        state = self._state
        given = state.given_input
        return [*input_items(given), *state.transcript.read(state.new_items)]

    def release_agents(self, release_new_items: bool = True) -> None:
        """Nothing to do: a result keeps its agents for as long as it is kept."""


class RunResult(RunResultBase[TContext]):
    """A run that has ended or paused."""


class RunResultStreaming(RunResultBase[TContext]):
    """A run that goes on while its events are read."""

    def __init__(self, run: Drive) -> None:
        super().__init__(run.state)
        self._run = run
        self._events: asyncio.Queue[StreamEvent | None] = asyncio.Queue()
        self.is_complete = False
        """True once the run has paused or ended and nothing more is stored."""
        run.emit = run.announce = self._emit
        self.run_loop_task = asyncio.create_task(self._run.go(self._run))
        self.run_loop_task.add_done_callback(self._over)

    @property
    def current_agent(self) -> Agent[Any]:
        return self._state.current_agent

    @property
    def current_turn(self) -> int:
        return self._state.turn

    @property
    def run_loop_exception(self) -> BaseException | None:
        """What ended the run, once it has ended with an error."""
        task = self.run_loop_task
        if not task.done() or task.cancelled():
            return None
        return task.exception()

    async def stream_events(self) -> AsyncIterator[StreamEvent]:
        """Yield the events as they come. Raises, at the end, what ended the run."""
        while (event := await self._events.get()) is not None:
            yield event
        self._events.put_nowait(None)
        if not self.run_loop_task.cancelled():
            await self.run_loop_task

    def __aiter__(self) -> AsyncIterator[StreamEvent]:
        return self.stream_events()

    def stop(self) -> None:
        """End the run for good: the model's stream is cut, started tools may end."""
        self._run.control.stopping.set()

    def cancel(self, mode: Literal["immediate", "after_turn"] = "immediate") -> None:
        """End this stretch now, or once the calls of this turn are settled.

        The state can be resumed; after `immediate` a started call is in doubt.
        """
        if mode == "after_turn":
            self._run.control.pause_after_turn = True
        elif mode == "immediate":
            self.run_loop_task.cancel()
        else:
            raise UserError(f"mode {mode!r} is neither 'immediate' nor 'after_turn'.")

    async def aclose(self) -> None:
        """Cancel the run and wait until it has ended."""
        await cancel_all({self.run_loop_task})

    async def _emit(self, event: StreamEvent) -> None:
        self._events.put_nowait(event)

    def _over(self, task: asyncio.Task[None]) -> None:
        # Also of a task that was cancelled before it began.
        self._trace = self._run.trace
        self.is_complete = True
        self._events.put_nowait(None)
