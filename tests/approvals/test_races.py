"""Two or more at the same moment, on threads and connections of their own.

Whoever comes first, there is one outcome, and whoever comes second is told.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from approvals import audit
from approvals.models import ApprovalRequest, AuditEntry, Decision, RequestStatus, Vote
from approvals.services import (
    AlreadyDecided,
    NotUndoable,
    decide,
    expire_due,
    undo,
)
from runs.db import Database
from runs.engine import (
    Call,
    ClaimRefused,
    ClaimStatus,
    LeaseLost,
    Model,
    ModelResponse,
    Review,
    RunStopped,
    TResponseStreamEvent,
)
from runs.engine.testing import ScriptedModel, assistant_message, function_call
from runs.executor import Executor
from runs.gate import Decided
from runs.journal import DurableGate
from runs.models import Run, RunEvent, RunStatus, ToolExecution
from runs.services import lease as leases
from runs.services import steps, stop_run
from runs.services.lease import Lease
from runs.transactions import together
from tests.factories import ada, make_user, pending, start, until, until_status
from tests.runs.test_steps import append, held_run, lose, make_call
from tests.shop import agents as shop

pytestmark = pytest.mark.django_db(transaction=True)

Job = Callable[[], Any]
"""What one side does in a round; the outcome is what it returns or raises."""

HELD = Review(hold=timedelta(hours=1))
BUSY = timedelta(milliseconds=3)
"""How long before its moment a side of a race is wide awake."""
EXPIRES = Review(expires_after=timedelta(hours=1))


def contest(
    *sides: Sequence[Job], first: Job | None = None, in_step: bool = True
) -> list[tuple[Any, ...]]:
    """Have the sides do their jobs round by round, each on a thread of its own.

    In each round, which `first` opens, all begin at once; not `in_step` only in the
    first one. Returns the outcomes of each round.
    """
    line = threading.Barrier(len(sides), action=first, timeout=60)
    told: list[list[Any]] = [[] for _ in sides]

    def play(side: int) -> None:
        try:
            for number, job in enumerate(sides[side]):
                if in_step or number == 0:
                    line.wait()
                told[side].append(outcome(job))
        finally:
            connection.close()

    threads = [threading.Thread(target=play, args=[n]) for n in range(len(sides))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return list(zip(*told, strict=True))


def outcome(job: Job) -> Any:
    try:
        return job()
    except Exception as error:
        return error


def calls(count: int, review: Review) -> list[Call]:
    return [
        make_call(f'{{"order_id": "{n}"}}', key=f"c{n}", call_id=f"c{n}", review=review)
        for n in range(count)
    ]


def asked(count: int, review: Review) -> tuple[Run, Lease, list[Call]]:
    """A run that is held, with `count` pending requests."""
    run, lease = held_run()
    gated = calls(count, review)
    append(run, lease, gated)
    return run, lease, gated


def approve(request: ApprovalRequest, by: User) -> ApprovalRequest:
    return decide(request.pk, verdict="approve", by=by, digest_seen=request.digest)


def wait_until(moment: datetime) -> None:
    left_s = (moment - timezone.now() - BUSY).total_seconds()
    if left_s > 0:
        time.sleep(left_s)
    while timezone.now() < moment:
        pass  # busily: a sleep may end too late for a race


def reviewers(count: int) -> list[User]:
    return [make_user(f"reviewer{n}", "reviewers") for n in range(count)]


def check_books() -> None:
    """What holds after any race: logs without gaps, whole chains, one open request."""
    for run in Run.objects.all():
        seqs = list(run.events.order_by("seq").values_list("seq", flat=True))
        assert seqs == list(range(1, run.last_seq + 1))
        assert audit.broken_link(run.pk) is None
        open_keys = [request.call_key for request in pending(run)]
        assert len(open_keys) == len(set(open_keys))
        assert run.is_open or not open_keys
    assert RunEvent.objects.exists()
    assert AuditEntry.objects.exists()


def test_of_8_deciders_of_200_requests_one_wins_each() -> None:
    requests = [one for _ in range(20) for one in pending(asked(10, Review())[0])]
    people = reviewers(8)

    def press(person: User, one: ApprovalRequest) -> ApprovalRequest:
        said = "approve" if person.pk % 2 else "reject"
        return decide(one.pk, verdict=said, by=person, digest_seen=one.digest)

    sides = ([partial(press, by, one) for one in requests] for by in people)
    rounds = contest(*sides, in_step=False)

    counted = Counter(type(told) for told_in in rounds for told in told_in)
    assert counted == {ApprovalRequest: 200, AlreadyDecided: 1400}
    for told_in in rounds:
        assert sum(isinstance(told, ApprovalRequest) for told in told_in) == 1
    assert Decision.objects.count() == Vote.objects.count() == 200
    assert not ApprovalRequest.objects.filter(status=RequestStatus.PENDING).exists()
    check_books()


def test_the_second_vote_of_two_decides_once() -> None:
    run, _, _ = asked(40, Review(approvals=2))
    requests = pending(run)

    rounds = contest(
        *([partial(approve, one, by) for one in requests] for by in reviewers(4))
    )

    for told_in in rounds:
        assert sum(isinstance(told, ApprovalRequest) for told in told_in) == 2
        assert sum(isinstance(told, AlreadyDecided) for told in told_in) == 2
    assert (Decision.objects.count(), Vote.objects.count()) == (40, 80)
    check_books()


def test_a_decision_and_the_expiry_have_one_outcome() -> None:
    run, _, _ = asked(100, EXPIRES)
    requests, reviewer, now = pending(run), ada(), timezone.now()
    long_up = now - timedelta(days=1)

    def expire_one(one: ApprovalRequest) -> int:
        ApprovalRequest.objects.filter(pk=one.pk).update(expires_at=now)
        return expire_due(timezone.now(), up_since=long_up)

    rounds = contest(
        [partial(approve, one, reviewer) for one in requests],
        [partial(expire_one, one) for one in requests],
    )

    for one, (decided, expired) in zip(requests, rounds, strict=True):
        one.refresh_from_db()
        if isinstance(decided, ApprovalRequest):
            assert (one.status, expired) == (RequestStatus.APPROVED, 0)
            assert one.decision.actor == reviewer
        else:
            assert isinstance(decided, AlreadyDecided)
            assert (one.status, expired) == (RequestStatus.EXPIRED, 1)
            assert one.decision.actor is None
    assert Decision.objects.count() == 100
    check_books()


@pytest.mark.parametrize("at_work", [True, False])
def test_a_decision_and_a_stop_leave_nothing_that_may_run(at_work: bool) -> None:
    held = [asked(1, Review()) for _ in range(40)]
    if not at_work:
        for _, lease, gated in held:
            steps.verdicts(lease, gated)
            assert leases.park(lease)
    requests = [pending(run)[0] for run, _, _ in held]
    reviewer = ada()

    rounds = contest(
        [partial(approve, one, reviewer) for one in requests],
        [partial(stop_run, run.pk, by=None) for run, _, _ in held],
    )

    for (run, lease, gated), one, told in zip(held, requests, rounds, strict=True):
        assert isinstance(told[1], Run)
        if at_work:
            with pytest.raises(RunStopped):
                steps.claim_call(lease, gated[0])
            leases.finish(lease, RunStatus.CANCELLED)
        run.refresh_from_db()
        one.refresh_from_db()
        assert run.status == RunStatus.CANCELLED
        assert leases.take(run.pk, "another") is None
        decided = isinstance(told[0], ApprovalRequest)
        assert decided or isinstance(told[0], AlreadyDecided)
        left = RequestStatus.SUPERSEDED if decided else RequestStatus.CANCELLED
        assert one.status == left
        assert Decision.objects.filter(request=one).exists() == decided
    assert not ToolExecution.objects.exists()
    check_books()


def test_a_decision_and_an_undo_have_one_order() -> None:
    run, _, _ = asked(80, HELD)
    requests, (first, second) = pending(run), reviewers(2)

    rounds = contest(
        [partial(approve, one, first) for one in requests],
        [partial(undo, one.pk, by=second) for one in requests],
    )

    for one, (decided, undone) in zip(requests, rounds, strict=True):
        one.refresh_from_db()
        assert isinstance(decided, ApprovalRequest)
        later = run.requests.filter(call_key=one.call_key, revision=2)
        if isinstance(undone, ApprovalRequest):
            assert (one.status, undone) == (RequestStatus.UNDONE, later.get())
        else:
            assert isinstance(undone, NotUndoable)
            assert (one.status, later.exists()) == (RequestStatus.APPROVED, False)
    check_books()


def test_of_many_who_undo_at_once_one_does() -> None:
    run, _, _ = asked(25, HELD)
    requests, people = pending(run), reviewers(4)
    for one in requests:
        approve(one, people[0])

    rounds = contest(
        *([partial(undo, one.pk, by=by) for one in requests] for by in people)
    )

    for told_in in rounds:
        kinds = Counter(type(told) for told in told_in)
        assert kinds == {ApprovalRequest: 1, NotUndoable: 3}
    assert len(pending(run)) == 25
    check_books()


def test_an_undo_and_a_claim_have_one_outcome() -> None:
    chance = random.Random(4)
    run, lease, gated = asked(200, HELD)
    reviewer = ada()
    requests = {one.call_key: one for one in pending(run)}
    for one in requests.values():
        approve(one, reviewer)

    keys, released = iter(requests), {}

    def open_round() -> None:
        """Have the next call released in a moment, about which both come."""
        key = next(keys)
        released[key] = timezone.now() + timedelta(milliseconds=30)
        decisions = Decision.objects.filter(request=requests[key])
        decisions.update(release_at=released[key])

    def take_back(call: Call) -> ApprovalRequest:
        early = timedelta(milliseconds=chance.uniform(0, 25))
        wait_until(released[call.key] - early)
        return undo(requests[call.key].pk, by=reviewer)

    def claim(call: Call) -> ClaimStatus:
        wait_until(released[call.key])
        status = ClaimStatus.HELD
        while status is ClaimStatus.HELD:
            status = steps.claim_call(lease, call).status
        return status

    rounds = contest(
        [partial(take_back, call) for call in gated],
        [partial(claim, call) for call in gated],
        first=open_round,
    )

    for call, (undone, claimed) in zip(gated, rounds, strict=True):
        request = run.requests.get(pk=requests[call.key].pk)
        started = run.executions.filter(call_key=call.key).exists()
        if isinstance(undone, ApprovalRequest):
            assert isinstance(claimed, ClaimRefused)
            assert (request.status, started) == (RequestStatus.UNDONE, False)
        else:
            assert isinstance(undone, NotUndoable)
            assert claimed is ClaimStatus.GRANTED
            assert (request.status, started) == (RequestStatus.APPROVED, True)
    kinds = Counter(type(undone) for undone, _ in rounds)
    assert len(kinds) == 2, "both came first at times, else nothing was raced"
    check_books()


async def test_a_verdict_that_is_being_undone_as_it_is_released_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lease, call, request, reviewer = await sync_to_async(rejected_and_held)()
    undone, read = threading.Event(), threading.Event()
    just_read = steps.verdicts
    seen: list[Decided] = []

    def undo_slowly() -> None:
        try:
            with together():
                undo(request.pk, by=reviewer)
                undone.set()
                read.wait(60)
        finally:
            connection.close()

    def read_while_it_is_undone(*args: Any) -> Decided:
        seen.append(just_read(*args))
        read.set()
        return seen[-1]

    monkeypatch.setattr(steps, "verdicts", read_while_it_is_undone)
    undoing = threading.Thread(target=undo_slowly)
    undoing.start()
    database = Database()
    try:
        await asyncio.to_thread(undone.wait, 10)
        release_at = request.decision.release_at
        await until(lambda: timezone.now() > release_at, "the release")
        verdicts = await DurableGate(lease, database).verdicts([call])
    finally:
        undoing.join()
        await database.close()

    assert list(seen[0].verdicts) == ["c0"]
    assert verdicts == {}


def rejected_and_held() -> tuple[Lease, Call, ApprovalRequest, User]:
    run, lease, [call] = asked(1, Review(hold=timedelta(seconds=0.5)))
    reviewer = ada()
    [request] = pending(run)
    decide(request.pk, verdict="reject", by=reviewer, digest_seen=request.digest)
    request = ApprovalRequest.objects.select_related("decision").get()
    return lease, call, request, reviewer


def test_of_many_workers_one_takes_a_run() -> None:
    runs = [start() for _ in range(100)]

    rounds = contest(
        *(
            [partial(leases.take, run.pk, name) for run in runs]
            for name in ("one", "two", "three", "four")
        )
    )

    for run, told in zip(runs, rounds, strict=True):
        [lease] = [one for one in told if one is not None]
        run.refresh_from_db()
        assert (run.lease_owner, run.lease_epoch) == (lease.owner, lease.epoch)
        assert lease.epoch == 1


def test_an_old_holder_and_the_new_one_claim_a_call_once() -> None:
    held = [asked(1, Review()) for _ in range(60)]
    reviewer = ada()
    for run, _, _ in held:
        approve(pending(run)[0], reviewer)
    newer = [lose(run) for run, _, _ in held]

    rounds = contest(
        [partial(steps.claim_call, lease, call) for _, lease, [call] in held],
        [
            partial(steps.claim_call, lease, call)
            for lease, (_, _, [call]) in zip(newer, held, strict=True)
        ],
    )

    for by_old, by_new in rounds:
        assert isinstance(by_old, LeaseLost)
        assert by_new.status is ClaimStatus.GRANTED
    assert ToolExecution.objects.count() == 60


def test_a_run_is_taken_or_stopped_and_then_claims_nothing() -> None:
    runs = [start() for _ in range(60)]

    rounds = contest(
        [partial(leases.take, run.pk, "worker") for run in runs],
        [partial(stop_run, run.pk, by=None) for run in runs],
    )

    for run, (lease, stopped) in zip(runs, rounds, strict=True):
        assert isinstance(stopped, Run)
        run.refresh_from_db()
        assert run.stop_requested_at is not None
        if lease is None:
            assert run.status == RunStatus.CANCELLED
        else:
            with pytest.raises((RunStopped, LeaseLost)):
                steps.claim_call(lease, make_call(gated=False))
    assert not ToolExecution.objects.exists()


class ShipsOnce(Model):
    """Has an order shipped, and ends once it was."""

    async def get_response(
        self, system_instructions: str | None, input: Any, *args: Any, **kwargs: Any
    ) -> ModelResponse:
        script = self._script(input)
        return await script.get_response(system_instructions, input, *args, **kwargs)

    async def stream_response(
        self, system_instructions: str | None, input: Any, *args: Any, **kwargs: Any
    ) -> AsyncIterator[TResponseStreamEvent]:
        script = self._script(input)
        asked = script.stream_response(system_instructions, input, *args, **kwargs)
        async for event in asked:
            yield event

    def _script(self, given: Any) -> ScriptedModel:
        if given[-1].get("type") == "function_call_output":
            return ScriptedModel([assistant_message("end")])
        return ScriptedModel([function_call("ship", {"order_id": "1"}, call_id="s1")])


async def test_two_runners_do_the_work_of_each_run_once(
    transactional_db: None, effects: shop.Effects
) -> None:
    shop.use(ShipsOnce())
    runners = [Executor(concurrency=20), Executor(concurrency=20)]
    for runner in runners:
        await runner.start()

    runs = [await sync_to_async(start)() for _ in range(25)]
    for run in runs:
        await until_status(run, RunStatus.COMPLETED)
    await until(lambda: not any(runner.held_runs for runner in runners), "the rest")
    for runner in runners:
        await runner.stop(grace_s=5)

    assert len(effects) == 25
    assert {run.lease_epoch async for run in Run.objects.all()} == {1}
