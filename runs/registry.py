"""The agents people can start: registered in each installed app's `agents.py`.

    register(Agent(name="Support", tools=[refund]), key="support")

The modules are imported on first use, as the admin finds `admin.py`; a process that
runs no agent pays nothing for them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from django.utils.module_loading import autodiscover_modules

from .engine import Agent
from .errors import UnknownAgent


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredAgent:
    key: str
    agent: Agent[Any]
    title: str
    description: str
    """One or two sentences for the person who chooses an agent."""


_agents: dict[str, RegisteredAgent] = {}


def register(
    agent: Agent[Any], *, key: str, title: str = "", description: str = ""
) -> None:
    """Make `agent` known by `key`, which stays the same when the agent is renamed.

    Raises ValueError when another agent has the key.
    """
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


@functools.cache
def _discover() -> None:
    autodiscover_modules("agents")
