"""What one stretch of a run carries with it: its state, its ports, its stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .cancel import cancel_all, is_leaked_cancel
from .config import RunConfig
from .errors import ModelCallError, RunStopped, UserError
from .events import StreamEvent
from .ports import Ports
from .state import RunState

T = TypeVar("T")
Emit = Callable[[StreamEvent], Awaitable[None]]


async def _emit_nothing(event: StreamEvent) -> None:
    return None


@dataclass(eq=False, kw_only=True)
class Drive:
    """One stretch of a run, from a state to its next pause or end."""

    state: RunState[Any]
    config: RunConfig = field(default_factory=RunConfig)
    ports: Ports = field(default_factory=Ports)
    streamed: bool = False
    emit: Emit = _emit_nothing
    stop_grace_s: float = 30.0
    """How long started tools may still take once the run is stopped."""
    resumed: bool = False
    """True until what was decided while the run waited has been looked up."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    pause_after_turn: bool = False
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the state changes and the change is stored: one order for both."""

    async def unless_stopped(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` gives. Raises RunStopped, and ends it, on a stop.

        A cancellation that nobody asked for, and an exit, are failures of `work`.
        """
        if self.stopping.is_set():
            work.close()
            raise RunStopped("The run was stopped.")
        task = asyncio.ensure_future(_contained(work))
        stop = asyncio.ensure_future(self.stopping.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if self.stopping.is_set():
                raise RunStopped("The run was stopped.")
            return task.result()
        finally:
            await cancel_all({task, stop})


async def _contained(work: Coroutine[Any, Any, T]) -> T:
    try:
        return await work
    except SystemExit as error:
        raise UserError(f"Code of the agent asked to exit ({error.code}).") from error
    except asyncio.CancelledError as error:
        if is_leaked_cancel():
            raise ModelCallError("The call of the model was cancelled.") from error
        raise
