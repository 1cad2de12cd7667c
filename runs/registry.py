"""The agents people can start: registered in each installed app's `agents.py`.

    register(Agent(name="Support", tools=[refund]), key="support")

The modules are imported on first use, as the admin finds `admin.py`; a process that
runs no agent pays nothing for them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

from django.utils.module_loading import autodiscover_modules

from .engine import Agent
from .engine.state.restore import Renames
from .errors import UnknownAgent


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredAgent:
    key: str
    agent: Agent[Any]
    title: str
    description: str
    """One or two sentences for the person who chooses an agent."""
    max_running: int | None = None
    """How many of its runs are worked on at once, over all workers; None: any."""
    renames: Renames = field(default_factory=dict)
    """New names by old ones, of `agents` and `tools` that runs may still wait in."""


_agents: dict[str, RegisteredAgent] = {}


def register(
    agent: Agent[Any],
    *,
    key: str,
    title: str = "",
    description: str = "",
    max_running: int | None = None,
    renames: Renames | None = None,
) -> None:
    """Make `agent` known by `key`, which stays the same when the agent is renamed.

    With `max_running`, no more of its runs are worked on at once, over all workers; the
    others stay queued. `renames` declares what has another name since: `{"tools": {old:
    new}, "agents": {old: new}}`, the agents it reaches too. Runs that wait under the
    old names then go on without a question. It stays as long as such runs may wait, and
    says nothing of a name that is in use again.

    Raises ValueError when another agent has the key, when `max_running` is below 1, and
    when `renames` has other keys.
    """
    if max_running is not None and max_running < 1:
        raise ValueError(
            f"max_running={max_running} lets agent {key!r} never run; give at least 1, "
            "or leave it out for no limit."
        )
    if unknown := sorted((renames or {}).keys() - {"agents", "tools"}):
        raise ValueError(
            f"Agent key {key!r}: renames has {', '.join(unknown)}; it takes "
            "'agents' and 'tools'."
        )
    known = _agents.get(key)
    if known is not None and known.agent is not agent:
        raise ValueError(
            f"Agent key {key!r} is taken by {known.agent.name!r}; choose another."
        )
    _agents[key] = RegisteredAgent(
        key=key,
        agent=agent,
        title=title or agent.name,
        description=description or agent.handoff_description or "",
        max_running=max_running,
        renames=renames or {},
    )


def get(key: str) -> RegisteredAgent:
    """Return the agent called `key`. Raises UnknownAgent with the keys there are."""
    _discover()
    try:
        return _agents[key]
    except KeyError:
        known = ", ".join(sorted(_agents)) or "none"
        raise UnknownAgent(
            f"There is no agent {key!r}. Registered agents: {known}."
        ) from None


def all_agents() -> list[RegisteredAgent]:
    """Return every registered agent, by title."""
    _discover()
    return sorted(_agents.values(), key=lambda entry: entry.title.lower())


def limits() -> dict[str, int]:
    """Return how many runs of each limited agent may be worked on at once, by key."""
    _discover()
    return {
        key: entry.max_running
        for key, entry in _agents.items()
        if entry.max_running is not None
    }


@functools.cache
def _discover() -> None:
    autodiscover_modules("agents")
