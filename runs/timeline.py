"""What a page shows of a run's log: blocks, each made whole from the rows it is about.

A block's id is its first event's seq, so it keeps its place; all events of one tool
call (the call, its requests, executions and output) are one block with one state line.
Reads only; `changes` costs what is new, not what the run already holds.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from django.template.loader import render_to_string

from . import codec
from .engine.items import name_called
from .models import EventKind, Run, RunEvent, RunStatus
from .upgrades import UPGRADE_KEY

PENDING = "pending"
MAX_INDENT = 3
NOTICED_STATUSES = (RunStatus.FAILED, RunStatus.CANCELLED)


class BlockKind(enum.StrEnum):
    INPUT = "input"
    TASK = "task"
    """What an agent used as a tool was given to do."""
    MESSAGE = "message"
    REASONING = "reasoning"
    CALL = "call"
    UPGRADE = "upgrade"
    """A question whether the run may go on under changed code."""
    NOTICE = "notice"


class CallState(enum.StrEnum):
    """The one state line of a call; the value is also its CSS class."""

    CALLED = "called"
    PENDING = "pending"
    APPROVED = "approved"
    RUNNING = "running"
    UNKNOWN = "unknown"
    ENDED = "ended"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REJECTED = "rejected"
    ANSWERED = "answered"
    INVALID = "invalid"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"

    @property
    def words(self) -> str:
        return STATE_WORDS[self]


STATE_WORDS = {
    CallState.CALLED: "Under way",
    CallState.PENDING: "Waits for a decision",
    CallState.APPROVED: "Approved, not started yet",
    CallState.RUNNING: "Running",
    CallState.UNKNOWN: "Started; how it ended is unknown",
    CallState.ENDED: "Ended with its run",
    CallState.SUCCEEDED: "Done",
    CallState.FAILED: "Failed",
    CallState.REJECTED: "Rejected, did not run",
    CallState.ANSWERED: "Answered by a person, did not run",
    CallState.INVALID: "Not a valid call, did not run",
    CallState.CANCELLED: "Cancelled, did not run",
    CallState.EXPIRED: "Expired, did not run",
    CallState.SUPERSEDED: "Replaced by a newer request",
}
UPGRADE_WORDS = {
    CallState.PENDING: "The code has changed; a person decides whether to go on",
    CallState.APPROVED: "Let go on under changed code",
    CallState.REJECTED: "Ended, because the code had changed",
    CallState.SUPERSEDED: "The code had changed, and then changed again",
}
_EXECUTION_STATES = {
    "started": CallState.RUNNING,
    "unknown": CallState.UNKNOWN,
    "ended": CallState.ENDED,
    "withdrawn": CallState.APPROVED,
}


_CALLS = ("tool_call", "handoff_call", "mcp_approval_request")
_NO_ARGUMENTS = ("type", "id", "call_id", "status", "output", "error", "caller")
MCP_TOLD = {
    True: "The model's server may call it.",
    False: "The model's server may not call it.",
}
_SHOWN = (
    EventKind.ITEM,
    EventKind.RETRY,
    EventKind.STATUS,
    EventKind.REQUEST,
    EventKind.EXECUTION,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallView:
    """A tool call with everything that has happened to it."""

    key: str
    tool: str
    arguments: str
    """The text the model wrote."""
    state: CallState
    output: str | None
    """What the model was told; None until it was told something."""
    request_id: str
    """Of the newest approval request; empty when nobody was asked."""
    decided_by: str
    """Who gave the newest verdict; empty when there is none."""
    handed_to: str = ""
    """The agent that took over, once it has."""

    @property
    def is_pending(self) -> bool:
        return self.state == CallState.PENDING

    @property
    def may_be_held(self) -> bool:
        """True while a verdict on it may not count yet."""
        return bool(self.decided_by) and not self.is_pending and not self.is_over

    @property
    def is_over(self) -> bool:
        return self.output is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One `<li>` of the timeline."""

    run_id: UUID
    seq: int
    """Of its first event: its id and its place."""
    last_seq: int
    """Of its newest event: what the page has seen of it."""
    kind: BlockKind
    at: datetime
    agent: str = ""
    depth: int = 0
    """How many agents deep below the run's own."""
    text: str = ""
    tone: str = ""
    """Of a notice: retry, failed or cancelled."""
    call: CallView | None = None

    @property
    def indent(self) -> int:
        """How far in it stands; what is deeper stands no further in."""
        return min(self.depth, MAX_INDENT)

    @property
    def is_personal(self) -> bool:
        """Whether it says what the reader in person may decide: it holds a card.

        Any other looks the same to all who have the same rights in the same run.
        """
        return self.call is not None and self.call.is_pending

    @property
    def html_id(self) -> str:
        return f"block-{self.run_id}-{self.seq}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a page that has seen the log up to some seq does not show yet."""

    blocks: list[Block]
    last_seq: int
    """Where the next question starts."""
    header_changed: bool


def timeline(run: Run) -> list[Block]:
    """Return all blocks of `run` in their order, in one query."""
    return blocks_of(run.events.filter(kind__in=_SHOWN).order_by("seq"))


def timelines(runs: Iterable[Run]) -> dict[UUID, list[Block]]:
    """Return the blocks of each of `runs`, in one query."""
    found: dict[UUID, list[RunEvent]] = {run.pk: [] for run in runs}
    log = RunEvent.objects.filter(run__in=found, kind__in=_SHOWN)
    for event in log.order_by("run", "seq"):
        found[event.run_id].append(event)
    return {run_id: blocks_of(events) for run_id, events in found.items()}


def changes(run_id: UUID, after: int, limit: int = 500) -> Changes:
    """Return the blocks that events with a seq above `after` touch, each whole.

    At most `limit` events are looked at; ask again from `last_seq` for the rest.
    """
    log = RunEvent.objects.filter(run_id=run_id)
    new = list(log.filter(seq__gt=after).order_by("seq")[:limit])
    if not new:
        return Changes(blocks=[], last_seq=after, header_changed=False)
    last_seq = new[-1].seq
    events = {event.seq: event for event in new}
    if keys := {event.call_key for event in new if event.call_key}:
        # The exclusion repeats the condition of the index on call keys.
        whole = log.filter(call_key__in=keys, seq__lte=last_seq).exclude(call_key="")
        events |= {event.seq: event for event in whole}
    shown = (events[seq] for seq in sorted(events) if events[seq].kind in _SHOWN)
    blocks = blocks_of(shown)
    return Changes(
        blocks=[block for block in blocks if block.last_seq > after],
        last_seq=last_seq,
        header_changed=any(_touches_header(event) for event in new),
    )


def blocks_of(events: Iterable[RunEvent]) -> list[Block]:
    """Fold events, in order of their seq, into blocks."""
    groups: dict[tuple[str, object], list[RunEvent]] = {}
    for event in events:
        groups.setdefault(_subject(event), []).append(event)
    return [block for group in groups.values() if (block := _group_block(group))]


def _subject(event: RunEvent) -> tuple[str, object]:
    """Return what the event is about: all of one subject is one block."""
    if event.call_key == UPGRADE_KEY:
        return "upgrade", event.data.get("request")
    return ("call", event.call_key) if event.call_key else ("event", event.seq)


def _group_block(events: Sequence[RunEvent]) -> Block | None:
    first = events[0]
    if first.call_key == UPGRADE_KEY:
        return _upgrade_block(events)
    return _call_block(events) if first.call_key else _block(first)


def _upgrade_block(events: Sequence[RunEvent]) -> Block:
    block = _call_block(events)
    words = UPGRADE_WORDS.get(block.call.state) if block.call else None
    text = words or "The code had changed"
    return replace(block, kind=BlockKind.UPGRADE, depth=0, text=text)


def render_block(
    block: Block, *, user: Any, request: HttpRequest | None = None, oob: str = ""
) -> str:
    """Return the `<li>` of `block` as `user` may see it.

    Without `request` (from a socket) its forms hold no CSRF token and rely on htmx.
    `oob` is the value of an hx-swap-oob attribute, if it shall have one.
    """
    context = {"block": block, "user": user, "oob": oob}
    return render_to_string("runs/timeline.html#block", context, request)


def render_header(
    run: Run, *, user: Any, request: HttpRequest | None = None, oob: str = ""
) -> str:
    """Return `run`'s header as `user` may see it.

    With `oob` the list of messages the model has not read yet comes with it, and both
    carry it: one socket message replaces both.
    """
    context = {"run": run, "user": user, "oob": oob}
    parts = ("header", "unread") if oob else ("header",)
    return "".join(
        render_to_string(f"runs/timeline.html#{part}", context, request)
        for part in parts
    )


def text_of(content: Any) -> str:
    """Return the text of a message's or an output's content, whatever its shape."""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return "\n".join(_part_text(part) for part in content)
    return "" if content is None else str(content)


def _told(data: dict[str, Any]) -> str:
    """Return a part of an output that has a form of its own, as it is told."""
    return codec.dumps(data) if "type" not in data else f"[{data['type']}]"


def _part_text(part: Any) -> str:
    if not isinstance(part, dict):
        return str(part)
    for name in ("text", "refusal"):
        if isinstance(part.get(name), str):
            return str(part[name])
    return _told(part)


def _touches_header(event: RunEvent) -> bool:
    if event.kind in (EventKind.STATUS, EventKind.RESPONSE):
        return True
    return event.kind == EventKind.ITEM and event.data.get("type") == "input"


def _block(event: RunEvent) -> Block | None:
    """Return the block of an event that is about no call, if it makes one."""
    data = event.data
    if event.kind == EventKind.ITEM:
        return _item_block(event, data)
    if event.kind == EventKind.RETRY:
        return _plain(event, BlockKind.NOTICE, text=data.get("error", ""), tone="retry")
    if event.kind == EventKind.STATUS and data.get("status") in NOTICED_STATUSES:
        by = data.get("by")
        text = data.get("error") or (f"by {by}" if by else "")
        return _plain(event, BlockKind.NOTICE, text=text, tone=data["status"])
    return None


def _item_block(event: RunEvent, data: dict[str, Any]) -> Block | None:
    raw = data.get("raw") or {}
    agent = data.get("agent") or ""
    match data.get("type"):
        case "input":
            text = text_of(raw.get("content"))
            if event.frame:
                return _plain(event, BlockKind.TASK, text=text, agent=agent)
            return _plain(event, BlockKind.INPUT, text=text)
        case "tool_call":
            return _server_call(event, data)
        case "message":
            text = text_of(raw.get("content"))
            return _plain(event, BlockKind.MESSAGE, text=text, agent=agent)
        case "reasoning":
            text = text_of(raw.get("summary"))
            if text:
                return _plain(event, BlockKind.REASONING, text=text, agent=agent)
    return None


def _plain(event: RunEvent, kind: BlockKind, **values: str) -> Block:
    return Block(
        run_id=event.run_id,
        seq=event.seq,
        last_seq=event.seq,
        kind=kind,
        at=event.created_at,
        depth=_depth(event),
        **values,  # type: ignore[arg-type]  # only str fields are given
    )


def _depth(event: RunEvent) -> int:
    if event.call_key:
        return event.call_key.count("/")
    return event.frame.count("/") + 1 if event.frame else 0


@dataclass(slots=True)
class _CallFacts:
    """What the events of one call say so far."""

    tool: str = ""
    arguments: str = ""
    agent: str = ""
    state: CallState = CallState.CALLED
    output: str | None = None
    request_id: str = ""
    decided_by: str = ""
    handed_to: str = ""

    def learn(self, event: RunEvent) -> None:
        data = event.data
        if event.kind == EventKind.ITEM:
            self._learn_item(data)
        elif event.kind == EventKind.REQUEST:
            self._learn_request(data)
        elif event.kind == EventKind.EXECUTION:
            self._move_to(_EXECUTION_STATES.get(data.get("status", "")))

    def _learn_item(self, data: dict[str, Any]) -> None:
        raw = data.get("raw") or {}
        if data.get("type") in _CALLS:
            self.tool, self.arguments = _asked_for(raw)
            self.agent = str(data.get("agent") or "")
        elif data.get("type") in ("tool_output", "handoff_output"):
            self.output = text_of(raw.get("output"))
            if self.state is not CallState.EXPIRED:
                self.state = _state(data.get("outcome")) or CallState.SUCCEEDED
            self.handed_to = str(data.get("target") or "")
        elif data.get("type") == "mcp_approval_response":
            approved = raw.get("approve") is True
            self.output = text_of(raw.get("reason")) or MCP_TOLD[approved]
            self.state = CallState.SUCCEEDED if approved else CallState.REJECTED

    def _learn_request(self, data: dict[str, Any]) -> None:
        self.request_id = str(data.get("request", ""))
        status = data.get("status")
        self.decided_by = "" if status == PENDING else str(data.get("by") or "")
        self._move_to(_state(status))

    def _move_to(self, state: CallState | None) -> None:
        # The output is how a call ended: a late row about it changes nothing.
        if state is not None and self.output is None:
            self.state = state


def _asked_for(raw: dict[str, Any]) -> tuple[str, str]:
    """Return the tool and the arguments of a call, whatever its form."""
    if name := name_called(raw):
        return name, str(raw.get("arguments", raw.get("input", "")))
    rest = {name: part for name, part in raw.items() if name not in _NO_ARGUMENTS}
    return str(raw.get("type", "")).removesuffix("_call"), codec.dumps(rest)


def _server_call(event: RunEvent, data: dict[str, Any]) -> Block:
    """Return the block of a call that the model's server made and answered itself."""
    raw = data.get("raw") or {}
    output = raw.get("error") or raw.get("output")
    tool, arguments = _asked_for(raw)
    failed = bool(raw.get("error")) or raw.get("status") == "failed"
    call = CallView(
        key="",
        tool=tool,
        arguments=arguments,
        state=CallState.FAILED if failed else CallState.SUCCEEDED,
        output=None if output is None else text_of(output),
        request_id="",
        decided_by="",
    )
    block = _plain(event, BlockKind.CALL, agent=str(data.get("agent") or ""))
    return replace(block, call=call)


def _state(value: Any) -> CallState | None:
    try:
        return CallState(value)
    except ValueError:
        return None


def _call_block(events: Sequence[RunEvent]) -> Block:
    facts = _CallFacts()
    for event in events:
        facts.learn(event)
    first = events[0]
    return Block(
        run_id=first.run_id,
        seq=first.seq,
        last_seq=events[-1].seq,
        kind=BlockKind.CALL,
        at=first.created_at,
        agent=facts.agent,
        depth=_depth(first),
        call=CallView(
            key=first.call_key,
            tool=facts.tool,
            arguments=facts.arguments,
            state=facts.state,
            output=facts.output,
            request_id=facts.request_id,
            decided_by=facts.decided_by,
            handed_to=facts.handed_to,
        ),
    )
