"""What one stretch of a run carries with it: its state, its ports, its stop."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Mapping,
)
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from ..callbacks import contained
from ..cancel import Stop, cancel_all, is_leaked_cancel
from ..config import RunConfig
from ..errors import (
    AgentsException,
    JournalFailed,
    ModelCallError,
    RunStopped,
)
from ..events import StreamEvent
from ..lifecycle import Hooks, RunHooksBase
from ..ports import LogEntry, Ports
from ..state.run_state import RunState
from .spans import RunSpans

if TYPE_CHECKING:
    from ..sessions import Session
    from ..tracing import Trace

T = TypeVar("T")
Emit = Callable[[StreamEvent], Awaitable[None]]


async def emit_nothing(event: StreamEvent) -> None:
    return None


@dataclass(eq=False)
class Control:
    """What the root agent's stretch shares with those of agents used as tools."""

    stop_grace_s: float = 30.0
    """How long started tools may still take once the run is stopped."""
    pause_after_turn: bool = False
    reviewer_stopped: bool = False
    """A rejection somewhere ends the whole run: no model of it is asked again."""
    stopping: Stop = field(default_factory=Stop)
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the state changes and the change is stored: one order for both."""


@dataclass(eq=False, kw_only=True)
class Drive:
    """One stretch of one agent's run, from a state to its next pause or end."""

    state: RunState[Any]
    go: Callable[[Drive], Coroutine[Any, Any, None]]
    """The loop: drives a stretch to its end."""
    config: RunConfig = field(default_factory=RunConfig)
    ports: Ports = field(default_factory=Ports)
    control: Control = field(default_factory=Control)
    hooks: RunHooksBase[Any, Any] | None = None
    error_handlers: Mapping[str, Any] = field(default_factory=dict)
    session: Session | None = None
    streamed: bool = False
    emit: Emit = emit_nothing
    announce: Emit = emit_nothing
    """Tells of approvals; an inner agent's too, on the outer stream."""
    resumed: bool = False
    """True until what was decided while the run waited has been looked up."""
    trace: Trace | None = None
    """The trace it is told in, once it has begun."""
    spans: RunSpans = field(init=False)
    agent_started: bool = False
    """True once the hooks were told that the present agent works in this stretch."""

    def __post_init__(self) -> None:
        self.spans = RunSpans(self.config)

    @property
    def own_hooks(self) -> Hooks:
        """The hooks of the run and of the agent whose turn it is."""
        return Hooks(self.hooks, self.state.current_agent.hooks)

    def inner(self, state: RunState[Any], **changes: Any) -> Drive:
        """Return the stretch of an agent that this one uses as a tool."""
        fresh: dict[str, Any] = {
            "hooks": None,
            "session": None,
            "error_handlers": {},
            "streamed": False,
            "emit": emit_nothing,
            "agent_started": False,
            "resumed": False,
        }
        return dataclasses.replace(self, state=state, **(fresh | changes))

    @contextlib.asynccontextmanager
    async def storing(self) -> AsyncIterator[list[LogEntry]]:
        """Change the state inside; the entries put into the list are stored with it.

        Raises JournalFailed, or what the journal itself raises of the engine's errors.
        """
        entries: list[LogEntry] = []
        async with self.control.writing:
            yield entries
            await self.journal(self.ports.journal.append(self.state.root, entries))

    async def journal(self, stored: Awaitable[T]) -> T:
        """Return what the journal gives. Raises as `storing`."""
        try:
            return await stored
        except AgentsException:
            raise
        except Exception as error:
            raise JournalFailed(
                f"A step could not be stored: {type(error).__name__}: {error}"
            ) from error

    async def unless_stopped(self, work: Awaitable[T]) -> T:
        """Return what `work` gives. Raises RunStopped, and ends it, on a stop.

        A cancellation that nobody asked for, and an exit, are failures of `work`.
        """
        stopping = self.control.stopping
        if stopping.is_set():
            if asyncio.iscoroutine(work):
                work.close()
            raise RunStopped("The run was stopped.")
        task = asyncio.ensure_future(
            contained("Code of the agent", _unless_cancelled(work))
        )
        try:
            await asyncio.wait(
                {task, stopping.told()}, return_when=asyncio.FIRST_COMPLETED
            )
            if stopping.is_set():
                raise RunStopped("The run was stopped.")
            return task.result()
        except BaseException:
            await cancel_all({task})
            raise

    async def within_grace(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` gives, which a stop leaves as long as a started tool.

        Raises RunStopped when it has not ended by then.
        """
        task = asyncio.ensure_future(contained("Code of the agent", work))
        told = self.control.stopping.told()
        try:
            await asyncio.wait({task, told}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                await asyncio.wait({task}, timeout=self.control.stop_grace_s)
            if not task.done():
                raise RunStopped("The run was stopped.")
            return task.result()
        finally:
            await cancel_all({task})


async def _unless_cancelled(work: Awaitable[T]) -> T:
    try:
        return await work
    except asyncio.CancelledError as error:
        if is_leaked_cancel():
            raise ModelCallError("The call of the model was cancelled.") from error
        raise
