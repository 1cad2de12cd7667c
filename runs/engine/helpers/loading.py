"""States read back: of any version, and checked before they are resumed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..agent import Agent
from ..digest import JSONObject
from ..errors import AgentsException, InvalidRunState
from ..state.migrate import migrate_state
from ..state.run_state import RunState
from ..state.stored import read_head


async def load_state_with_migration(
    state_json: Mapping[str, Any] | str,
    agent: Agent[Any] | None = None,
    **options: Any,
) -> RunState[Any]:
    """Return a stored state of any supported schema version, made the current one.

    Without its root `agent` it is looked for in the registry, by name. `options` are
    those of `RunState.from_json`. Raises RunStateVersionError on a version that this
    engine does not read, InvalidRunState on what is no state, UserError when the
    agent has changed or is not known.
    """
    data = migrate_state(_object(state_json))
    given: tuple[Any, ...] = (data,) if agent is None else (agent, data)
    return await RunState.from_json(*given, **options)


def validate_state(state: RunState[Any] | Mapping[str, Any] | str) -> bool:
    """Say whether a state can be resumed; `state_problems` says why not."""
    return not state_problems(state)


def state_problems(state: RunState[Any] | Mapping[str, Any] | str) -> list[str]:
    """Return what keeps a state from going on, one sentence each; empty: nothing.

    `state` is one that was read, or one as it is stored. Calls that wait for a
    decision are no problem: the run pauses again for them.
    """
    try:
        head = state if isinstance(state, RunState) else read_head(_object(state))
    except AgentsException as error:
        return [str(error)]
    if head.is_done:
        return ["The run has ended; begin a new one with its items as input."]
    if head.max_turns is not None and head.turn >= head.max_turns:
        return [f"The run has used its {head.max_turns} turns; give it more to resume."]
    return []


def _object(state_json: Mapping[str, Any] | str) -> JSONObject:
    if isinstance(state_json, Mapping):
        return dict(state_json)
    try:
        data = json.loads(state_json)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRunState(f"The stored state is no JSON: {error}") from error
    if not isinstance(data, dict):
        raise InvalidRunState("The stored state is no JSON object.")
    return data
