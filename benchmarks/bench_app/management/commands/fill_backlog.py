"""Makes very many runs that wait for a worker, or for people."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction

from bench_app.bulk import hurry, id_of, multiply
from runs.models import Run, RunStatus
from runs.services import start_run, stop_run

APART = 10_000_000
"""Between the numbers in the ids of runs of two statuses, and of what else is there."""


class Command(BaseCommand):
    help = "Makes runs of one status, all like one that was started as usual."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("status", choices=[RunStatus.QUEUED, RunStatus.WAITING])
        parser.add_argument("runs", type=int)

    def handle(self, *, status: str, runs: int, **options: Any) -> None:
        hurry()
        with transaction.atomic():
            first = start_run("answering", "Hello", trigger=Run.Trigger.COMMAND)
            number = f"i + {(1 + (status == RunStatus.QUEUED)) * APART}"
            own = {"conversation_id": id_of(number)}
            multiply(first.conversation, runs, id=id_of(number), current_run_id="NULL")
            first.status = RunStatus(status)
            multiply(first, runs, id=id_of(number), **own)
            for event in first.events.all():
                multiply(event, runs, run_id=id_of(number))
            stop_run(first.pk, by=None)
