"""Builders of rows, and bounded waits for what runs beside a test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, User

from approvals.models import ApprovalRequest, RequestStatus
from approvals.services import decide
from approvals.terms import FOR_THIS_RUN
from runs import services
from runs.models import Run, RunStatus

T = TypeVar("T")
DEADLINE_S = 60.0


def make_user(name: str, *groups: str, **fields: Any) -> User:
    user = User.objects.create_user(name, password=name, **fields)
    user.groups.set([Group.objects.get_or_create(name=group)[0] for group in groups])
    return user


def ada() -> User:
    """A reviewer."""
    return make_user("ada", "reviewers")


def bob() -> User:
    """An operator, who starts runs."""
    return make_user("bob", "operators")


def eve() -> User:
    """Signed in, with no rights at all."""
    return make_user("eve")


def start(
    text: str = "Hello", *, requester: User | None = None, agent: str = "shop"
) -> Run:
    return services.start_run(
        agent, text, trigger=Run.Trigger.PAGE, requester=requester
    )


def pending(run: Run) -> list[ApprovalRequest]:
    return list(run.requests.filter(status=RequestStatus.PENDING).order_by("id"))


def say(verdict: str, request: ApprovalRequest, by: User, **said: Any) -> None:
    """Have `by` decide; `always=True` is the Rule for this run."""
    if said.get("always") is True:
        said["always"] = FOR_THIS_RUN
    decide(request.pk, verdict=verdict, by=by, digest_seen=request.digest, **said)


async def until(claim: Callable[[], T | None], what: str = "it") -> T:
    """Return what `claim` gives once it gives something; asked off the loop."""
    ask = sync_to_async(claim)
    end = time.monotonic() + DEADLINE_S
    while not (found := await ask()):
        assert time.monotonic() < end, f"{what} did not come within {DEADLINE_S:g} s"
        await asyncio.sleep(0.01)
    return found


async def until_status(run: Run | UUID, *statuses: RunStatus) -> Run:
    """Return the run once it has one of the statuses."""
    pk = run.pk if isinstance(run, Run) else run
    found = await until(
        lambda: Run.objects.filter(pk=pk, status__in=statuses).first(),
        f"Run {pk} {'/'.join(statuses)}",
    )
    return found
