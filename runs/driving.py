"""Driving one run while this process holds it: to its next pause, or to its end.

Each step is stored under the run's lease before the next one is made. What breaks a
stretch ends the run, or leaves it where it stands for whoever takes it next.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError

from .db import Database
from .engine import (
    AgentsException,
    Claim,
    LeaseLost,
    Ports,
    RawResponsesStreamEvent,
    RunConfig,
    RunInterrupted,
    Runner,
    RunResultStreaming,
    RunState,
    RunStopped,
    SpanRecorder,
    TurnStartedStreamEvent,
    Verdict,
    recording,
)
from .engine.loop.answer import text_of_output
from .errors import RunError
from .journal import (
    DurableGate,
    DurableJournal,
    ended_spans,
    gated_calls,
    open_calls,
)
from .kept import KeptRuns
from .live.deltas import DeltaSender
from .loading import LoadedRun, load, load_queued
from .models import RunStatus
from .services import lease as leases
from .services import steps, upgrade
from .services.lease import Lease

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Execution:
    """One run while this process holds it."""

    lease: Lease
    db: Database
    kept: KeptRuns
    loaded: LoadedRun | None = None
    """The run as it was known when it was taken, for the first stretch."""
    verdicts: dict[str, Verdict] | None = None
    """Read when it was taken."""
    claims: dict[str, Claim] = field(default_factory=dict)
    """Of calls that were approved when it was taken, and have not started."""
    gate: DurableGate = field(init=False)
    _driven: LoadedRun | None = field(default=None, init=False)
    """The run as its last stretch began with it."""
    _journal: DurableJournal | None = field(default=None, init=False)
    """Of its last stretch."""
    _streaming: RunResultStreaming[Any] | None = field(default=None, init=False)
    stopping: bool = field(default=False, init=False)
    _leaving: bool = field(default=False, init=False)
    _wakes_seen: int = field(init=False)

    def __post_init__(self) -> None:
        self.gate = DurableGate(self.lease, self.db, self.verdicts)
        self._wakes_seen = self.lease.wakes

    def look(self, news: leases.Held) -> None:
        """Take notice of what has changed in the run's row."""
        if news.wakes != self._wakes_seen:
            self._wakes_seen = news.wakes
            self.gate.tell()
        if news.stopping:
            self.stopping = True
            if self._streaming is not None:
                self._streaming.stop()

    def leave(self) -> None:
        """Have the run given back once the calls of its turn are settled."""
        self._leaving = True
        if self._streaming is not None:
            self._streaming.cancel("after_turn")

    async def release(self) -> None:
        """Give the run back as it stands."""
        with contextlib.suppress(LeaseLost):
            await self._write(leases.release)

    async def give_up(self) -> None:
        """Let anyone take the run in a moment: this process cannot go on with it."""
        with contextlib.suppress(DatabaseError):
            await self.db.write(self.lease.run_id, leases.give_up, self.lease)

    async def drive_to_rest(self) -> None:
        """Drive the run until it has ended or waits with nothing left to look at."""
        at_rest = False
        while not at_rest:
            try:
                result = await self._drive()
            except (RunInterrupted, DatabaseError, AgentsException, RunError) as error:
                return await self._interrupted(error)
            except Exception as error:
                # The agent's code, or ours: loud in the log, and the run does not hang.
                logger.exception("Driving a run broke", extra=_extra(self.lease))
                # An error that knows the run came out of it, not out of the reading.
                who = "The run" if getattr(error, "run_state", None) else "Placet"
                told = f"{who} failed: {type(error).__name__}: {error}"
                return await self._fail(told)
            at_rest = await self._put_to_rest(result)

    async def _interrupted(self, error: Exception) -> None:
        """End the run as what broke its stretch says, or raise what ends no run."""
        if isinstance(error, LeaseLost | DatabaseError):
            raise error
        if isinstance(error.__cause__, DatabaseError):
            raise error.__cause__ from error
        if isinstance(error, RunStopped):
            return await self._write(leases.finish, RunStatus.CANCELLED)
        await self._fail(str(error))

    async def _put_to_rest(self, result: RunResultStreaming[Any] | None) -> bool:
        """Store that the stretch is over; False when the run is to be driven on."""
        if result is None:  # it waits for a go-ahead
            return await self._write(leases.park)
        if result.state.is_done:
            await self._finish(result)
        elif self._leaving and not result.interruptions:
            await self._write(leases.release)
        elif not result.interruptions:
            await self._fail("The run ended without an answer or a question.")
        else:
            return await self._park(result.state)
        return True

    async def _park(self, state: RunState[Any]) -> bool:
        """Let the run wait, and keep it; False when it is to be driven on."""
        run, journal = self._driven, self._journal
        is_stored = journal is not None and journal.has_stored(state)
        if not await self._write(leases.park):
            return False
        if run is not None and is_stored:
            try:
                self.kept.keep(run, state, self.lease.epoch)
            except Exception:
                logger.exception("A run is not kept", extra=_extra(self.lease))
        return True

    async def _finish(self, result: RunResultStreaming[Any]) -> None:
        if result.stop_reason is not None:
            return await self._write(
                leases.finish, RunStatus.CANCELLED, error=result.stop_reason
            )
        answer = text_of_output(result.last_agent, result.final_output)
        await self._write(leases.finish, RunStatus.COMPLETED, final_output=answer)

    async def _drive(self) -> RunResultStreaming[Any] | None:
        """Drive the run for one stretch, and store the spans it ends with.

        None when it may not be driven under the code there is.
        """
        spans = SpanRecorder()
        try:
            result = await self._stretch(spans)
        except Exception:
            await self._keep(spans)
            raise
        finally:
            await self._give_back()
        await self._keep(spans)
        return result

    async def _keep(self, spans: SpanRecorder) -> None:
        """Store what no step has stored; a run is not disturbed by its trace."""
        if entries := ended_spans(spans):
            try:
                with contextlib.suppress(LeaseLost):
                    await self._write(steps.append_spans, entries)
            except DatabaseError:
                logger.exception("A trace was not stored", extra=_extra(self.lease))

    async def _stretch(self, spans: SpanRecorder) -> RunResultStreaming[Any] | None:
        loaded, self.loaded = self.loaded, None
        if loaded is None:
            loaded = await self._load()
            if loaded is None:
                return None
            if gated := gated_calls(loaded.state):
                await self._write(steps.propose, gated)
        if loaded.stopping or self.stopping:
            raise RunStopped("The run was stopped.")
        journal = DurableJournal(self.lease, self.db, spans, self.claims)
        self._driven, self._journal = loaded, journal
        with recording(spans):
            streaming = Runner.run_streamed(
                loaded.agent,
                loaded.state,
                max_turns=loaded.max_turns,
                run_config=_config(loaded),
                ports=Ports(journal=journal, gate=self.gate),
                stop_grace_s=settings.PLACET_STOP_GRACE.total_seconds(),
            )
        self._streaming = streaming
        if self.stopping:
            streaming.stop()
        if self._leaving:
            streaming.cancel("after_turn")
        try:
            await _show(self.lease.run_id, streaming)
        finally:
            self._streaming = None
            await streaming.aclose()
        return streaming

    async def _load(self) -> LoadedRun | None:
        """Return the run; None while it waits for a go-ahead under changed code."""
        run_id = self.lease.run_id
        while (loaded := await self.db.read(load, run_id)).change is not None:
            change = loaded.change
            if loaded.calls is None:
                await self._write(upgrade.define, change.now)
            elif not await self._write(upgrade.go_on, change, loaded.calls):
                return None
        return loaded

    async def _write(
        self,
        service: Callable[Concatenate[Lease, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Return what a write under the lease gives."""
        return await self.db.step(self.lease, service, self.lease, *args, **kwargs)

    async def _give_back(self) -> None:
        """Take back the claims of calls that were not started."""
        unused, self.claims = list(self.claims), {}
        if unused:
            with contextlib.suppress(LeaseLost, DatabaseError):
                await self._write(steps.give_back, unused)

    async def _fail(self, error: str) -> None:
        await self._write(leases.finish, RunStatus.FAILED, error=error)


async def take(
    run_id: UUID, owner: str, db: Database, kept: KeptRuns, *, peek: bool
) -> Execution | None:
    """Take the run; None when it is not to be had.

    With `peek` it is known before it is taken, kept or read, so that what was approved
    is claimed at once. Not where all runners look at the same runs, of which each gets
    a few; and whatever fails with it is looked at without. Raises DatabaseError.
    """
    loaded = kept.get(run_id) if peek else None
    if peek and loaded is None:
        try:
            loaded = await db.read(load_queued, run_id)
        except DatabaseError:
            raise
        except Exception as error:
            # Said of the run once it is ours, and read again.
            logger.debug("A run cannot be read", exc_info=error)
        else:
            if loaded is None:
                return None
    if loaded is None or loaded.stopping or loaded.change is not None:
        lease = await db.write(run_id, leases.take, run_id, owner)
        begun = None if lease is None else steps.Begun(lease=lease)
    else:
        begun = await db.write(run_id, steps.begin, run_id, owner, seen(loaded))
    if begun is None:
        return None
    kept.drop(run_id)
    return Execution(
        begun.lease,
        db,
        kept,
        loaded=None if begun.verdicts is None else loaded,
        verdicts=begun.verdicts,
        claims=begun.claims,
    )


def seen(loaded: LoadedRun) -> steps.Seen:
    """Return what the taking of a run builds on."""
    return steps.Seen(
        agent_key=loaded.agent_key,
        epoch=loaded.epoch,
        head=loaded.head,
        definition=loaded.definition,
        requester=loaded.context["requester"],
        calls=open_calls(loaded.state),
        undecided=gated_calls(loaded.state),
    )


def _extra(lease: Lease) -> dict[str, str]:
    return {"run_id": str(lease.run_id)}


def _config(loaded: LoadedRun) -> RunConfig:
    """Return how every run is traced: without what was said, unless settings say so."""
    return RunConfig(
        workflow_name=loaded.title,
        group_id=loaded.conversation,
        trace_include_sensitive_data=settings.PLACET_TRACE_CONTENT,
    )


async def _show(run_id: UUID, streaming: RunResultStreaming[Any]) -> None:
    """Send the text to viewers as the model writes it. Raises what ends the run."""
    sender = DeltaSender(run_id)
    turn = attempt = 0
    try:
        async for event in streaming.stream_events():
            if isinstance(event, TurnStartedStreamEvent):
                turn, attempt = event.turn, event.attempt
            elif isinstance(event, RawResponsesStreamEvent) and (
                event.data.type == "response.output_text.delta"
            ):
                await sender.text(turn, attempt, event.data.delta)
    finally:
        await sender.close()
