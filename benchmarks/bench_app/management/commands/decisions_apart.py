"""Decides about runs of a worker, and says how soon their tools start there.

Before its tool starts, a run is leased and its call claimed, in one commit. The same
commit of the raw driver is measured too: with it a bare job is as much as can be had.
"""

from __future__ import annotations

import time
from functools import partial
from statistics import median
from typing import Any

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
        for name, place in (("accepted → body", 0), ("bare job", 1)):
            times = [one for slice_ in slices for one in slice_[place]]
            print(f"  {name:16} p50 {median(times):.2f} ms, p99 {p99(times):.2f} ms")
        commit = median(_raw_commits_ms())
        print(f"  a raw commit     p50 {commit:.2f} ms")
        job = median(one for slice_ in slices for one in slice_[1])
        print(
            f"  a bare job with a raw commit beside a bare job: {1 + commit / job:.3f}"
        )
        ratio = median(median(run) / median(job) for run, job in slices)
        print_bar("accepted → body beside a bare job", ratio, AT_MOST)


def _slice(reviewer: User) -> tuple[list[float], list[float]]:
    """Return the milliseconds from a commit to the body of runs, and of bare jobs."""
    runs, jobs = [], []
    for request in requests_of(ask(ROUNDS)):
        runs.append(_run_ms(request, reviewer))
        jobs.append(_job_ms(f"bare-{request.run_id}"))
    return runs, jobs


def _run_ms(request: ApprovalRequest, reviewer: User) -> float:
    pressed = press(request, reviewer)
    body_at = marks.marked_at(str(request.run_id))
    wait_for("the run has ended", partial(has_ended, request.run_id), LOOK_S)
    return (body_at - pressed.accepted_at) * 1e3


def _raw_commits_ms() -> list[float]:
    """Return the milliseconds of commits that change a run and add a row for it."""
    raw, times = RawDriver(), []
    run = Run.objects.earliest("pk")
    for _ in range(ROUNDS * SLICES):
        begin = time.perf_counter()
        raw.checkpoint(run.pk, run.head, run.usage, "{}")
        times.append((time.perf_counter() - begin) * 1e3)
    raw.close()
    return times


def _job_ms(name: str) -> float:
    with transaction.atomic():
        bare.defer(name=name)
    deferred_at = time.perf_counter()
    return (marks.marked_at(name) - deferred_at) * 1e3
