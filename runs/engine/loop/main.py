"""The run loop: ask the model, settle what it called, ask again.

Each step is stored by the journal before the next one builds on it.
"""

from __future__ import annotations

from ..callbacks import contained
from ..errors import MaxTurnsExceeded
from .begin import begin
from .conclude import conclude, tools_answer
from .drive import Drive
from .failure import handled, tell_error
from .frames import run_frame
from .hand_over import hand_over
from .memory import remember
from .settle import settle_calls
from .spans import spans_of_run
from .turn import ask_model


async def drive(run: Drive) -> None:
    """Go on until the run has its answer or waits for people.

    Raises what ends it otherwise, an exception of the author's code as it is; the
    error's `run_state` is the state to go on from.
    """
    try:
        await contained("Code of the agent", _steps(run))
    except Exception as error:
        tell_error(error, run.state)
        raise


async def _steps(run: Drive) -> None:
    with spans_of_run(run):
        await begin(run)
        while not run.state.is_done and await step(run):
            pass
        if run.state.is_done:
            await remember(run)


async def step(run: Drive) -> bool:
    """Take the run one step on; False when it has to wait, or was asked to pause."""
    state = run.state
    run.spans.begin_agent(state.current_agent)
    await settle_calls(run, run_frame)
    if run.control.reviewer_stopped:
        return state.is_done
    await hand_over(run)
    if state.open:
        return False
    if state.is_done:
        return True
    await tools_answer(run)
    if state.answer is not None:
        await conclude(run)
        return True
    await remember(run)
    if run.control.pause_after_turn:
        return False
    try:
        await ask_model(run)
    except MaxTurnsExceeded as error:
        await handled(run, "max_turns", error)
    return True
