"""Whether a stored run may go on under the code that is there now."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from . import codec
from .engine import Call, RunState
from .engine.digest import JSONObject
from .engine.state.definition import (
    Difference,
    change_digest,
    definition_of,
    differences,
    living_renames,
)
from .engine.state.recollection import recollected
from .engine.state.stored import StoredCall, StoredState
from .models import Run, ToolExecution
from .registry import RegisteredAgent

UPGRADE_KEY = "/code"
"""Stands where requests have the key of their call: no call has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeChange:
    """How the code of a run differs from what it was last driven with."""

    run_id: str
    agent: str
    """The agent's title."""
    before: str
    """Its definition then, JSON."""
    now: str
    differences: Sequence[Difference]

    @property
    def asks(self) -> bool:
        """Whether a person must let the run go on."""
        return any(difference.asks for difference in self.differences)

    @property
    def digest(self) -> str:
        """What a person approves: this run under exactly this change."""
        return change_digest(self.run_id, self.before, self.now)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCalls:
    """What becomes of a run's open calls under changed code."""

    head: JSONObject
    """Of the run as it goes on."""
    changed: Sequence[Call]
    """Calls that are other ones by now, or have become a person's to approve."""
    gone: Sequence[str]
    """Keys of calls that end without running."""


def code_change(
    run: Run, registered: RegisteredAgent, head: StoredState
) -> CodeChange | None:
    """Return what is to be settled before the run is driven; None for nothing.

    A run that has done nothing yet begins with the code there is; so does one that was
    stored before definitions were, save for what its open calls remember.
    """
    definition = definition_of(registered.agent)
    now = codec.dumps(definition)
    if run.definition == now:
        return None
    change = functools.partial(
        CodeChange, run_id=str(run.pk), agent=registered.title, now=now
    )
    if head.turn == 0 and not head.open:
        return change(before=run.definition, differences=())
    if run.definition:
        before = codec.loads(run.definition)
    else:
        before = recollected(definition, registered.agent, head, registered.renames)
    found = differences(before, definition, registered.renames)
    settled = change(before=codec.dumps(before), differences=found)
    # What asks nobody is told when somebody is asked: until then nothing is written.
    return settled if settled.asks or not run.definition else None


def renames_for(
    registered: RegisteredAgent, head: StoredState, *, accepted: bool
) -> dict[str, dict[str, str]]:
    """Return the declared renames that hold; the root agent's own, once `accepted`."""
    agent, agents = registered.agent, dict(registered.renames.get("agents", {}))
    if accepted:
        agents.setdefault(head.agent, agent.name)
    if not agents and not registered.renames:
        return {}
    definition = definition_of(agent)
    return living_renames(definition, {**registered.renames, "agents": agents})


def started_calls(run: Run) -> set[str]:
    """Return the keys of calls that started, with no end of theirs recorded."""
    unended = run.executions.exclude(status__in=ToolExecution.FINISHED)
    return set(unended.values_list("call_key", flat=True))


def new_calls(state: RunState, head: StoredState) -> NewCalls:
    """Return how the open calls of `state`, under new code, differ from the stored."""
    stored = {call.key: call for call in _stored_calls(head)}
    changed, gone = [], []
    for _, open_call in state.open_calls_below():
        call = open_call.call
        before = stored[call.key]
        if open_call.is_void:
            gone.append(call.key)
        elif (call.digest, call.gated) != (before.digest, before.gated):
            changed.append(call)
    return NewCalls(head=state.head(), changed=changed, gone=gone)


def _stored_calls(head: StoredState) -> Iterator[StoredCall]:
    for call in head.open:
        yield call
        if call.nested is not None:
            yield from _stored_calls(call.nested)
