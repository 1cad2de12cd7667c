"""How a stretch of a run begins: what a session holds, who works."""

from __future__ import annotations

from ..events import AgentUpdatedStreamEvent
from .drive import Drive
from .memory import recall


async def begin(run: Drive) -> None:
    """Make the run ready for its first step in this stretch."""
    state = run.state
    if run.config.reasoning_item_id_policy is not None:
        state.set_reasoning_item_id_policy(run.config.reasoning_item_id_policy)
    await run.emit(AgentUpdatedStreamEvent(state.current_agent))
    await recall(run)
