"""Runs and requests against a model of them, in every order that hypothesis finds.

The model is plain Python and knows nothing of rows. Before each step it says what must
come of it; after each step the database must look as it says, and what must always
hold must hold. A failure prints the steps that led to it, and how to play them again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from approvals import audit
from approvals.models import ApprovalRequest, Decision, Rule, Verdict
from approvals.services import (
    AlreadyDecided,
    InvalidDecision,
    NotAllowed,
    NotUndoable,
    decide,
    expire_due,
    undo,
)
from approvals.terms import FOR_THIS_RUN
from runs import codec, services
from runs.engine import (
    Call,
    ClaimRefused,
    ClaimStatus,
    LeaseLost,
    Outcome,
    OutcomeKind,
    Review,
    RunStopped,
)
from runs.errors import MessageRefused, NotOpen, NotResumable
from runs.models import Run, RunStatus, ToolExecution
from runs.services import due, steps
from runs.services import lease as leases
from runs.services.lease import Lease
from tests.factories import bob, make_user, start
from tests.runs.test_steps import append, make_call

HOUR = timedelta(hours=1)
REVIEWS = {
    "plain": Review(),
    "double": Review(approvals=2),
    "held": Review(hold=HOUR),
    "brief": Review(expires_after=HOUR),
    "repeatable": Review(idempotent=True),
}
"""The tools, by what is special about them."""

T = TypeVar("T", bound=Callable[..., None])

NUMBERS = st.integers(0, 17)
OPEN = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.WAITING)
DONE = Outcome(kind=OutcomeKind.SUCCEEDED, output="done")
REFUSED = Outcome(kind=OutcomeKind.REJECTED, output="no")


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Something that may happen to the run."""

    do: Callable[..., None]
    when: Callable[[Desk], object]
    weight: int
    drawn: dict[str, st.SearchStrategy[Any]]

    def __repr__(self) -> str:
        return self.do.__name__


ACTS: list[Act] = []


def act(
    when: Callable[[Desk], object], weight: int = 1, **drawn: st.SearchStrategy[Any]
) -> Callable[[T], T]:
    """Make a method of Desk one of the things that may happen `when`."""

    def note(method: T) -> T:
        ACTS.append(Act(do=method, when=when, weight=weight, drawn=drawn))
        return method

    return note


@dataclass
class Asked:
    """A request about a call, as the model has it."""

    reconciles: bool = False
    status: str = "pending"
    votes: set[int] = field(default_factory=set)
    held: bool = False
    by_rule: StandingRule | None = None


@dataclass
class StandingRule:
    tool: str
    verdict: str
    made_with: Asked
    revoked: bool = False


@dataclass
class Called:
    """A call, as the model has it."""

    call: Call
    asked: list[Asked] = field(default_factory=list)
    execution: str = ""
    permitted_by: Asked | None = None
    doubted_attempt: int = 0
    attempt: int = 0
    is_over: bool = False
    undone: bool = False

    @property
    def latest(self) -> Asked:
        return self.asked[-1]

    @property
    def counts(self) -> bool:
        """Say whether a verdict on it is there and released."""
        said = ("approved", "rejected", "answered", "expired")
        return self.latest.status in said and not self.latest.held

    @property
    def may_start(self) -> bool:
        return self.latest.status == "approved" and not self.latest.held


class Desk(RuleBasedStateMachine):
    """One run at a time, its workers and its reviewers."""

    people: list[User]
    requester: User

    def __init__(self) -> None:
        super().__init__()
        self.granted: Counter[tuple[str, Any]] = Counter()
        self._begin()

    def _begin(self) -> None:
        self.run = start(requester=self.requester)
        self.status: RunStatus = RunStatus.QUEUED
        self.stopping = self.has_news = self.lapsed = False
        self.wake_at = ""
        self.messages = 0
        self.calls: list[Called] = []
        self.standing: list[StandingRule] = []
        self.lease: Lease | None = None
        self.old: list[Lease] = []

    def expect(
        self, predicted: Any, job: Callable[..., Any], *args: Any, **more: Any
    ) -> None:
        """Have the job done, and see that it ends as predicted: a type, or a value."""
        came: Any
        try:
            came = job(*args, **more)
        except Exception as error:
            came = error
        if isinstance(predicted, type):
            assert type(came) is predicted, f"{came!r}, not {predicted.__name__}"
        else:
            assert came == predicted, f"{came!r}, not {predicted!r}"

    # What the model knows of each part

    @property
    def is_at_work(self) -> bool:
        return self.status in (RunStatus.QUEUED, RunStatus.RUNNING)

    def _hold(self) -> None:
        if self.lease is None:
            self.take()

    def one(self, number: int, useful: Callable[[Called], bool]) -> Called:
        """Return a call: of three tries two at one where something may come of it."""
        found = [called for called in self.calls if useful(called)]
        chosen = found if found and number % 3 else self.calls
        return chosen[number // 3 % len(chosen)]

    def row(self, called: Called) -> ApprovalRequest:
        requests = self.run.requests.filter(call_key=called.call.key)
        found: ApprovalRequest = requests.latest("revision")
        return found

    def wake(self) -> None:
        self.has_news = True
        if self.status == RunStatus.WAITING:
            self.status = RunStatus.QUEUED

    def settle(self, called: Called, status: str, by_rule: StandingRule | None) -> None:
        asked = called.latest
        asked.status, asked.by_rule = status, by_rule
        asked.held = called.call.tool == "held" and status != "expired"
        if asked.held:
            self.has_news = True
            self.wake_at = self.wake_at or "later"
        else:
            self.wake()

    def covering(self, called: Called) -> StandingRule | None:
        if called.latest.reconciles or called.undone or called.call.tool == "double":
            return None
        of_tool = [
            one
            for one in self.standing
            if one.tool == called.call.tool and not one.revoked
        ]
        denying = [one for one in of_tool if one.verdict == "rejected"]
        was_denied = any(asked.status == "rejected" for asked in called.asked)
        was_denied |= any(asked.status == "expired" for asked in called.asked)
        if denying:
            return denying[0]
        return of_tool[0] if of_tool and not was_denied else None

    def ask(self, called: Called, *, reconciles: bool = False) -> None:
        called.asked.append(Asked(reconciles=reconciles))
        if standing := self.covering(called):
            self.settle(called, standing.verdict, standing)

    def ended(self, status: RunStatus) -> None:
        self.status = RunStatus.CANCELLED if self.stopping else status
        self.lease = None
        for called in self.calls:
            if called.latest.status == "pending":
                called.latest.status = "cancelled"
            unused = called.latest.status == "approved" and not called.execution
            if unused or called.latest.held:
                called.latest.status, called.latest.held = "superseded", False
            if called.execution == "started":
                called.execution = "unknown"
        for standing in self.standing:
            standing.revoked = True

    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        """Do one of the acts that are possible now, the likely ones more often.

        One rule, because of many hypothesis leaves some out of each example, and little
        comes of a run without a reviewer or without a worker.
        """
        possible = [one for one in ACTS if one.when(self) for _ in range(one.weight)]
        chosen = data.draw(st.sampled_from(possible), "act")
        drawn = {name: data.draw(kind, name) for name, kind in chosen.drawn.items()}
        chosen.do(self, **drawn)

    # Workers

    @initialize(tools=st.permutations(sorted(REVIEWS)))
    def begin_with(self, tools: list[str]) -> None:
        self.call_tools(tools[:4])

    @act(lambda self: self.status not in OPEN, tools=st.permutations(sorted(REVIEWS)))
    def begin(self, tools: list[str]) -> None:
        self._begin()
        self.call_tools(tools[:3])

    @act(lambda self: self.status in OPEN and (not self.lease or self.lapsed))
    def take(self) -> None:
        takable = self.status == RunStatus.QUEUED or (
            self.status == RunStatus.RUNNING and self.lapsed
        )
        lease = leases.take(self.run.pk, "worker")
        assert (lease is not None) == takable
        if lease is None:
            return
        if self.lease is not None:
            self.old.append(self.lease)
        self.lease, self.status = lease, RunStatus.RUNNING
        self.lapsed = self.has_news = False
        if not self.stopping:
            self._propose_again()

    def _propose_again(self) -> None:
        assert self.lease is not None
        open_calls = [called for called in self.calls if not called.is_over]
        steps.propose(self.lease, [called.call for called in open_calls])
        for called in open_calls:
            if called.latest.status in ("cancelled", "superseded"):
                self.ask(called, reconciles=called.latest.reconciles)

    @act(lambda self: self.status == RunStatus.RUNNING)
    def fall_silent(self) -> None:
        past = timezone.now() - timedelta(seconds=1)
        Run.objects.filter(pk=self.run.pk).update(lease_expires_at=past)
        self.lapsed = True

    @act(lambda self: self.lapsed)
    def free_the_abandoned(self) -> None:
        is_abandoned = self.status == RunStatus.RUNNING and self.lapsed
        self.expect(is_abandoned, due.free, self.run.pk)
        if is_abandoned:
            self._give_up_lease()
            self.has_news = True

    def _give_up_lease(self) -> None:
        assert self.lease is not None
        self.old.append(self.lease)
        self.lease, self.status, self.lapsed = None, RunStatus.QUEUED, False

    @act(
        lambda self: self.is_at_work and len(self.calls) < 6,
        tools=st.lists(st.sampled_from(sorted(REVIEWS)), min_size=1, max_size=3),
    )
    def call_tools(self, tools: list[str]) -> None:
        self._hold()
        for tool in tools:
            self._call(tool)

    def _call(self, tool: str) -> None:
        number = len(self.calls)
        call = make_call(
            f'{{"n": {number}}}',
            key=f"c{number}",
            call_id=f"c{number}",
            tool=tool,
            review=REVIEWS[tool],
        )
        if self.stopping:
            self.expect(RunStopped, append, self.run, self.lease, [call])
            return
        append(self.run, self._current(), [call])
        self.calls.append(Called(call))
        self.calls[-1].asked.clear()
        self.ask(self.calls[-1])

    def _current(self) -> Lease:
        assert self.lease is not None
        return self.lease

    @act(lambda self: self.is_at_work and self.calls, 5, number=NUMBERS)
    def claim(self, number: int) -> None:
        self._hold()
        called = self.one(number, lambda one: one.may_start and not one.is_over)
        if called.is_over:
            return
        predicted = self._claimed(called)
        if isinstance(predicted, type):
            self.expect(predicted, steps.claim_call, self.lease, called.call)
            return
        claim = steps.claim_call(self._current(), called.call)
        assert claim.status is predicted
        if predicted is ClaimStatus.GRANTED:
            called.execution, called.permitted_by = "started", called.latest
            called.attempt += 1
            permitted_by = self.run.executions.get(call_key=called.call.key)
            self.granted[called.call.tool, permitted_by.permitted_by] += 1
        elif predicted is ClaimStatus.IN_DOUBT:
            called.execution = "unknown"
            same = called.latest.reconciles and called.latest.status != "cancelled"
            if not same or called.doubted_attempt != called.attempt:
                called.doubted_attempt = called.attempt
                called.asked.append(Asked(reconciles=True))

    def _claimed(self, called: Called) -> Any:
        if self.stopping:
            return RunStopped
        if not called.execution:
            if called.may_start:
                return ClaimStatus.GRANTED
            held = called.latest.status == "approved" and called.latest.held
            return ClaimStatus.HELD if held else ClaimRefused
        used = called.latest is called.permitted_by
        again = called.may_start and (not used or called.call.tool == "repeatable")
        return ClaimStatus.GRANTED if again else ClaimStatus.IN_DOUBT

    @act(lambda self: self.lease and self.calls, 4, number=NUMBERS)
    def record(self, number: int) -> None:
        """As the engine does: what has run, or what was refused."""
        called = self.one(number, lambda one: not one.is_over and one.counts)
        ran = called.execution == "started"
        refused = called.counts and not called.may_start and not called.execution
        if called.is_over or not (ran or refused):
            return
        outcome = DONE if ran else REFUSED
        head = codec.loads(Run.objects.get(pk=self.run.pk).head)
        steps.record_outcome(self._current(), called.call, outcome, [], head)
        called.is_over = True
        called.execution = "succeeded" if ran else ""

    @act(lambda self: self.lease, 2, looks=st.booleans())
    def park(self, looks: bool) -> None:
        lease = self._current()
        open_calls = [called for called in self.calls if not called.is_over]
        if looks:
            calls = [called.call for called in open_calls]
            if self.stopping:
                self.expect(RunStopped, steps.verdicts, lease, calls)
            else:
                decided = steps.verdicts(lease, calls).verdicts
                assert set(decided) == {
                    one.call.key for one in open_calls if one.counts
                }
                self.has_news = False
        rests = not self.has_news and not self.stopping
        self.expect(rests, leases.park, lease)
        self.has_news = False
        if rests:
            self.old.append(lease)
            self.lease, self.status = None, RunStatus.WAITING
            self.lapsed = False
            waits = lease.released_at is not None
            self.wake_at = "" if not waits else self._moment(open_calls)

    def _moment(self, open_calls: list[Called]) -> str:
        return "later" if any(called.latest.held for called in open_calls) else "now"

    @act(lambda self: self.old and self.status in OPEN, number=st.integers(0, 9))
    def an_old_holder_writes(self, number: int) -> None:
        old = self.old.pop(number % len(self.old))
        call = make_call(key="late", call_id="late")
        self.expect(LeaseLost, append, self.run, old, [call])
        self.expect(LeaseLost, steps.claim_call, old, call)
        self.expect(LeaseLost, leases.park, old)
        self.expect(LeaseLost, steps.verdicts, old, [call])

    @act(
        lambda self: self.lease and len(self.calls) > 2,
        status=st.sampled_from([RunStatus.COMPLETED, RunStatus.FAILED]),
    )
    def finish(self, status: RunStatus) -> None:
        leases.finish(self._current(), status)
        self.old.append(self._current())
        follows = status == RunStatus.COMPLETED and self.messages and not self.stopping
        self.ended(status)
        assert Run.objects.filter(previous=self.run).exists() == bool(follows)

    # People

    @act(
        lambda self: self.calls,
        6,
        number=NUMBERS,
        who=st.integers(0, 2),
        verdict=st.sampled_from(["approve", "approve", "approve", "reject", "answer"]),
        always=st.sampled_from([False, False, True]),
    )
    def decide(self, number: int, who: int, verdict: str, always: bool) -> None:
        called = self.one(number, lambda one: one.latest.status == "pending")
        person = self.people[who]
        predicted = self._decided(called, who, verdict, always)
        said = {"output": "it did"} if verdict == "answer" else {}
        row = self.row(called)
        self.expect(
            predicted,
            decide,
            row.pk,
            verdict=verdict,
            by=person,
            digest_seen=row.digest,
            always=FOR_THIS_RUN if always else None,
            **said,
        )
        if predicted is not ApprovalRequest:
            return
        asked = called.latest
        asked.votes.add(who)
        needed = 2 if called.call.tool == "double" else 1
        if verdict == "approve" and len(asked.votes) < needed:
            return
        status = {"approve": "approved", "reject": "rejected", "answer": "answered"}
        self.settle(called, status[verdict], None)
        if always:
            self._stand(called, status[verdict])

    def _decided(self, called: Called, who: int, verdict: str, always: bool) -> type:
        asked = called.latest
        if asked.status != "pending":
            return AlreadyDecided
        once = asked.reconciles or called.call.tool == "double"
        if always and (once or verdict == "answer"):
            return InvalidDecision
        return NotAllowed if who in asked.votes else ApprovalRequest

    def _stand(self, called: Called, status: str) -> None:
        self.standing.append(StandingRule(called.call.tool, status, called.latest))
        for other in self.calls:
            if other.call.tool != called.call.tool or other.latest.status != "pending":
                continue
            if standing := self.covering(other):
                self.settle(other, standing.verdict, standing)

    @act(lambda self: self.calls, 2, number=NUMBERS, who=st.integers(0, 2))
    def undo(self, number: int, who: int) -> None:
        called = self.one(number, lambda one: one.latest.held)
        undoable = called.latest.held and self.status in OPEN and not self.stopping
        predicted = ApprovalRequest if undoable else NotUndoable
        self.expect(predicted, undo, self.row(called).pk, by=self.people[who])
        if undoable:
            undone = called.latest
            self._take_back(called)
            for standing in self.standing:
                if standing.made_with is undone and not standing.revoked:
                    standing.revoked = True
                    for other in self.calls:
                        if other.latest.by_rule is standing and other.latest.held:
                            self._take_back(other)

    def _take_back(self, called: Called) -> None:
        called.latest.status, called.latest.held = "undone", False
        called.undone = True
        called.asked.append(Asked(reconciles=called.latest.reconciles))

    @act(lambda self: self.calls, number=NUMBERS)
    def nobody_decides_in_time(self, number: int) -> None:
        called = self.one(number, lambda one: one.call.tool == "brief")
        now = timezone.now()
        ApprovalRequest.objects.filter(
            pk=self.row(called).pk, expires_at__isnull=False
        ).update(expires_at=now)
        asked = called.latest
        is_due = (
            called.call.tool == "brief"
            and asked.status == "pending"
            and not asked.reconciles
        )
        self.expect(int(is_due), expire_due, timezone.now(), up_since=now - HOUR)
        if is_due:
            self.settle(called, "expired", None)

    @act(lambda self: any(one.latest.held for one in self.calls), 1)
    def let_the_hold_pass(self) -> None:
        now = timezone.now()
        held = Decision.objects.filter(request__run=self.run, release_at__gt=now)
        held.update(release_at=now)
        run = Run.objects.filter(pk=self.run.pk, wake_at__isnull=False)
        run.update(wake_at=now)
        if self.lease is not None and self.lease.released_at is not None:
            self.lease.released_at = now
        for called in self.calls:
            called.latest.held = False
        self.wake_at = "now" if self.wake_at else ""

    @act(lambda self: self.wake_at)
    def look_for_what_is_due(self) -> None:
        is_due = self.status == RunStatus.WAITING and self.wake_at == "now"
        self.expect(is_due, due.wake_due, self.run.pk)
        if is_due:
            self.wake_at = ""
            self.wake()

    @act(lambda self: True, what=st.integers(0, 5))
    def interfere(self, what: int) -> None:
        """As people do to a run from outside; stop it seldom, as that is its end."""
        if what == 0:
            self._stop()
        elif what < 3:
            self._requeue()
        else:
            self._resume()

    def _stop(self) -> None:
        if self.status not in OPEN:
            self.expect(NotOpen, services.stop_run, self.run.pk, by=None)
            return
        services.stop_run(self.run.pk, by=None)
        if not self.stopping:
            self.stopping = True
            if self.status == RunStatus.RUNNING:
                self.has_news = True
            else:
                self.ended(RunStatus.CANCELLED)

    def _resume(self) -> None:
        if self.status != RunStatus.FAILED:
            self.expect(NotResumable, services.resume_run, self.run.pk, by=None)
            return
        services.resume_run(self.run.pk, by=None)
        self.status = RunStatus.QUEUED

    def _requeue(self) -> None:
        if self.status not in OPEN:
            self.expect(NotOpen, services.requeue_run, self.run.pk, by=None)
            return
        services.requeue_run(self.run.pk, by=None)
        if self.lease is not None:
            self._give_up_lease()
        self.status = RunStatus.QUEUED

    @act(lambda self: self.status in OPEN and self.messages < 2)
    def say_something(self) -> None:
        talk = self.run.conversation_id
        if self.stopping:
            self.expect(MessageRefused, services.send_message, talk, "and?", by=None)
            return
        services.send_message(talk, "and?", by=None)
        self.messages += 1

    # What the database must look like

    @invariant()
    def the_rows_are_as_the_model_says(self) -> None:
        run = Run.objects.get(pk=self.run.pk)
        assert run.status == self.status
        assert (run.stop_requested_at is not None) == self.stopping
        found: dict[str, list[str]] = {}
        requests = self.run.requests.order_by("revision")
        for key, status in requests.values_list("call_key", "status"):
            found.setdefault(key, []).append(status)
        assert found == {
            called.call.key: [asked.status for asked in called.asked]
            for called in self.calls
        }
        rules = Rule.objects.filter(run=self.run).order_by("id")
        revoked = [one.revoked_at is not None for one in rules]
        assert revoked == [one.revoked for one in self.standing]

    @invariant()
    def nothing_has_run_without_its_approval(self) -> None:
        permitted = {
            execution.permitted_by: execution
            for execution in ToolExecution.objects.filter(run=self.run)
        }
        decisions = Decision.objects.select_related("request").in_bulk(list(permitted))
        for pk, execution in permitted.items():
            decision = decisions[pk]
            assert decision.verdict == Verdict.APPROVE
            assert decision.digest == decision.request.digest == execution.digest
            assert decision.request.call_key == execution.call_key
            assert decision.release_at <= execution.started_at
        for (tool, _), times in self.granted.items():
            assert times == 1 or tool == "repeatable"

    @invariant()
    def the_log_has_no_gap_and_an_ended_run_asks_nothing(self) -> None:
        seqs = list(self.run.events.order_by("seq").values_list("seq", flat=True))
        assert seqs == list(range(1, len(seqs) + 1))
        pending = self.run.requests.filter(status="pending")
        keys = list(pending.values_list("call_key", flat=True))
        assert len(keys) == len(set(keys))
        assert self.status in OPEN or not keys

    def teardown(self) -> None:
        assert audit.broken_link(self.run.pk) is None


@pytest.mark.django_db(transaction=True)
def test_runs_and_requests_do_as_a_model_of_them_says() -> None:
    Desk.people = [make_user(name, "reviewers") for name in ("ada", "carl", "dora")]
    Desk.requester = bob()

    run_state_machine_as_test(
        Desk,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
