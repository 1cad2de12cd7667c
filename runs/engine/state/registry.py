"""Agents found by name, for states that are read without naming their agent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import UserError

if TYPE_CHECKING:
    from ..agent import Agent

AgentLookup = Callable[[str], "Agent[Any] | None"]

_lookups: list[AgentLookup] = []


def set_agent_registry(lookup: AgentLookup | None) -> None:
    """Say how `RunState.from_json` finds a root agent by its name; None forgets it."""
    _lookups[:] = [lookup] if lookup else []


def registered_agent(name: str) -> Agent[Any]:
    """Return the agent called `name`. Raises UserError when nobody knows it."""
    for lookup in _lookups:
        if (agent := lookup(name)) is not None:
            return agent
    raise UserError(
        f"The state belongs to agent {name!r}, which no registry knows; give the agent "
        "as from_json(agent, state), or call set_agent_registry."
    )
