"""Kills a worker that holds live runs, and says what became of them."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from report import print_bar
from stage import Popen, going

from approvals.models import ApprovalRequest, RequestStatus, Verdict
from approvals.services import decide
from bench_app import effects
from bench_app.agents import WORKING_TURNS
from runs import codec
from runs.models import EventKind, Run, RunEvent, RunStatus
from runs.services import start_run
from runs.transactions import together

STEPS = (EventKind.RESPONSE, EventKind.ITEM, EventKind.EXECUTION, EventKind.REQUEST)
"""What shows that a run goes on: an answer, an output, a claim, or a question."""

AT_MOST_S = 8
PATIENCE_S = 60
LOOK_S = 0.25
AWAKE_S = 1.0


class Command(BaseCommand):
    help = "Kills a worker that holds live runs, and says what became of them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--runs", type=int, default=200)
        parser.add_argument("--others", type=int, default=1, help="Workers left.")
        parser.add_argument(
            "--apart",
            action="store_true",
            help="A data folder for each worker, as on machines of their own.",
        )

    def handle(self, *, runs: int, others: int, apart: bool, **options: Any) -> None:
        reviewer = User.objects.create_user("ada")
        reviewer.groups.add(Group.objects.get(name="reviewers"))
        with ExitStack() as workers:
            start = _starter(workers, concurrency=runs, apart=apart)
            # Stopped until the runs are under way: else they would take some at once.
            standing_by = [start() for _ in range(others)]
            _signal(standing_by, signal.SIGSTOP)
            victim = start()
            started = _start_runs(runs)
            _wait("all runs are under way", lambda: _under_way(started) == runs)
            _signal(standing_by, signal.SIGCONT)
            time.sleep(AWAKE_S)
            killed_at = _kill(victim)
            _wait("all runs go on", lambda: len(_went_on(started, killed_at)) == runs)
            _report_times(killed_at, _went_on(started, killed_at))
            asked: list[UUID] = []
            _wait("all runs have ended", lambda: _all_ended(started, reviewer, asked))
        _report_effects(started, len(asked))


def _starter(
    workers: ExitStack, *, concurrency: int, apart: bool
) -> Callable[[], Popen[str]]:
    """Return what starts one more worker, to be ended with the others."""
    names: Iterator[int] = iter(range(1, 100))

    def start() -> Popen[str]:
        environment = dict(os.environ)
        if apart:
            folder: Path = settings.DATA_DIR / f"worker-{next(names)}"
            environment["PLACET_DATA_DIR"] = str(folder)
        command = ("worker", "--concurrency", str(concurrency))
        process, _ = workers.enter_context(going(*command, environment=environment))
        return process

    return start


def _start_runs(count: int) -> list[UUID]:
    with together():
        return [
            start_run("working", f"Task {number}.", trigger=Run.Trigger.COMMAND).pk
            for number in range(count)
        ]


def _signal(processes: list[Popen[str]], number: signal.Signals) -> None:
    for process in processes:
        process.send_signal(number)


def _kill(victim: Popen[str]) -> datetime:
    now = timezone.now()
    victim.kill()
    victim.wait()
    return now


def _under_way(runs: list[UUID]) -> int:
    held = Run.objects.filter(pk__in=runs, status=RunStatus.RUNNING, lease_epoch=1)
    return held.filter(turn__gte=2).count()


def _all_ended(runs: list[UUID], reviewer: User, asked: list[UUID]) -> bool:
    """Settle what is in doubt by now, and say whether nothing is left to do."""
    asked += _settle_doubts(reviewer)
    ended = Run.objects.filter(pk__in=runs, status=RunStatus.COMPLETED)
    return ended.count() == len(runs)


def _went_on(
    runs: list[UUID], killed_at: datetime
) -> dict[UUID, tuple[datetime, datetime]]:
    """Return when each run was taken over, and when it made its next step."""
    taken: dict[UUID, datetime] = {}
    stepped: dict[UUID, tuple[datetime, datetime]] = {}
    after = RunEvent.objects.filter(run__in=runs, created_at__gt=killed_at)
    rows = after.filter(kind__in=(*STEPS, EventKind.STATUS)).order_by("run", "seq")
    for run, kind, payload, at in rows.values_list(
        "run", "kind", "payload", "created_at"
    ):
        if kind == EventKind.STATUS:
            if codec.loads(payload)["status"] == RunStatus.RUNNING:
                taken.setdefault(run, at)
        elif run in taken:
            stepped.setdefault(run, (taken[run], at))
    return stepped


def _report_times(
    killed_at: datetime, went_on: dict[UUID, tuple[datetime, datetime]]
) -> None:
    taken = [(taken - killed_at).total_seconds() for taken, _ in went_on.values()]
    stepped = [(step - killed_at).total_seconds() for _, step in went_on.values()]
    print(
        f"  taken over {min(taken):.2f} to {max(taken):.2f} s after the kill; "
        f"next step p50 {median(stepped):.2f}, last {max(stepped):.2f} s"
    )
    print_bar("from the kill to the last run's next step, s", max(stepped), AT_MOST_S)


def _settle_doubts(reviewer: User) -> list[UUID]:
    """Answer each question about a call by what really happened; return them."""
    happened = {(effect.run, effect.step) for effect in effects.recorded()}
    questions = list(ApprovalRequest.objects.filter(status=RequestStatus.PENDING))
    for request in questions:
        step = codec.loads(request.arguments)["step"]
        if (str(request.run_id), step) in happened:
            verdict, output = Verdict.ANSWER, f"Done: {step}."
        else:
            verdict, output = Verdict.APPROVE, ""
        decide(
            request.pk,
            verdict=verdict,
            by=reviewer,
            digest_seen=request.digest,
            output=output,
        )
    return [request.pk for request in questions]


def _report_effects(runs: list[UUID], asked: int) -> None:
    """Compare what was to be done with what has happened, by the tools' own file."""
    recorded = effects.recorded()
    keys = Counter((effect.run, effect.step) for effect in recorded)
    due = {(str(run), step) for run in runs for step in range(WORKING_TURNS)}
    repeated = [effect for effect, times in recorded.items() if times > 1]
    paid_twice = [effect for effect in repeated if effect.tool == "pay"]
    other_keys = [task for task, count in keys.items() if count > 1]
    print(
        f"  {len(due)} effects due; {asked} calls in doubt put to a person, "
        f"{len(repeated) - len(paid_twice)} idempotent ones made again with their key"
    )
    print_bar("effects lost", len(due - keys.keys()), 0)
    print_bar("effects doubled", len(paid_twice) + len(other_keys), 0)


def _wait(until: str, holds: Callable[[], bool]) -> None:
    """Return once it holds; raises CommandError when it takes too long."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            found = Counter(Run.objects.values_list("status", "lease_epoch"))
            raise CommandError(
                f"Gave up after {PATIENCE_S} s; waited until {until}. "
                f"Runs by status and epoch: {dict(found)}."
            )
        time.sleep(LOOK_S)
