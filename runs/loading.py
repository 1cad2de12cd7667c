"""From stored rows to a RunState the engine can go on with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from . import codec, registry
from .engine import Agent, InvalidRunState, RunState
from .engine.digest import JSONObject
from .engine.restore import restore
from .engine.stored import (
    StoredLog,
    read_guardrail,
    read_head,
    read_item,
    read_order,
    read_view,
)
from .models import Conversation, EventKind, Run, RunEvent, ToolExecution

NEVER_RUN = "This call was not run: the run ended first."
IN_DOUBT = (
    "This call started and nobody saw how it ended; find out before doing it again."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedRun:
    agent: Agent[Any]
    state: RunState[Any]
    max_turns: int
    stopping: bool


def load(run_id: Any) -> LoadedRun:
    """Return the run as it stands in the database.

    Raises UnknownAgent, InvalidRunState, RunStateVersionError, or UserError when its
    agent has changed under an open call.
    """
    run = Run.objects.select_related("conversation", "requester").get(pk=run_id)
    agent = registry.get(run.agent_key).agent
    state = restore(
        RunState,
        agent,
        read_head(_json(run.head)),
        _logs(run),
        history=history_before(run),
        context=_context(run),
    )
    for _, open_call in state.open_calls_below():
        # Decision rows are the only truth; what the head remembers may be older.
        open_call.verdict = None
        open_call.in_doubt = False
    return LoadedRun(
        agent=agent,
        state=state,
        max_turns=run.max_turns,
        stopping=run.stop_requested_at is not None,
    )


_READ = {
    EventKind.ITEM: read_item,
    EventKind.RESPONSE: lambda data: data,
    EventKind.GUARDRAIL: read_guardrail,
    EventKind.VIEW: read_view,
    EventKind.ORDER: read_order,
}


def _logs(run: Run) -> Callable[[str, Any], StoredLog]:
    """Return what gives the rows of each frame of the run."""
    found: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for event in run.events.filter(kind__in=_READ).order_by("seq"):
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
    """What tools are told of the run they work for."""
    return {
        "run": str(run.pk),
        "conversation": str(run.conversation_id),
        "requester": run.requester.get_username() if run.requester else "",
    }


def history_before(run: Run) -> list[JSONObject]:
    """Return what the model reads before this run: the runs it follows, oldest first.

    Nothing is copied: their log rows are read where they stand. A run whose state is
    being cleaned up is left out whole.
    """
    earlier = _followed(run)
    if not earlier:
        return []
    rows = RunEvent.objects.filter(
        run_id__in=earlier,
        run__state_inactive_at=None,
        kind=EventKind.ITEM,
        frame="",
    )
    place = {pk: index for index, pk in enumerate(earlier)}
    ordered = sorted(rows, key=lambda row: (place[row.run_id], row.seq))
    started = set(
        ToolExecution.objects.filter(run_id__in=earlier).values_list(
            "call_key", flat=True
        )
    )
    return answered([row.data["raw"] for row in ordered], started)


def _followed(run: Run) -> list[Any]:
    before = dict(
        Conversation.objects.get(pk=run.conversation_id).runs.values_list(
            "pk", "previous_id"
        )
    )
    chain, follows = [], run.previous_id
    while follows is not None and follows not in chain:
        chain.append(follows)
        follows = before.get(follows)
    return chain[::-1]


def answered(items: list[JSONObject], started: Collection[str]) -> list[JSONObject]:
    """Return `items` with an output for each call: an orphan confuses every model.

    `started` are the calls that may have had their effect all the same.
    """
    outputs = {
        item["call_id"] for item in items if item.get("type") == "function_call_output"
    }
    whole: list[JSONObject] = []
    for item in items:
        whole.append(item)
        if item.get("type") == "function_call" and item["call_id"] not in outputs:
            whole.append(
                {
                    "type": "function_call_output",
                    "call_id": item["call_id"],
                    "output": IN_DOUBT if item["call_id"] in started else NEVER_RUN,
                }
            )
    return whole
