"""Items that no run of ours made, kept in a conversation's log all the same.

They are rows of a run that was never executed here: completed from the first, with
the trigger *session*. The next run of the conversation reads them as any others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.utils import timezone

from .. import codec, registry
from ..engine import LogEntry, RunContextWrapper, RunState, UserError
from ..engine.digest import JSONObject
from ..engine.state.run_state import MAX_CALL_ID
from ..errors import ConversationBusy
from ..models import Conversation, EventKind, Run, RunEvent, RunStatus
from ..transactions import write
from . import log
from .start import latest_run

_KINDS = {
    "message": "message",
    "reasoning": "reasoning",
    "function_call": "tool_call",
    "function_call_output": "tool_output",
}
_INPUT_ROLES = ("user", "system", "developer")


def open_conversation(
    agent_key: str, *, title: str = "", owner: User | None = None
) -> Conversation:
    """Open a conversation that nothing has been said in. Raises UnknownAgent."""
    registry.get(agent_key)
    now = timezone.now()
    return Conversation.objects.create(
        agent_key=agent_key,
        title=codec.storable(title)[:200],
        owner=owner,
        created_at=now,
        updated_at=now,
    )


@write
def record_items(conversation_id: UUID, items: Sequence[JSONObject]) -> Run:
    """Append `items` to the conversation's log, all or none, and return their run.

    Raises ConversationBusy while a run is unfinished, as only that run writes then;
    UserError when an item is no JSON, a call has no id that can be kept, or an output
    no call before it; Conversation.DoesNotExist.
    """
    conversation = Conversation.objects.get(pk=conversation_id)
    latest = latest_run(conversation)
    if latest is not None and latest.is_open:
        raise ConversationBusy(
            "The conversation has an unfinished run; wait for it, or send it a message."
        )
    _check_outputs(conversation, items)
    now = timezone.now()
    is_ours = latest is not None and _takes_more(latest)
    run = latest if is_ours and latest else _begin(conversation, latest)
    log.append(run.pk, [_entry(run, item) for item in items], now)
    if not is_ours:
        log.record_status(run.pk, RunStatus.COMPLETED)
    Run.objects.filter(pk=run.pk).update(updated_at=now, finished_at=now)
    Conversation.objects.filter(pk=conversation.pk).update(
        current_run=run, updated_at=now
    )
    run.refresh_from_db()
    return run


def _takes_more(run: Run) -> bool:
    return run.trigger == Run.Trigger.SESSION and run.state_inactive_at is None


def _begin(conversation: Conversation, previous: Run | None) -> Run:
    agent = registry.get(conversation.agent_key).agent
    now = timezone.now()
    run = Run(
        conversation=conversation,
        status=RunStatus.COMPLETED,
        agent_key=conversation.agent_key,
        agent_digest=agent.definition_digest(),
        trigger=Run.Trigger.SESSION,
        previous=previous,
        created_at=now,
        updated_at=now,
    )
    state: RunState[Any] = RunState(
        RunContextWrapper(context=None), [], agent, run_id=str(run.pk)
    )
    state.is_done = True
    run.head = codec.dumps(state.head())
    run.save(force_insert=True)
    return run


def _entry(run: Run, item: JSONObject) -> LogEntry:
    kind = _kind(item)
    payload = {"type": kind, "agent": "", "raw": item}
    if kind == "tool_output":
        payload["outcome"] = "succeeded"
    try:
        codec.dumps(payload)
    except (TypeError, ValueError) as error:
        raise UserError(f"A session keeps JSON; an item is none: {error}") from error
    is_about_call = kind in ("tool_call", "tool_output")
    return LogEntry(
        kind=EventKind.ITEM,
        payload=payload,
        call_key=_call_id(item) if is_about_call else "",
    )


def _kind(item: JSONObject) -> str:
    if item.get("role") in _INPUT_ROLES:
        return "input"
    kind = item.get("type", "message" if "role" in item else "")
    return _KINDS.get(str(kind), "other")


def _call_id(item: JSONObject) -> str:
    call_id = item.get("call_id")
    if not isinstance(call_id, str) or not 0 < len(call_id) <= MAX_CALL_ID:
        raise UserError(
            f"A call and its output need a call_id, unlike {call_id!r:.99}."
        )
    if codec.storable(call_id) != call_id:
        raise UserError(f"The call_id {call_id!r:.99} cannot be stored.")
    return call_id


def _check_outputs(conversation: Conversation, items: Sequence[JSONObject]) -> None:
    """Raise UserError when one of `items` is the output of a call nobody made."""
    called: set[str] = set()
    for item in items:
        if _kind(item) == "tool_call":
            called.add(_call_id(item))
        elif _kind(item) == "tool_output" and (key := _call_id(item)) not in called:
            made = RunEvent.objects.filter(
                run__conversation=conversation, kind=EventKind.ITEM, call_key=key
            )
            if not made.exists():
                raise UserError(f"There is an output of {key!r}, and no such call.")
