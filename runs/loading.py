"""From stored rows to a RunState the engine can go on with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User

from . import codec, registry
from .engine import Agent, InvalidRunState, RunState
from .engine.digest import JSONObject
from .engine.state.restore import restore
from .engine.state.stored import (
    StoredLog,
    read_guardrail,
    read_head,
    read_item,
    read_order,
    read_view,
)
from .history import history_before
from .models import EventKind, Run, RunEvent, RunStatus
from .services import rows
from .statements import Rows
from .upgrades import (
    CodeChange,
    NewCalls,
    code_change,
    new_calls,
    renames_for,
    started_calls,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedRun:
    run_id: UUID
    agent: Agent[Any]
    agent_key: str
    definition: str
    """Of the agent and all it can reach, as it is now."""
    state: RunState[Any]
    context: JSONObject
    """What tools are told of the run they work for."""
    max_turns: int
    stopping: bool
    epoch: int
    """Of the lease under which the last of it was written."""
    head: str
    """As it is stored."""
    title: str
    """The agent's title, for its traces."""
    conversation: str
    """Id of its conversation."""
    change: CodeChange | None = None
    """How its code has changed; with one, `state` is not to be driven."""
    calls: NewCalls | None = None
    """What becomes of its open calls under that change, where a person is asked."""


def load(run_id: UUID) -> LoadedRun:
    """Return the run as it stands in the database, and how its code has changed.

    Raises UnknownAgent, InvalidRunState, RunStateVersionError, or UserError when it
    cannot go on under the code there is, whatever a person says.
    """
    return _loaded(rows.run.get(run_id))


def load_queued(run_id: UUID) -> LoadedRun | None:
    """Return the run as `load`; None when it is not queued any more."""
    run = rows.run.get(run_id)
    return _loaded(run) if run.status == RunStatus.QUEUED else None


def _loaded(run: Run) -> LoadedRun:
    registered = registry.get(run.agent_key)
    agent, head = registered.agent, read_head(_json(run.head))
    change = code_change(run, registered, head)
    asks = change is not None and change.asks
    context = _context(run)
    state = restore(
        RunState,
        agent,
        head,
        _logs(run),
        history=history_before(run),
        context=dict(context),
        renames=renames_for(registered, head, accepted=asks),
        started=started_calls(run) if asks else None,
    )
    # Decision rows are the only truth; what the head remembers may be older.
    state.forget_verdicts()
    return LoadedRun(
        run_id=run.pk,
        agent=agent,
        agent_key=run.agent_key,
        definition=run.definition if change is None else change.now,
        state=state,
        context=context,
        max_turns=run.max_turns,
        stopping=run.stop_requested_at is not None,
        epoch=run.lease_epoch,
        head=run.head,
        title=registered.title,
        conversation=str(run.conversation_id),
        change=change,
        calls=new_calls(state, head) if asks else None,
    )


_READ = {
    EventKind.ITEM: read_item,
    EventKind.RESPONSE: lambda data: data,
    EventKind.GUARDRAIL: read_guardrail,
    EventKind.VIEW: read_view,
    EventKind.ORDER: read_order,
}
_USER = Rows(User, "WHERE id = %s")
_LOG = Rows(RunEvent, "WHERE run_id = %s AND kind IN ({keys}) ORDER BY seq")


def _logs(run: Run) -> Callable[[str, Any], StoredLog]:
    """Return what gives the rows of each frame of the run."""
    found: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for event in _LOG(run.pk, keys=[str(kind) for kind in _READ]):
        found[event.frame, event.kind].append(_READ[EventKind(event.kind)](event.data))

    def log_of(frame: str, head: Any) -> StoredLog:
        views = found[frame, EventKind.VIEW]
        return StoredLog(
            items=found[frame, EventKind.ITEM],
            responses=found[frame, EventKind.RESPONSE],
            guardrails=found[frame, EventKind.GUARDRAIL],
            view=views[-1] if views else None,
            orders=found[frame, EventKind.ORDER],
        )

    return log_of


def _json(text: str) -> JSONObject:
    try:
        data = codec.loads(text)
    except ValueError as error:
        raise InvalidRunState(f"The run's stored head is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise InvalidRunState("The run's stored head is no JSON object.")
    return data


def _context(run: Run) -> JSONObject:
    return {
        "run": str(run.pk),
        "conversation": str(run.conversation_id),
        "requester": _name_of(run.requester_id),
    }


def _name_of(user_id: int | None) -> str:
    return "" if user_id is None else _USER.get(user_id).get_username()
