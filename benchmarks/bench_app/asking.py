"""Runs that wait for a decision, and the reviewer who gives it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.contrib.auth.models import Group, User

from approvals.models import ApprovalRequest
from approvals.services import decide
from runs.models import Run, RunStatus
from runs.services import start_run
from runs.transactions import together

PATIENCE_S = 60
LOOK_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressed:
    """When a decision was made, by the clock of all processes of this machine."""

    run: UUID
    called_at: float
    accepted_at: float


def make_reviewer() -> User:
    """Return the reviewer of all benchmarks of this database."""
    reviewer, _ = User.objects.get_or_create(username="ada")
    reviewer.groups.add(Group.objects.get(name="reviewers"))
    return reviewer


def ask(count: int) -> list[UUID]:
    """Start runs that ask for one decision each; return their ids."""
    with together():
        return [
            start_run("asking", f"Case {number}.", trigger=Run.Trigger.COMMAND).pk
            for number in range(count)
        ]


def requests_of(runs: Sequence[UUID]) -> list[ApprovalRequest]:
    """Return the request of each run, once all of them wait."""
    wait_for("all runs wait", lambda: _waiting(runs) == len(runs))
    return list(ApprovalRequest.objects.filter(run__in=runs).order_by("pk"))


def press(request: ApprovalRequest, reviewer: User) -> Pressed:
    """Approve the request."""
    called_at = time.perf_counter()
    decide(request.pk, verdict="approve", by=reviewer, digest_seen=request.digest)
    accepted_at = time.perf_counter()
    return Pressed(run=request.run_id, called_at=called_at, accepted_at=accepted_at)


def has_ended(run: UUID) -> bool:
    return Run.objects.filter(pk=run, status=RunStatus.COMPLETED).exists()


def wait_for(what: str, holds: Callable[[], bool], look_s: float = LOOK_S) -> None:
    """Return once it holds. Raises TimeoutError."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"Gave up after {PATIENCE_S} s; waited until {what}.")
        time.sleep(look_s)


def _waiting(runs: Sequence[UUID]) -> int:
    return Run.objects.filter(pk__in=runs, status=RunStatus.WAITING).count()
