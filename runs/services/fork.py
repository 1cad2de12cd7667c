"""A new run from a step of another, which is left as it is.

The fork reads the other run's log up to a whole step, where it stands: nothing is
copied. It is a run of its own in a conversation of its own, so its calls have other
requests, decisions, Rules and executions: nothing that was pending, approved or claimed
in the other one counts in it.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.utils import timezone

from .. import codec, registry
from ..checkpoint import Checkpoint, checkpoint
from ..engine import Agent, UserError
from ..engine.state.agent_map import AgentMap
from ..engine.state.definition import definition_of
from ..errors import EmptyInput, NotForkable
from ..gate import gate
from ..models import Conversation, Run
from ..transactions import write
from . import limits, log, start


@write
def fork_run(run_id: UUID, seq: int, *, by: User, text: str = "") -> Run:
    """Queue a run that goes on from the last whole step up to `seq` of another.

    `text` is said to its agent first, and is needed where the agent had the last word.
    Raises NotForkable, EmptyInput, QueueFull, UnknownAgent, Run.DoesNotExist.
    """
    limits.check_queue()
    parent = log.lock(run_id)
    point = checkpoint(parent, seq)
    text = text.strip()
    if point.has_last_word and not text:
        raise EmptyInput("The agent had the last word here; write what comes next.")
    agent = registry.get(parent.agent_key).agent
    turn_of = _whose_turn(agent, point)
    fork = _fork_of(parent, point, agent, by)
    state = start.first_state(fork, agent, [text] if text else [])
    state.current_agent = turn_of
    start.begin(fork, state, _speakers(parent, by))
    said = {"run": str(parent.pk), "seq": point.seq}
    gate().note(fork.pk, by=by.get_username(), action="fork", said=said)
    return fork


def _fork_of(parent: Run, point: Checkpoint, agent: Agent[Any], by: User) -> Run:
    now = timezone.now()
    return Run(
        conversation=Conversation.objects.create(
            agent_key=parent.agent_key,
            title=parent.conversation.title,
            owner=by,
            created_at=now,
            updated_at=now,
        ),
        agent_key=parent.agent_key,
        agent_digest=agent.definition_digest(),
        definition=codec.dumps(definition_of(agent)),
        trigger=Run.Trigger.FORK,
        requester=by,
        parent=parent,
        fork_seq=point.seq,
        created_at=now,
        updated_at=now,
    )


def _whose_turn(agent: Agent[Any], point: Checkpoint) -> Agent[Any]:
    """Return the agent that goes on. Raises NotForkable when that is not certain."""
    if not point.agent:
        return agent
    agents = AgentMap(agent)
    try:
        found = agents.agent_of(point.agent)
        others = agents.key_of(found) != point.agent
    except UserError:
        raise NotForkable(
            "The agent whose turn it is here is no more; fork before the handoff."
        ) from None
    if others or _has_namesake(agents, point.agent):
        raise NotForkable(
            "More than one agent has this name, so it is not certain whose turn it is; "
            "fork before the handoff."
        )
    return found


def _has_namesake(agents: AgentMap, name: str) -> bool:
    try:
        agents.agent_of(f"{name}#2")
    except UserError:
        return False
    return True


def _speakers(parent: Run, by: User) -> set[int]:
    """Return all who have said something that the fork reads: none decides in it.

    Those of the runs before the parent too: what they typed is read here as well.
    """
    runs = parent.conversation.runs.filter(pk__lte=parent.pk)
    speakers = Run.speakers.through.objects.filter(run__in=runs)
    said = {*speakers.values_list("user_id", flat=True), by.pk}
    asked = runs.exclude(requester=None).values_list("requester_id", flat=True)
    return said | {key for key in asked if key is not None}
