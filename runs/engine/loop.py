"""The run loop: ask the model, settle what it called, ask again.

Each step is stored by the journal before the next one builds on it.
"""

from __future__ import annotations

from .drive import Drive
from .errors import AgentsException, UserError
from .settle import settle_calls
from .turn import ask_model


async def drive(run: Drive) -> None:
    """Go on until the run has its answer or waits for people.

    Raises what ends it otherwise; the error's `run_state` is the state to go on from.
    """
    try:
        while not run.state.is_done:
            await settle_calls(run)
            if run.state.open or run.pause_after_turn:
                return
            await ask_model(run)
    except AgentsException as error:
        error.run_state = run.state
        raise
    except (Exception, SystemExit) as error:
        failure = UserError(f"The run failed: {type(error).__name__}: {error}")
        failure.run_state = run.state
        raise failure from error
