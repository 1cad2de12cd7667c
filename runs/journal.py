"""The engine's journal and gate, on the database."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import OperationalError
from django.utils import timezone

from .db import Database
from .engine import Call, Claim, LogEntry, Outcome, RunState, SpanRecorder, Verdict
from .engine.digest import JSONObject
from .engine.ports import News
from .models import EventKind
from .services import steps
from .services.lease import Lease

CLOCK_STEP_S = 0.002
"""A timer goes by another clock than the one on the wall, and may be early by it."""
RECORD_AGAIN_S = (0.1, 1.0, 3.0)


def gated_calls(state: RunState[Any]) -> list[Call]:
    """Return the open calls, at any depth, that need a decision and have none yet."""
    return [
        open_call.call
        for _, open_call in state.open_calls_below()
        if open_call.call.gated
        and open_call.verdict is None
        and open_call.nested is None
        and not open_call.is_void
    ]


def open_calls(state: RunState[Any]) -> list[Call]:
    """Return the open calls, at any depth, that a decision may move on."""
    return [
        open_call.call
        for _, open_call in state.open_calls_below()
        if open_call.nested is None and not open_call.is_void
    ]


def ended_spans(recorder: SpanRecorder) -> list[LogEntry]:
    """Return the log row of the spans that have ended since the last one, if any."""
    spans = recorder.drain()
    return [LogEntry(kind=EventKind.SPAN, payload={"spans": spans})] if spans else []


@dataclass(eq=False)
class DurableJournal:
    """Stores each step of one held run; at most once for each effect.

    The spans that have ended by then are stored with it, in a row of their own.
    """

    lease: Lease
    db: Database
    spans: SpanRecorder
    claims: dict[str, Claim] = field(default_factory=dict)
    """Made when the run was taken, for calls that have not started yet."""
    _messages_read: int = field(default=0, init=False)
    _head: JSONObject | None = field(default=None, init=False)
    """The head that was stored last."""

    async def begin_turn(self, state: RunState[Any]) -> Sequence[JSONObject]:
        texts = await self.db.read(steps.begin_turn, self.lease)
        if state.parent is not None:
            return state.take_pending_input()  # what people say is for the root agent
        self._messages_read = len(texts)
        return [{"role": "user", "content": text} for text in texts]

    async def append(self, state: RunState[Any], entries: Sequence[LogEntry]) -> None:
        read, self._messages_read = self._messages_read, 0
        head = state.head()
        await self.db.step(
            self.lease,
            steps.append_step,
            self.lease,
            [*entries, *ended_spans(self.spans)],
            head,
            gated=gated_calls(state),
            messages_read=read,
        )
        self._head = head

    def has_stored(self, state: RunState[Any]) -> bool:
        """Say whether `state` is the very one that it has stored."""
        return state.head() == self._head

    async def claim(self, state: RunState[Any], call: Call) -> Claim:
        if made := self.claims.pop(call.key, None):
            return made
        return await self.db.step(self.lease, steps.claim_call, self.lease, call)

    async def record(
        self,
        state: RunState[Any],
        call: Call,
        outcome: Outcome,
        entries: Sequence[LogEntry],
    ) -> None:
        head = state.head()
        entries = [*entries, *ended_spans(self.spans)]
        for wait_s in RECORD_AGAIN_S:
            try:
                return await self._record(call, outcome, entries, head)
            except OperationalError:
                # The effect has happened: its outcome is worth another try. Nothing of
                # this one was stored, and no other step is on its way meanwhile.
                self.lease.broken = False
                await asyncio.sleep(wait_s)
        await self._record(call, outcome, entries, head)

    async def _record(
        self,
        call: Call,
        outcome: Outcome,
        entries: Sequence[LogEntry],
        head: JSONObject,
    ) -> None:
        await self.db.step(
            self.lease,
            steps.record_outcome,
            self.lease,
            call,
            outcome,
            entries,
            head,
        )
        self._head = head


@dataclass(eq=False)
class DurableGate:
    """Reads what is decided; told of news by the executor."""

    lease: Lease
    db: Database
    known: Mapping[str, Verdict] | None = None
    """Read when the run was taken; asked for once."""
    _news: News = field(default_factory=News, init=False)
    _timer: asyncio.TimerHandle | None = field(default=None, init=False)

    def tell(self) -> None:
        """Say that more may have been decided."""
        self._news.tell()

    async def verdicts(self, calls: Sequence[Call]) -> Mapping[str, Verdict]:
        known, self.known = self.known, None
        if known is not None:
            self._tell_at(self.lease.released_at)
            return known
        decided = await self.db.read(steps.verdicts, self.lease, calls)
        if decided.was_held:
            decided = await self.db.step(
                self.lease, steps.verdicts_once_held, self.lease, calls
            )
        self._tell_at(decided.released_at)
        return decided.verdicts

    def rest(self) -> None:
        """Mind no time any more: the run is given away."""
        self._tell_at(None)

    def _tell_at(self, at: datetime | None) -> None:
        """Say so once more when the next held verdict counts."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if at is not None:
            wait_s = max(0.0, (at - timezone.now()).total_seconds()) + CLOCK_STEP_S
            self._timer = asyncio.get_running_loop().call_later(wait_s, self.tell)

    def version(self) -> int:
        return self._news.version

    async def changed(self, since: int) -> None:
        await self._news.changed(since)
