"""How the running of runs stands: workers, leases, queues.

Asked every few seconds by whoever watches, so each answer is bounded: counting stops
at COUNT_CAP, lists at ROWS_SHOWN, and the number of queries is fixed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from channels.layers import get_channel_layer
from django.conf import settings
from django.db import connection
from django.db.models import Count, F

from . import registry
from .index_reads import counts, distinct_values, has_status, is_open
from .live.census import open_sockets
from .models import Run, RunStatus, Worker

COUNT_CAP = 10_000
ROWS_SHOWN = 20
FAILED_WITHIN = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    worker: Worker
    running: int
    state: str
    """`working`, `silent` (it has missed its beats) or `left`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRow:
    run: Run
    holder: Worker | None
    """None when its row is gone, or it never had one."""
    is_expired: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRow:
    key: str
    running: int
    limit: int | None
    queued: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """All of it, as of one moment."""

    counts: dict[str, int]
    """Of queued, running, waiting, stopping and lately failed runs."""
    queued_since: datetime | None
    """Of the run that has been queued longest."""
    workers: list[WorkerRow]
    leases: list[LeaseRow]
    agents: list[AgentRow]
    max_running: int
    """Of all agents and workers together; 0: no limit."""


def work(now: datetime) -> Work:
    """Return how the work stands, in a fixed number of queries."""
    of_owner, of_agent = Counter[str](), Counter[str]()
    working = Run.objects.filter(has_status(RunStatus.RUNNING)).order_by()
    held = working.values_list("lease_owner", "agent_key")
    for owner, agent_key, number in held.annotate(number=Count("*")):
        of_owner[owner] += number
        of_agent[agent_key] += number
    known = list(
        Worker.objects.order_by(F("left_at").desc(nulls_first=True), "-seen_at")[
            :ROWS_SHOWN
        ]
    )
    return Work(
        counts=run_counts(now),
        queued_since=_queued_since(),
        workers=[
            WorkerRow(
                worker=worker, running=of_owner[worker.name], state=_state(worker, now)
            )
            for worker in known
        ],
        leases=_leases({worker.name: worker for worker in known}, now),
        agents=_agents(of_agent),
        max_running=settings.PLACET_MAX_RUNNING,
    )


def run_counts(now: datetime) -> dict[str, int]:
    """Return how many runs stand where, each counted up to COUNT_CAP."""
    runs = Run.objects
    running = runs.filter(has_status(RunStatus.RUNNING))
    failed = runs.filter(
        has_status(RunStatus.FAILED), finished_at__gte=now - FAILED_WITHIN
    )
    waiting = runs.filter(has_status(RunStatus.WAITING), is_open())
    asked = {
        "queued": runs.filter(has_status(RunStatus.QUEUED)).values("updated_at"),
        "running": running.values("agent_key"),
        "waiting": waiting.values("lease_expires_at"),
        "stopping": running.filter(stop_requested_at__isnull=False).values("agent_key"),
        "failed": failed.values("finished_at"),
    }
    return counts(asked, up_to=COUNT_CAP)


def process() -> list[tuple[str, str]]:
    """Return what this very process works with, as name and value."""
    layer = type(get_channel_layer()).__module__
    return [
        ("Open sockets", str(open_sockets())),
        ("Database", connection.display_name),
        ("Wake-ups", settings.PLACET_DISPATCH.rpartition(".")[2].title()),
        (
            "News between processes",
            "Redis" if "redis" in layer else "This process only",
        ),
    ]


def _queued_since() -> datetime | None:
    queued = Run.objects.filter(has_status(RunStatus.QUEUED)).order_by("updated_at")
    return queued.values_list("updated_at", flat=True).first()


def _state(worker: Worker, now: datetime) -> str:
    if worker.left_at:
        return "left"
    # Three beats missed; by then its leases have run out as well.
    return "working" if worker.seen_at > now - settings.PLACET_LEASE else "silent"


def _leases(known: dict[str, Worker], now: datetime) -> list[LeaseRow]:
    """Return the leases that run out first."""
    held = Run.objects.filter(status=RunStatus.RUNNING).select_related("conversation")
    return [
        LeaseRow(
            run=run,
            holder=known.get(run.lease_owner),
            is_expired=run.lease_expires_at is None or run.lease_expires_at < now,
        )
        for run in held.order_by("lease_expires_at")[:ROWS_SHOWN]
    ]


def _agents(running: Counter[str]) -> list[AgentRow]:
    """Return every registered agent, and what else has runs, the busiest first."""
    queued = _queued_of_agents()
    limits = registry.limits()
    keys = {entry.key for entry in registry.all_agents()} | {*running} | {*queued}
    rows = [
        AgentRow(
            key=key,
            running=running[key],
            limit=limits.get(key),
            queued=queued.get(key, 0),
        )
        for key in sorted(keys)
    ]
    rows.sort(key=lambda row: (row.running, row.queued), reverse=True)
    return rows[:ROWS_SHOWN]


def _queued_of_agents() -> dict[str, int]:
    queued = Run.objects.filter(has_status(RunStatus.QUEUED)).values("agent_key")
    keys = distinct_values(queued, "agent_key")
    asked = {key: queued.filter(agent_key=key) for key in keys}
    return counts(asked, up_to=COUNT_CAP) if asked else {}
