"""The agents of a run by the names that a stored state has for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import UserError

if TYPE_CHECKING:
    from ..agent import Agent


class AgentMap:
    """Every agent that can be reached from `root` by handoffs.

    The first agent of a name is known by that name, a second one as `name#2`, in the
    order in which handoffs reach them.
    """

    def __init__(
        self, root: Agent[Any], renames: Mapping[str, str] | None = None
    ) -> None:
        self._agents: dict[str, Agent[Any]] = {}
        self._renames = dict(renames or {})
        waiting = [root]
        for agent in waiting:
            if any(agent is known for known in self._agents.values()):
                continue
            self._agents[self._free_key(agent.name)] = agent
            waiting += agent.handoff_targets()

    def key_of(self, agent: Agent[Any]) -> str:
        """Return the key of `agent`; its name when no handoff leads to it."""
        for key, known in self._agents.items():
            if known is agent:
                return key
        return agent.name

    def agent_of(self, key: str) -> Agent[Any]:
        """Return the agent `key` stands for. Raises UserError when there is none."""
        key = self._renames.get(key, key)
        if key in self._agents:
            return self._agents[key]
        known = ", ".join(self._agents)
        raise UserError(
            f"The state names the agent {key!r}, but from the given agent handoffs "
            f"lead to: {known}. Give the run's root agent; where an agent was renamed, "
            'say so with renames={"agents": {old: new}}.'
        )

    def _free_key(self, name: str) -> str:
        key, number = name, 1
        while key in self._agents:
            number += 1
            key = f"{name}#{number}"
        return key
