"""What a run's model reads of the runs before it, from their log rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from . import checkpoint
from .engine.calls import key_of
from .engine.digest import JSONObject
from .engine.errors import InvalidRunState
from .engine.hosted.local_tools import output_of
from .engine.hosted.shell_calls import one_output
from .engine.state.view import View
from .models import Conversation, EventKind, Run, RunEvent, ToolExecution

NEVER_RUN = "This call was not run: the run ended first."
IN_DOUBT = (
    "This call started and nobody saw how it ended; find out before doing it again."
)
_KINDS = (EventKind.ITEM, EventKind.ORDER, EventKind.VIEW)


def history_before(run: Run) -> list[JSONObject]:
    """Return what the model reads before this run: the runs it follows, oldest first.

    Nothing is copied: their log rows are read where they stand. Where a run's model
    read a view of its own at the end (a handoff filtered it, a guardrail blocked an
    output), that view stands for all before it too. What an agent used as a tool said
    stays inside its call. A run whose state is being cleaned up is left out whole.
    Before the runs of a conversation that is a fork comes what was read at the point
    it was forked from. Raises InvalidRunState when that is not stored any more.
    """
    earlier = _followed(run)
    items = _read_at_fork(_first(run, earlier))
    if not earlier:
        return items
    rows: dict[Any, list[RunEvent]] = {pk: [] for pk in earlier}
    for row in RunEvent.objects.filter(
        run_id__in=earlier, run__state_inactive_at=None, kind__in=_KINDS, frame=""
    ).order_by("seq"):
        rows[row.run_id].append(row)
    for events in rows.values():
        items = _read_after(items, events)
    executed = ToolExecution.objects.filter(run_id__in=earlier)
    keys = executed.values_list("call_key", flat=True)
    # What an agent used as a tool has done, its call has begun to do.
    return answered(items, {key.partition("/")[0] for key in keys})


def _first(run: Run, earlier: Sequence[UUID]) -> Run:
    """Return the run that its conversation began with, as far as `run` reads it."""
    if not earlier:
        return run
    return Run.objects.select_related("parent").get(pk=earlier[0])


def _read_at_fork(fork: Run) -> list[JSONObject]:
    """Return what a model had read where `fork` was forked; nothing if it was not."""
    if fork.fork_seq is None:
        return []
    parent = fork.parent
    if parent is None or parent.state_inactive_at is not None:
        raise InvalidRunState(
            "The run that this conversation was forked from is not stored any more; "
            "start a new conversation."
        )
    before = history_before(parent)
    rows = checkpoint.rows_read(parent, fork.fork_seq)
    return answered(_read_after(before, rows), ())


def _followed(run: Run) -> list[Any]:
    if run.previous_id is None:
        return []
    before = dict(
        Conversation.objects.get(pk=run.conversation_id).runs.values_list(
            "pk", "previous_id"
        )
    )
    chain: list[UUID] = []
    follows: UUID | None = run.previous_id
    while follows is not None and follows not in chain:
        chain.append(follows)
        follows = before.get(follows)
    return chain[::-1]


def _read_after(before: list[JSONObject], events: Iterable[RunEvent]) -> list[Any]:
    """Return what a model reads after one more run; `events` are its root frame's."""
    rows: list[RunEvent] = []
    view: JSONObject | None = None
    for event in events:
        if event.kind == EventKind.ITEM:
            rows.append(event)
        elif event.kind == EventKind.ORDER:
            _reorder(rows, event.data)
        else:
            view = event.data
    raws = [row.data["raw"] for row in rows]
    if view is None:
        return [*before, *raws]
    return [*_shown(view, raws), *raws[view["at"] :]]


def _reorder(rows: list[RunEvent], order: JSONObject) -> None:
    """Put outputs in the order in which the model read them."""
    place = {key: index for index, key in enumerate(order["keys"])}
    start, end = order["start"], order["start"] + len(place)
    rows[start:end] = sorted(rows[start:end], key=lambda row: place[row.call_key])


def _shown(view: JSONObject, raws: Sequence[JSONObject]) -> list[JSONObject]:
    items: list[Any] = [SimpleNamespace(raw=raw) for raw in raws]
    read = View.from_json(view, items, lambda entry: SimpleNamespace(**entry))  # type: ignore[arg-type,return-value]  # an agent is not needed to read an item
    return [*read.base, *(item.raw for item in read.shown)]


def answered(items: list[JSONObject], started: Collection[str]) -> list[JSONObject]:
    """Return `items` with an output for each call: an orphan confuses every model.

    `started` are the keys of calls that may have had their effect all the same.
    """
    over = {
        item.get("call_id") or item.get("approval_request_id")
        for item in items
        if _is_output(item)
    }
    whole: list[JSONObject] = []
    for item in items:
        whole.append(item)
        call_id = _id_of_call(item)
        if call_id and call_id not in over:
            told = IN_DOUBT if key_of("", call_id) in started else NEVER_RUN
            whole.append(_output(item, call_id, told))
    return whole


_TOLD_AS_TEXT = ("function_call", "custom_tool_call", "local_shell_call")
_TOLD_OTHERWISE = ("shell_call", "apply_patch_call")


def _is_output(item: JSONObject) -> bool:
    kind = str(item.get("type"))
    return kind.endswith("_call_output") or kind == "mcp_approval_response"


def _id_of_call(item: JSONObject) -> str:
    """Return the id of a call that needs an output from here; empty for all else."""
    kind = item.get("type")
    if kind == "mcp_approval_request":
        return str(item.get("id") or "")
    here = kind in _TOLD_AS_TEXT or kind in _TOLD_OTHERWISE
    return str(item.get("call_id") or "") if here else ""


def _output(call: JSONObject, call_id: str, text: str) -> JSONObject:
    match call["type"]:
        case "mcp_approval_request":
            return {
                "type": "mcp_approval_response",
                "approval_request_id": call_id,
                "approve": False,
                "reason": text,
            }
        case "shell_call":
            told = [one_output(text, failed=True)]
            return output_of(call, output=told, status="completed")
        case "apply_patch_call":
            return output_of(call, output=text, status="failed")
    return output_of(call, output=text)
