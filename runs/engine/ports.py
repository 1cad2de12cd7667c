"""What the engine asks of its surroundings, and in-memory answers.

Journal: what has happened, stored before it counts.
Gate: what has been decided about calls.
Clock: time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from .calls import Call, Claim, ClaimStatus, Outcome, Verdict
from .digest import JSONObject

if TYPE_CHECKING:
    from .state.run_state import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One row of a run's log."""

    kind: str
    """`item`, `response`, `retry`, `order`, `view` or `guardrail`."""
    payload: JSONObject
    call_key: str = ""
    """The call it is about, if any."""
    frame: str = ""
    """Key of the call whose agent it belongs to; empty for the root agent's."""


class Journal(Protocol):
    """Where a run's progress is kept. Each method returns after the commit.

    `state` is always the root agent's; what belongs to an agent used as a tool says so
    by its frame. Every method may raise RunStopped or LeaseLost: nothing was stored
    then, and the run ends here.
    """

    async def begin_turn(self, state: RunState[Any]) -> Sequence[JSONObject]:
        """Return messages that came in meanwhile; the model reads them this turn.

        `state` is that of the agent whose turn it is: one used as a tool reads what was
        given to itself, and is not asked either once the run is stopped.
        """
        ...

    async def append(self, state: RunState[Any], entries: Sequence[LogEntry]) -> None:
        """Store `entries` and the state's head, and put gated open calls to people."""
        ...

    async def claim(self, state: RunState[Any], call: Call) -> Claim:
        """Say whether this caller may run the body of `call` now.

        Raises ClaimRefused when a gated call has no approval that fits it.
        """
        ...

    async def record(
        self,
        state: RunState[Any],
        call: Call,
        outcome: Outcome,
        entries: Sequence[LogEntry],
    ) -> None:
        """Store how `call` ended, together with `entries` and the state's head."""
        ...


class Gate(Protocol):
    """What people and rules have decided."""

    async def verdicts(self, calls: Sequence[Call]) -> Mapping[str, Verdict]:
        """Return the verdict of each decided call by its key; others are pending."""
        ...

    def version(self) -> int:
        """Return a number that grows whenever more may have been decided."""
        ...

    async def changed(self, since: int) -> None:
        """Return when `version` is no longer `since`."""
        ...


class Clock(Protocol):
    """Time, in seconds."""

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's own clock."""

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass
class InMemoryJournal:
    """A journal for one process: remembers claims and outcomes, and every entry.

    Shared between runs of one saved state, it lets each call run once.
    """

    entries: list[LogEntry] = field(default_factory=list)
    _claims: dict[tuple[str, str], Outcome | None] = field(default_factory=dict)

    async def begin_turn(self, state: RunState[Any]) -> Sequence[JSONObject]:
        return state.take_pending_input()

    async def append(self, state: RunState[Any], entries: Sequence[LogEntry]) -> None:
        self.entries.extend(entries)

    async def claim(self, state: RunState[Any], call: Call) -> Claim:
        subject = (state.run_id, call.key)
        known = subject in self._claims
        if not known or (call.review.idempotent and self._claims[subject] is None):
            self._claims[subject] = None
            return Claim(status=ClaimStatus.GRANTED, idempotency_key=":".join(subject))
        outcome = self._claims[subject]
        if outcome is None:
            return Claim(status=ClaimStatus.IN_DOUBT)
        return Claim(status=ClaimStatus.DONE, outcome=outcome)

    async def record(
        self,
        state: RunState[Any],
        call: Call,
        outcome: Outcome,
        entries: Sequence[LogEntry],
    ) -> None:
        self._claims[state.run_id, call.key] = outcome
        await self.append(state, entries)


class NoJournal:
    """Keeps nothing beside the state; refuses to start a body the state started."""

    async def begin_turn(self, state: RunState[Any]) -> Sequence[JSONObject]:
        return state.take_pending_input()

    async def append(self, state: RunState[Any], entries: Sequence[LogEntry]) -> None:
        return None

    async def claim(self, state: RunState[Any], call: Call) -> Claim:
        state.mark_started(call)
        return Claim(
            status=ClaimStatus.GRANTED, idempotency_key=f"{state.run_id}:{call.key}"
        )

    async def record(
        self,
        state: RunState[Any],
        call: Call,
        outcome: Outcome,
        entries: Sequence[LogEntry],
    ) -> None:
        return None


class StateGate:
    """The decisions of `RunState.approve` and `reject` themselves; nobody else's."""

    async def verdicts(self, calls: Sequence[Call]) -> Mapping[str, Verdict]:
        return {}

    def version(self) -> int:
        return 0

    async def changed(self, since: int) -> None:
        await asyncio.get_running_loop().create_future()


class News:
    """Wakes everyone who waits for a version later than the one they have seen."""

    def __init__(self) -> None:
        self.version = 0
        self._event = asyncio.Event()

    def tell(self) -> None:
        self.version += 1
        self._event.set()
        self._event = asyncio.Event()

    async def changed(self, since: int) -> None:
        while self.version == since:
            await self._event.wait()


class InMemoryGate:
    """A gate that is told its decisions: `decide(call_key, verdict)`."""

    def __init__(self) -> None:
        self._verdicts: dict[str, Verdict] = {}
        self._news = News()

    def decide(self, call_key: str, verdict: Verdict) -> None:
        """Record the first verdict on a call; a later one changes nothing."""
        self._verdicts.setdefault(call_key, verdict)
        self._news.tell()

    async def verdicts(self, calls: Sequence[Call]) -> Mapping[str, Verdict]:
        keys = {call.key for call in calls}
        return {key: said for key, said in self._verdicts.items() if key in keys}

    def version(self) -> int:
        return self._news.version

    async def changed(self, since: int) -> None:
        await self._news.changed(since)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The surroundings of one run."""

    journal: Journal = field(default_factory=NoJournal)
    gate: Gate = field(default_factory=StateGate)
    clock: Clock = field(default_factory=SystemClock)
