"""The runner: takes runs that need work and drives each to its next pause or end.

Guarantee: a run is driven by one worker at a time (its lease). A run may be looked at
any number of times, by any process; that is harmless, because looking means trying to
take the lease, and what is to be done stands in the run's rows. A process that dies
leaves leases that expire, and the sweeper of any process takes the runs over.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError

from . import dispatch
from .db import Database
from .dispatch import embedded
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
    recording,
)
from .engine.cancel import cancel_all
from .engine.loop.answer import text_of_output
from .engine.models import close_clients
from .errors import RunError
from .heartbeat import Heartbeat
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
from .presence import Presence
from .services import lease as leases
from .services import steps, upgrade
from .services.lease import Lease
from .sweeper import Sweeper

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)

TICK_S = 1.0


@dataclass(eq=False)
class Execution:
    """One run while this process holds it."""

    lease: Lease
    gate: DurableGate
    claims: dict[str, Claim] = field(default_factory=dict)
    """Of calls that were approved when the run was taken, and have not started."""
    loaded: LoadedRun | None = None
    """The run as it was known when it was taken, for the first stretch."""
    driven: LoadedRun | None = None
    """The run as its last stretch began with it."""
    journal: DurableJournal | None = None
    """Of its last stretch."""
    streaming: RunResultStreaming[Any] | None = None
    stopping: bool = False
    wakes_seen: int = field(init=False)

    def __post_init__(self) -> None:
        self.wakes_seen = self.lease.wakes

    def look(self, news: leases.Held) -> None:
        """Take notice of what has changed in the run's row."""
        if news.wakes != self.wakes_seen:
            self.wakes_seen = news.wakes
            self.gate.tell()
        if news.stopping:
            self.stopping = True
            if self.streaming is not None:
                self.streaming.stop()


@dataclass(eq=False)
class Executor:
    """Drives up to `concurrency` runs at once on the running loop."""

    concurrency: int
    _held: dict[UUID, Execution] = field(default_factory=dict, init=False)
    _tasks: dict[UUID, asyncio.Task[bool]] = field(default_factory=dict, init=False)
    _abandoned: set[asyncio.Task[bool]] = field(default_factory=set, init=False)
    _db: Database = field(default_factory=Database, init=False)
    _kept: KeptRuns = field(default_factory=KeptRuns, init=False)
    _presence: Presence = field(default_factory=Presence, init=False)
    _leaving: bool = field(default=False, init=False)

    async def start(self) -> None:
        """Take up work: what is queued now, and whatever is woken from here on."""
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._look_again = asyncio.Event()
        self._heartbeat = Heartbeat(self)
        self._heartbeat.start()
        self._sweeper = Sweeper(lambda: self.held_runs)
        self._sweeper.start()
        embedded.listen(self._woken)
        self._over = asyncio.Event()
        self._listening = asyncio.create_task(dispatch.hear(self.name, self._over))
        self._helpers = {
            asyncio.create_task(self._sweep()),
            asyncio.create_task(self._tick()),
        }

    async def stop(self, grace_s: float | None = None) -> None:
        """Finish the steps in hand, give the runs back and leave.

        After `grace_s` (PLACET_LEAVE_GRACE) what still works is cut off; its started
        calls are in doubt, and a model's answer is asked for again.
        """
        if grace_s is None:
            grace_s = settings.PLACET_LEAVE_GRACE.total_seconds()
        if self._leaving:
            return
        self._leaving = True
        embedded.forget(self._woken)
        self._over.set()
        await cancel_all(self._helpers)
        for execution in self._held.values():
            if execution.streaming is not None:
                execution.streaming.cancel("after_turn")
        if tasks := list(self._tasks.values()):
            await asyncio.wait(tasks, timeout=grace_s)
            late = list(self._held.values())
            await cancel_all([*self._tasks.values(), *self._abandoned])
            for execution in late:
                with contextlib.suppress(LeaseLost):
                    await self._write(leases.release, execution.lease)
        await asyncio.wait([self._listening], timeout=grace_s)
        await cancel_all({self._listening})
        await close_clients()
        await asyncio.to_thread(self._sweeper.stop)
        self._heartbeat.stop()
        self._presence.leave()
        await self._db.close()

    # Finding work

    def _woken(self, run_id: UUID, at: datetime | None) -> None:
        if at is not None:
            return  # the sweeper queues the run then
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody to tell
            self._loop.call_soon_threadsafe(self._wake, run_id)

    def _wake(self, run_id: UUID) -> None:
        """Take the run if there is room, or have its news looked at."""
        if run_id in self._tasks or not self._room():
            self._look_again.set()
        else:
            self._begin(run_id, peek=True)

    def _room(self) -> int:
        """Return how many more runs this process may drive now."""
        return 0 if self._leaving else self.concurrency - len(self._tasks)

    def _begin(self, run_id: UUID, *, peek: bool = False) -> None:
        # Not in the context of a page whose commit woke the run: its language, its time
        # zone and the thread it waits for are its own.
        context = self._context.copy()
        task = self._loop.create_task(self._work(run_id, peek), context=context)
        self._tasks[run_id] = task
        task.add_done_callback(partial(self._ended, run_id))

    async def _sweep(self) -> None:
        """Look for work whenever something is woken, and every so often anyway."""
        every_s = settings.PLACET_SWEEP_EVERY.total_seconds()
        await self._reconsider()
        while True:
            self._look_again.clear()
            try:
                await self._free_the_dead()
                await self._look()
            except Exception:
                logger.exception("The sweeper could not look for work; it tries again")
            try:
                async with asyncio.timeout(every_s):
                    await self._look_again.wait()
            except TimeoutError:
                continue

    async def _reconsider(self) -> None:
        """Have the runs looked at that wait for a go-ahead: this may be other code."""
        try:
            for run_id in await self._db.read(upgrade.awaiting):
                await self._db.write(run_id, upgrade.look_at, run_id)
        except DatabaseError:
            logger.exception("Runs that wait for a go-ahead were not looked at")

    async def _tick(self) -> None:
        """Tell the heartbeat that the loop is alive, however busy the database is."""
        while True:
            self._heartbeat.tick()
            self._kept.drop_old()
            await asyncio.sleep(TICK_S)

    async def _free_the_dead(self) -> None:
        """Take over at once from processes of this machine that died."""
        for owner in self._presence.dead_owners():
            await self._db.write(None, leases.expire, owner)
            self._presence.bury(owner)

    async def _look(self) -> None:
        if self._held:
            for news in await self._db.read(leases.news, list(self._held)):
                self._take_notice(news)
        if not (free := self._room()):
            return
        for run_id in await self._db.read(
            leases.runnable_ids, free, excluding=list(self._tasks)
        ):
            if run_id not in self._tasks and self._room():
                self._begin(run_id)

    def _take_notice(self, news: leases.Held) -> None:
        execution = self._held.get(news.run_id)
        if execution is None:
            return
        if news.epoch == execution.lease.epoch:
            execution.look(news)
            return
        # Taken from us. What its tools still do is evidence; the run itself is free,
        # also for this process.
        del self._held[news.run_id]
        self._abandoned.add(self._tasks.pop(news.run_id))

    def _ended(self, run_id: UUID, task: asyncio.Task[bool]) -> None:
        self._abandoned.discard(task)
        if self._tasks.get(run_id) is task:
            del self._tasks[run_id]
            self._held.pop(run_id, None)
        if task.cancelled():
            return
        if error := task.exception():
            logger.error(
                "A run was left", extra={"run_id": str(run_id)}, exc_info=error
            )
        elif task.result():
            self._look_again.set()  # there is room for another

    @property
    def name(self) -> str:
        """What its leases are held under."""
        return self._presence.owner

    @property
    def held_runs(self) -> list[UUID]:
        return list(self._held)

    # Driving one run

    async def _work(self, run_id: UUID, peek: bool) -> bool:
        """Take the run and drive it; False when it was not to be had.

        With `peek` it is read first, so that what was approved is claimed at once. Not
        where all runners look at the same runs, of which each gets a few.
        """
        try:
            execution = await self._taken(run_id, peek)
        except DatabaseError:
            logger.exception("A run was not taken", extra={"run_id": str(run_id)})
            return False
        if execution is None:
            return False
        lease = execution.lease
        self._kept.drop(run_id)
        self._held[run_id] = execution
        try:
            await self._drive_to_rest(execution)
        except LeaseLost:
            logger.info("Lost the lease of a run", extra=_extra(lease))
        except DatabaseError:
            # It is taken up where it stands: now, or when its lease has run out.
            logger.exception("A run lost its database", extra=_extra(lease))
            with contextlib.suppress(DatabaseError):
                await self._db.write(run_id, leases.give_up, lease)
        finally:
            execution.gate.rest()
        return True

    async def _taken(self, run_id: UUID, peek: bool) -> Execution | None:
        """Take the run; None when it is not to be had."""
        loaded = self._kept.get(run_id)
        if peek and loaded is None:
            try:
                loaded = await self._db.read(load_queued, run_id)
            except DatabaseError:
                raise
            except Exception as error:
                # Said of the run once it is ours, and read again.
                logger.debug("A run cannot be read", exc_info=error)
            else:
                if loaded is None:
                    return None
        if (seen := _seen(loaded)) is None:
            lease = await self._db.write(run_id, leases.take, run_id, self.name)
            if lease is None:
                return None
            return Execution(lease, DurableGate(lease, self._db))
        begun = await self._db.write(run_id, steps.begin, run_id, self.name, seen)
        if begun is None:
            return None
        return Execution(
            begun.lease,
            DurableGate(begun.lease, self._db, begun.verdicts),
            claims=begun.claims,
            loaded=None if begun.verdicts is None else loaded,
        )

    async def _drive_to_rest(self, execution: Execution) -> None:
        """Drive the run until it has ended or waits with nothing left to look at."""
        at_rest = False
        while not at_rest:
            try:
                result = await self._drive(execution)
            except (RunInterrupted, DatabaseError, AgentsException, RunError) as error:
                return await self._interrupted(execution.lease, error)
            except Exception as error:
                # The agent's code, or ours: loud in the log, and the run does not hang.
                logger.exception("Driving a run broke", extra=_extra(execution.lease))
                # An error that knows the run came out of it, not out of the reading.
                who = "The run" if getattr(error, "run_state", None) else "Placet"
                told = f"{who} failed: {type(error).__name__}: {error}"
                return await self._fail(execution.lease, told)
            at_rest = await self._put_to_rest(execution, result)

    async def _interrupted(self, lease: Lease, error: Exception) -> None:
        """End the run as what broke its stretch says, or raise what ends no run."""
        if isinstance(error, LeaseLost | DatabaseError):
            raise error
        if isinstance(error.__cause__, DatabaseError):
            raise error.__cause__ from error
        if isinstance(error, RunStopped):
            return await self._write(leases.finish, lease, RunStatus.CANCELLED)
        await self._fail(lease, str(error))

    async def _put_to_rest(
        self, execution: Execution, result: RunResultStreaming[Any] | None
    ) -> bool:
        """Store that the stretch is over; False when the run is to be driven on."""
        lease = execution.lease
        if result is None:  # it waits for a go-ahead
            return await self._write(leases.park, lease)
        if result.state.is_done:
            await self._finish(lease, result)
        elif self._leaving and not result.interruptions:
            await self._write(leases.release, lease)
        elif not result.interruptions:
            await self._fail(lease, "The run ended without an answer or a question.")
        else:
            return await self._park(execution, result.state)
        return True

    async def _park(self, execution: Execution, state: RunState[Any]) -> bool:
        """Let the run wait, and keep it; False when it is to be driven on."""
        lease, run, journal = execution.lease, execution.driven, execution.journal
        is_stored = journal is not None and journal.has_stored(state)
        if not await self._write(leases.park, lease):
            return False
        if run is not None and is_stored:
            self._kept.keep(run, state, lease.epoch)
        return True

    async def _finish(self, lease: Lease, result: RunResultStreaming[Any]) -> None:
        if result.stop_reason is not None:
            return await self._write(
                leases.finish, lease, RunStatus.CANCELLED, error=result.stop_reason
            )
        answer = text_of_output(result.last_agent, result.final_output)
        await self._write(
            leases.finish, lease, RunStatus.COMPLETED, final_output=answer
        )

    async def _drive(self, execution: Execution) -> RunResultStreaming[Any] | None:
        """Drive the run for one stretch, and store the spans it ends with.

        None when it may not be driven under the code there is.
        """
        spans = SpanRecorder()
        try:
            result = await self._stretch(execution, spans)
        except Exception:
            await self._keep(execution.lease, spans)
            raise
        finally:
            await self._give_back(execution)
        await self._keep(execution.lease, spans)
        return result

    async def _keep(self, lease: Lease, spans: SpanRecorder) -> None:
        """Store what no step has stored; a run is not disturbed by its trace."""
        if entries := ended_spans(spans):
            try:
                with contextlib.suppress(LeaseLost):
                    await self._write(steps.append_spans, lease, entries)
            except DatabaseError:
                logger.exception("A trace was not stored", extra=_extra(lease))

    async def _stretch(
        self, execution: Execution, spans: SpanRecorder
    ) -> RunResultStreaming[Any] | None:
        lease = execution.lease
        loaded, execution.loaded = execution.loaded, None
        if loaded is None:
            loaded = await self._load(lease)
            if loaded is None:
                return None
            if gated := gated_calls(loaded.state):
                await self._write(steps.propose, lease, gated)
        if loaded.stopping or execution.stopping:
            raise RunStopped("The run was stopped.")
        journal = DurableJournal(lease, self._db, spans, execution.claims)
        execution.driven, execution.journal = loaded, journal
        with recording(spans):
            streaming = Runner.run_streamed(
                loaded.agent,
                loaded.state,
                max_turns=loaded.max_turns,
                run_config=_config(loaded),
                ports=Ports(journal=journal, gate=execution.gate),
                stop_grace_s=settings.PLACET_STOP_GRACE.total_seconds(),
            )
        execution.streaming = streaming
        if execution.stopping:
            streaming.stop()
        if self._leaving:
            streaming.cancel("after_turn")
        try:
            await _show(lease.run_id, streaming)
        finally:
            execution.streaming = None
            await streaming.aclose()
        return streaming

    async def _load(self, lease: Lease) -> LoadedRun | None:
        """Return the run; None while it waits for a go-ahead under changed code."""
        while (loaded := await self._db.read(load, lease.run_id)).change is not None:
            change = loaded.change
            if loaded.calls is None:
                await self._write(upgrade.define, lease, change.now)
            elif not await self._write(upgrade.go_on, lease, change, loaded.calls):
                return None
        return loaded

    async def _write(
        self,
        service: Callable[Concatenate[Lease, P], T],
        lease: Lease,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Return what a write about a held run gives."""
        return await self._db.step(lease, service, lease, *args, **kwargs)

    async def _give_back(self, execution: Execution) -> None:
        """Take back the claims of calls that were not started."""
        unused, execution.claims = list(execution.claims), {}
        if unused:
            with contextlib.suppress(LeaseLost, DatabaseError):
                await self._write(steps.give_back, execution.lease, unused)

    async def _fail(self, lease: Lease, error: str) -> None:
        await self._write(leases.finish, lease, RunStatus.FAILED, error=error)


def _seen(loaded: LoadedRun | None) -> steps.Seen | None:
    """Return what the taking of a run builds on, or None to take it as it is."""
    if loaded is None or loaded.stopping or loaded.change is not None:
        return None
    return steps.Seen(
        agent_key=loaded.agent_key,
        epoch=loaded.epoch,
        head=loaded.head,
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
