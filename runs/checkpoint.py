"""Where in a run's log a fork can begin: after a whole step of the run's own agent.

A step is whole when its answer is stored and each of its calls has its output. What an
agent used as a tool does is inside its call, and calls made together are one step: a
fork asked for in the middle begins before them. Reads only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from django.db.models import QuerySet

from .engine.digest import JSONObject
from .errors import NotForkable
from .models import EventKind, Run, RunEvent, ToolExecution

CALLS = ("tool_call", "handoff_call", "mcp_approval_request")
OUTPUTS = ("tool_output", "handoff_output", "mcp_approval_response")
_AFTER_AN_ITEM = (EventKind.RESPONSE, EventKind.ORDER, EventKind.VIEW)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A point between two steps of a run."""

    seq: int
    """Of the last row that is before it."""
    agent: str
    """Name of the agent whose turn it is; empty for the run's own."""
    has_last_word: bool
    """True when the agent spoke last, so that it has nothing to go on with."""
    is_earlier: bool = False
    """True when the step that was asked for is not whole, and this is before it."""


@dataclass(slots=True)
class _Reader:
    """Follows the rows of the root frame, and knows the last point between steps."""

    open: set[str] = field(default_factory=set)
    in_answer: bool = False
    speaks: bool = False
    agent: str = ""
    last: Checkpoint | None = None
    last_acted: Checkpoint | None = None
    """The last one that is not an answer that guardrails may still have to see."""

    def read(self, row: RunEvent) -> None:
        if row.kind == EventKind.ITEM:
            self._item(row.call_key, row.data)
        elif row.kind == EventKind.RESPONSE:
            self.in_answer = False
        if self.open or self.in_answer:
            return
        self.last = Checkpoint(seq=row.seq, agent=self.agent, has_last_word=self.speaks)
        if not self.speaks:
            self.last_acted = self.last

    def _item(self, call_key: str, data: JSONObject) -> None:
        kind = data.get("type")
        if self.speaks and not self.in_answer:
            self.last_acted = self.last  # something came after it: it was let pass
        self.speaks = kind not in OUTPUTS and kind != "input"
        self.in_answer = self.in_answer or self.speaks
        if kind in CALLS and call_key:
            self.open.add(call_key)
        elif kind in OUTPUTS:
            self.open.discard(call_key)
            self.agent = str(data.get("target") or "") or self.agent


def checkpoint(run: Run, seq: int) -> Checkpoint:
    """Return where a fork begins that is asked for at `seq`: right there, or before.

    Raises NotForkable when no whole step is before it, or the state was cleaned up.
    """
    if run.state_inactive_at is not None:
        raise NotForkable(
            "The state of this run was cleaned up; there is nothing to go on from."
        )
    reader = _Reader()
    for row in _rows_up_to(run, seq):
        reader.read(row)
    found = reader.last_acted if run.is_open else reader.last
    if found is None:
        raise NotForkable("No whole step is before this one; start a new run instead.")
    between = run.events.filter(kind=EventKind.ITEM, seq__gt=found.seq, seq__lte=seq)
    return Checkpoint(
        seq=found.seq,
        agent=found.agent,
        has_last_word=found.has_last_word,
        is_earlier=between.exists(),
    )


def rows_read(run: Run, seq: int) -> QuerySet[RunEvent]:
    """Return the rows of the root frame up to `seq` that say what a model reads."""
    kinds = (EventKind.ITEM, EventKind.ORDER, EventKind.VIEW)
    return run.events.filter(kind__in=kinds, frame="", seq__lte=seq).order_by("seq")


def done_since(run: Run, point: Checkpoint) -> QuerySet[ToolExecution]:
    """Return the calls that started in `run` after that point, the newest first."""
    before = run.events.filter(kind=EventKind.ITEM, seq__lte=point.seq)
    known = before.exclude(call_key="").values("call_key")
    return run.executions.exclude(call_key__in=known).order_by("-started_at")


def _rows_up_to(run: Run, seq: int) -> list[RunEvent]:
    """Return the root frame's rows up to `seq`, and what was stored about the last.

    The view of a handoff, or of a blocked output, stands behind its item: without it a
    fork would read what a filter had taken away.
    """
    rows = run.events.filter(frame="").order_by("seq")
    items = rows.filter(kind=EventKind.ITEM)
    before = list(rows.filter(kind__in=[EventKind.ITEM, *_AFTER_AN_ITEM], seq__lte=seq))
    after = rows.filter(kind__in=_AFTER_AN_ITEM, seq__gt=seq)
    following = items.filter(seq__gt=seq).values_list("seq", flat=True).first()
    if following is not None:
        after = after.filter(seq__lt=following)
    return [*before, *after]
