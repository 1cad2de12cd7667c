"""Decides about runs of a worker, and says how soon their tools start there.

Before its tool starts, a run is read, and leased with its call in one commit. What the
raw driver takes for as much is measured in turn: together with a bare job it is the
least that a run could take through one.
"""

from __future__ import annotations

import time
from functools import partial
from statistics import median
from typing import Any, TypeAlias
from uuid import UUID

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand
from django.db import transaction
from report import p99, print_bar
from stage import going

from approvals.models import ApprovalRequest
from bench_app import marks
from bench_app.asking import (
    ask,
    has_ended,
    make_reviewer,
    press,
    requests_of,
    wait_for,
)
from bench_app.jobs import bare
from bench_app.raw import RawDriver
from runs.models import Run

SLICES, ROUNDS = 5, 25
LOOK_S = 0.01
AT_MOST = 1.3


class Command(BaseCommand):
    help = "Decides about runs of a worker, and says how soon their tools start there."

    def handle(self, **options: Any) -> None:
        reviewer = make_reviewer()
        with going("worker"), going("bare_worker"):
            slices = [_slice(reviewer) for _ in range(SLICES + 1)][1:]  # warm by then
        for name, place in (("accepted → body", 0), ("bare job", 1), ("raw driver", 2)):
            times = [one for slice_ in slices for one in slice_[place]]
            print(f"  {name:16} p50 {median(times):.2f} ms, p99 {p99(times):.2f} ms")
        least = median(
            (median(job) + median(raw)) / median(job) for _, job, raw in slices
        )
        print(f"  a bare job and the raw driver, beside a bare job: {least:.2f}")
        ratio = median(median(run) / median(job) for run, job, _ in slices)
        print_bar("accepted → body beside a bare job", ratio, AT_MOST)


Slice: TypeAlias = tuple[list[float], list[float], list[float]]


def _slice(reviewer: User) -> Slice:
    """Return the milliseconds from a commit to the body of runs, and of bare jobs.

    And those of what the raw driver does for a run.
    """
    runs, jobs, bares, raw = [], [], [], RawDriver()
    for request in requests_of(ask(ROUNDS)):
        runs.append(_run_ms(request, reviewer))
        jobs.append(_job_ms(f"bare-{request.run_id}"))
        bares.append(_raw_ms(raw, request.run_id))
    raw.close()
    return runs, jobs, bares


def _run_ms(request: ApprovalRequest, reviewer: User) -> float:
    pressed = press(request, reviewer)
    body_at = marks.marked_at(str(request.run_id))
    wait_for("the run has ended", partial(has_ended, request.run_id), LOOK_S)
    return (body_at - pressed.accepted_at) * 1e3


def _raw_ms(raw: RawDriver, run_id: UUID) -> float:
    """Read a run that has ended, and commit one more row of it, which says nothing."""
    run = Run.objects.get(pk=run_id)
    begin = time.perf_counter()
    raw.read(run.pk)
    raw.checkpoint(run.pk, run.head, run.usage, "{}")
    return (time.perf_counter() - begin) * 1e3


def _job_ms(name: str) -> float:
    with transaction.atomic():
        bare.defer(name=name)
    deferred_at = time.perf_counter()
    return (marks.marked_at(name) - deferred_at) * 1e3
