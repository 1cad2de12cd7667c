"""What a run gives back, whole or as it goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from .cancel import cancel_all
from .context import RunContextWrapper, TContext
from .digest import JSONObject
from .drive import Drive
from .events import AgentUpdatedStreamEvent, StreamEvent
from .items import RunItem, ToolApprovalItem
from .loop import drive
from .state import RunState
from .usage import Usage

if TYPE_CHECKING:
    from .agent import Agent
    from .models.interface import ModelResponse

T = TypeVar("T")


class RunResultBase(Generic[TContext]):
    """A run as it stands: its items, its answer or the calls it waits for."""

    def __init__(self, state: RunState[TContext]) -> None:
        self._state = state

    @property
    def state(self) -> RunState[TContext]:
        """The live state; `to_state` gives one of your own."""
        return self._state

    @property
    def input(self) -> list[JSONObject]:
        return self._state.original_input

    @property
    def new_items(self) -> list[RunItem]:
        """The items since the input, then one for each call that waits."""
        return [*self._state.new_items, *self.interruptions]

    @property
    def raw_responses(self) -> list[ModelResponse]:
        return self._state.model_responses

    @property
    def final_output(self) -> Any:
        """The agent's answer; None while the run is paused."""
        return self._state.final_output

    @property
    def interruptions(self) -> list[ToolApprovalItem]:
        """The calls that wait for a person; empty when the run has ended."""
        return self._state.get_interruptions()

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

    def to_input_list(self) -> list[JSONObject]:
        """Return everything so far as the input of a next run."""
        return self._state.model_input()


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
        run.emit = self._events.put
        self.run_loop_task = asyncio.create_task(self._loop())

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
        self._run.stopping.set()

    def cancel(self, mode: Literal["immediate", "after_turn"] = "immediate") -> None:
        """End this stretch now, or once the calls of this turn are settled.

        The state can be resumed; after `immediate` a started call is in doubt.
        """
        if mode == "after_turn":
            self._run.pause_after_turn = True
        else:
            self.run_loop_task.cancel()

    async def aclose(self) -> None:
        """Cancel the run and wait until it has ended."""
        await cancel_all({self.run_loop_task})

    async def _loop(self) -> None:
        try:
            await self._events.put(AgentUpdatedStreamEvent(self._state.current_agent))
            await drive(self._run)
        finally:
            self.is_complete = True
            self._events.put_nowait(None)
