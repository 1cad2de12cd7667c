"""What people and systems do to runs; each thing done is told to the journal.

An acknowledgement is told after the service has returned, as a page answers then. What
it says must be true for ever after, whoever dies next.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.utils import timezone

from approvals import services as desk
from approvals.errors import DecisionError
from approvals.models import (
    DECIDED_STATUSES,
    ApprovalRequest,
    RequestStatus,
    Rule,
    Verdict,
)
from approvals.policies import is_editable
from approvals.standing import why_not_always
from approvals.terms import FOR_THIS_RUN
from runs import services
from runs.models import OPEN_STATUSES, Conversation, Run, RunStatus, WebhookSource
from runs.services import saved_states
from runs.services.record import record_items
from runs.webhooks import receive, sources

from . import journal, plans
from .plans import Calls

REVIEWERS = ("ada", "cyd")
OPERATOR = "bob"
LOOK_S = 0.03
REST_S = 60.0
LATE = timedelta(seconds=2)
"""How long people who let a request expire wait for that before they decide it."""
OUTPUT = "A person saw that it happened."
WHY = "One more is due."


class Restless(Exception):
    """Something did not come within its time; the text says what."""


class Web:
    """Everybody around the runs that began after `since`."""

    def __init__(self, name: str, *, seed: int, since: float, leaves: bool = False):
        self.name = name
        self.since = since
        self._seed = seed
        self._leaves = leaves
        self._count = 0
        self._people = {user.username: user for user in User.objects.all()}

    # Doing

    def plan(self, *turns: Calls, **more: Any) -> str:
        """Return a plan of a name of its own; `{}` in its texts stands for the name."""
        self._count += 1
        name = f"{self.name}-{self._count}"
        return plans.plan(name, *_named(turns, name), **more)

    def start(self, *turns: Calls, **more: Any) -> Run:
        text = self.plan(*turns, **more)
        run = services.start_run(
            plans.KEY, text, trigger=Run.Trigger.PAGE, requester=self.person(OPERATOR)
        )
        journal.tell("acks", what="start", run=str(run.pk), text=text)
        return run

    def say(self, conversation: UUID, *turns: Calls) -> Run:
        text = self.plan(*turns)
        run = services.send_message(conversation, text, by=self.person(OPERATOR))
        journal.tell("acks", what="say", run=str(run.pk), text=text)
        return run

    def record(self, conversation: UUID, items: list[dict[str, Any]]) -> None:
        run = record_items(conversation, items)
        journal.tell("acks", what="start", run=str(run.pk), text=items[-1]["content"])

    def stop(self, run: Run) -> None:
        services.stop_run(run.pk, by=self.person(OPERATOR))
        journal.tell("acks", what="stop", run=str(run.pk))

    def requeue(self, run: Run) -> None:
        services.requeue_run(run.pk, by=self.person(OPERATOR))
        journal.tell("acks", what="requeue", run=str(run.pk))

    def resume(self, run: Run) -> None:
        services.resume_run(run.pk, by=self.person(OPERATOR))
        journal.tell("acks", what="resume", run=str(run.pk))

    def deliver(self, delivery: str, text: str) -> Run:
        """Deliver a webhook, as its sender does until it is told of a run."""
        body = json.dumps({"text": text}).encode()
        run = receive.accept(source(), delivery, body)
        journal.tell(
            "acks", what="deliver", run=str(run.pk), text=text, delivery=delivery
        )
        return run

    def save(self, key: str, text: str) -> None:
        saved_states.save(key, "Chaos", lambda place: text)
        journal.tell("acks", what="save", key=key, text=text)

    def clear(self, key: str) -> None:
        saved_states.clear(key)
        journal.tell("acks", what="save", key=key, text=None)

    def rotate(self) -> None:
        secret = sources.rotate(source())
        journal.tell("acks", what="rotate", secret=secret)

    def review(self) -> None:
        """Decide once what waits, as the seed will have it."""
        for request in self.pending():
            if not self.is_left(request) and not self.lets_expire(request):
                self.decide(request)

    def always(self, request: ApprovalRequest) -> Rule:
        """Approve the request, and all such calls of its run; return the Rule."""
        name, verdict = REVIEWERS[0], Verdict.APPROVE
        desk.decide(
            request.pk,
            verdict=verdict,
            by=self.person(name),
            digest_seen=request.digest,
            always=FOR_THIS_RUN,
        )
        told = {"request": str(request.pk), "verdict": str(verdict), "by": name}
        journal.tell("acks", what="decide", run=str(request.run_id), **told)
        return Rule.objects.get(made_with__request=request)

    def fork(self, run: Run, *turns: Calls) -> Run:
        """Begin a run from the end of another, in a conversation of its own."""
        text = self.plan(*turns)
        fork = services.fork_run(
            run.pk, run.last_seq, by=self.person(OPERATOR), text=text
        )
        journal.tell("acks", what="start", run=str(fork.pk), text=text)
        return fork

    def undo(self, request: ApprovalRequest) -> None:
        """Take the verdict on a request back. Raises DecisionError when too late."""
        name = REVIEWERS[-1]
        after = desk.undo(request.pk, by=self.person(name))
        told = {"request": str(request.pk), "after": str(after.pk), "by": name}
        journal.tell("acks", what="undo", run=str(request.run_id), **told)

    def expire(self) -> None:
        """Let requests expire, as a process does that has been up all the time."""
        desk.expire_due(timezone.now(), up_since=self.began)

    # Looking

    def person(self, name: str) -> User:
        return self._people[name]

    @property
    def began(self) -> datetime:
        return datetime.fromtimestamp(self.since, tz=UTC)

    def runs(self) -> QuerySet[Run]:
        return Run.objects.filter(created_at__gte=self.began)

    def pending(self) -> list[ApprovalRequest]:
        requests = ApprovalRequest.objects.filter(
            run__in=self.runs(), status=RequestStatus.PENDING
        )
        return list(requests.select_related("run").order_by("id"))

    def is_left(self, request: ApprovalRequest) -> bool:
        """Say whether nobody ever decides it: the run waits for good."""
        if request.expires_at is not None:
            return False
        return self._leaves and self._chance(request, "left").random() < 0.05

    def lets_expire(self, request: ApprovalRequest) -> bool:
        """Say whether nobody decides it before its time is over, and a while after."""
        if request.expires_at is None or timezone.now() > request.expires_at + LATE:
            return False
        return self._leaves and self._chance(request, "expires").random() < 0.5

    def held(self) -> list[ApprovalRequest]:
        """Return what is decided, and can be undone still."""
        return list(
            ApprovalRequest.objects.filter(
                run__in=self.runs(),
                status__in=DECIDED_STATUSES,
                decision__release_at__gt=timezone.now(),
            ).order_by("id")
        )

    def until_asked(self, run: Run, kind: ApprovalRequest.Kind) -> ApprovalRequest:
        """Return the question of that kind about the run, once it is open."""
        asked = run.requests.filter(kind=kind, status=RequestStatus.PENDING)
        found: ApprovalRequest = self.until(asked.first, f"{kind} of run {run.pk}")
        return found

    def until(self, claim: Callable[[], Any], what: str) -> Any:
        """Return what `claim` gives once it gives something. Raises Restless."""
        end = time.monotonic() + REST_S
        while not (found := claim()):
            if time.monotonic() > end:
                raise Restless(f"{what} did not come within {REST_S:g} s")
            time.sleep(LOOK_S)
        return found

    def until_begun(self, ref: str) -> None:
        """Return once the body of the `hold` called `ref` has begun."""
        self.until(
            lambda: any(line["ref"] == ref for line in journal.told("began")),
            f"the tool of {ref}",
        )

    def until_status(self, run: Run, *statuses: RunStatus) -> None:
        self.until(
            lambda: Run.objects.filter(pk=run.pk, status__in=statuses).exists(),
            f"run {run.pk} {'/'.join(statuses)}",
        )

    def to_rest(self) -> None:
        """Review until every run has ended or waits for what nobody decides."""

        def rests() -> bool:
            self.review()
            return not self.restless()

        self.until(rests, "rest")

    def restless(self) -> list[str]:
        """Return what is still to be done, a line for each run."""
        lines = []
        for run in self.runs().filter(status__in=OPEN_STATUSES):
            open_requests = run.requests.filter(status=RequestStatus.PENDING)
            left = [self.is_left(request) for request in open_requests]
            waits = run.status == RunStatus.WAITING and left and all(left)
            if not waits or run.stop_requested_at:
                lines.append(f"run {run.pk} is {run.status}, {len(left)} requests open")
        return lines

    # Deciding

    def edit(self, request: ApprovalRequest) -> None:
        """Approve a payment of one more than the model wrote. Raises DecisionError."""
        name = REVIEWERS[0]
        asked = json.loads(request.call_arguments)
        after = desk.edit(
            request.pk,
            arguments=json.dumps(asked | {"eur": asked["eur"] + 1}),
            reason=WHY,
            by=self.person(name),
            digest_seen=request.digest,
        )
        told = {"request": str(request.pk), "after": str(after.pk), "by": name}
        journal.tell("acks", what="edit", run=str(request.run_id), **told)

    def refuse(self, request: ApprovalRequest) -> None:
        """Reject a call and stop its run. Raises DecisionError."""
        name = REVIEWERS[0]
        desk.decide(
            request.pk,
            verdict=Verdict.REJECT,
            by=self.person(name),
            digest_seen=request.digest,
            stop=True,
        )
        told = {"request": str(request.pk), "verdict": "reject", "by": name}
        journal.tell("acks", what="decide", run=str(request.run_id), **told)
        journal.tell("acks", what="stop", run=str(request.run_id))

    def _edits(self, request: ApprovalRequest) -> bool:
        changeable = is_editable(request) and request.tool == "pay"
        seldom = self._chance(request, "edit").random() < 0.2
        return changeable and not request.is_edited and seldom

    def decide(self, request: ApprovalRequest) -> None:
        if self._edits(request):
            with suppress(DecisionError):  # decided meanwhile: nothing is told
                self.edit(request)
            return
        verdict = self._verdict(request)
        for name in REVIEWERS:
            said: dict[str, Any] = {}
            if verdict == Verdict.ANSWER:
                said["output"] = OUTPUT
            elif why_not_always(request) is None and self._says_always(request):
                said["always"] = FOR_THIS_RUN
            try:
                after = desk.decide(
                    request.pk,
                    verdict=verdict,
                    by=self.person(name),
                    digest_seen=request.digest,
                    **said,
                )
            except DecisionError:
                continue  # decided meanwhile, or this person has voted: nothing is told
            told = {"request": str(request.pk), "verdict": str(verdict), "by": name}
            journal.tell("acks", what="decide", run=str(request.run_id), **told)
            if not after.is_pending:
                return

    def _says_always(self, request: ApprovalRequest) -> bool:
        return self._chance(request, "always").random() < 0.1

    def _verdict(self, request: ApprovalRequest) -> Verdict:
        chance = self._chance(request, "verdict").random()
        if request.kind == ApprovalRequest.Kind.RECONCILE:
            thirds = (Verdict.APPROVE, Verdict.ANSWER, Verdict.REJECT)
            return thirds[int(chance * 3)]
        if 0.7 < chance < 0.75 and request.kind != ApprovalRequest.Kind.UPGRADE:
            return Verdict.ANSWER  # a question about code has no output to give
        return Verdict.APPROVE if chance < 0.75 else Verdict.REJECT

    def _chance(self, request: ApprovalRequest, of: str) -> random.Random:
        """Return the same chances for the same question, whenever it is asked."""
        call = f"{request.call_data['arguments']}:{request.call_key}"
        return random.Random(f"{self._seed}:{call}:{request.revision}:{of}")


def source() -> WebhookSource:
    return WebhookSource.objects.get(slug=plans.KEY)


def open_conversations(runs: QuerySet[Run]) -> list[UUID]:
    """Return the conversations of `runs`, oldest first."""
    found = Conversation.objects.filter(runs__in=runs).distinct().order_by("id")
    return list(found.values_list("pk", flat=True))


def _named(turns: Sequence[Calls], name: str) -> list[list[tuple[str, Any]]]:
    return [
        [(tool, _fill(arguments, name)) for tool, arguments in calls] for calls in turns
    ]


def _fill(arguments: dict[str, Any], name: str) -> dict[str, Any]:
    return {
        key: value.replace("{}", name) if isinstance(value, str) else value
        for key, value in arguments.items()
    }
