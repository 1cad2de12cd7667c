"""How many runs may be worked on at once, and how many may wait for that.

Only a queued run needs a place. One whose worker is gone has its place still: whoever
takes it over adds nothing, so a limit that was lowered strands no run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import Count, QuerySet

from .. import registry
from ..errors import QueueFull
from ..index_reads import counts, distinct_values, has_status
from ..models import Run, RunStatus

# A number of our own among the database's advisory locks: "placet" in ASCII.
PLACES_LOCK = int.from_bytes(b"placet")


@dataclass(frozen=True, slots=True)
class Places:
    """How many more runs may be worked on now."""

    in_all: int | None
    """None: any number."""
    of_agent: Mapping[str, int]
    """Of each agent with a limit, by its key."""

    def of(self, agent_key: str, wanted: int) -> int:
        """Return how many of `wanted` more runs of the agent have a place."""
        return min(wanted, self.of_agent.get(agent_key, wanted))


def free_places() -> Places | None:
    """Return the places that are free just now, or None where nothing is limited."""
    in_all: int = settings.PLACET_MAX_RUNNING
    of_agent = registry.limits()
    if not (in_all or of_agent):
        return None
    running = _running()
    return Places(
        in_all=max(0, in_all - sum(running.values())) if in_all else None,
        of_agent={
            key: max(0, limit - running.get(key, 0)) for key, limit in of_agent.items()
        },
    )


def is_limited(agent_key: str) -> bool:
    """Say whether a run of the agent needs a place to begin."""
    return bool(settings.PLACET_MAX_RUNNING or agent_key in registry.limits())


def take_place(agent_key: str) -> bool:
    """Say whether one more run of the agent may begin, inside the caller's transaction.

    Where a limit applies everybody else is told no until that transaction ends: of two
    who count at once, both would find the last place free. Told no, and not made to
    wait: a transaction takes many runs, and its worker may stand still. The next look
    asks again. SQLite's writers wait for each other anyway.
    """
    if not is_limited(agent_key):
        return True
    if not _alone():
        return False
    places = free_places()
    return places is None or bool(places.in_all != 0 and places.of(agent_key, 1))


def _alone() -> bool:
    """Say whether nobody else takes a place, from here to the transaction's end."""
    if connection.vendor != "postgresql":
        return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [PLACES_LOCK])
        return bool(cursor.fetchone()[0])


def oldest_queued(runs: QuerySet[Run], limit: int) -> list[UUID]:
    """Return those of `runs` that have been queued longest and have a place.

    Reads no more than `limit` rows of each agent, however long the queue is.
    """
    queued = runs.filter(status=RunStatus.QUEUED)
    places = free_places()
    if places is None:
        oldest = queued.order_by("updated_at").values_list("pk", flat=True)
        return list(oldest[:limit])
    if places.in_all is not None:
        limit = min(limit, places.in_all)
    found: list[tuple[datetime, UUID]] = []
    of_agents = Run.objects.filter(has_status(RunStatus.QUEUED))
    for key in distinct_values(of_agents, "agent_key"):
        if room := places.of(key, limit):
            of_agent = queued.filter(agent_key=key).order_by("updated_at")
            found += of_agent.values_list("updated_at", "pk")[:room]
    return [pk for _, pk in sorted(found)[:limit]]


def check_queue() -> None:
    """Raise QueueFull when as many runs are queued as may be."""
    most: int = settings.PLACET_MAX_QUEUED
    if not most:
        return
    queued = Run.objects.filter(has_status(RunStatus.QUEUED)).values("updated_at")
    if counts({"queued": queued}, up_to=most)["queued"] >= most:
        raise QueueFull(
            f"The queue is full: {most} runs wait for a worker. Nothing was started; "
            "try again in a few minutes. If it stays so, more workers are needed."
        )


def _running() -> dict[str, int]:
    """Return how many runs of each agent are worked on, by its key."""
    working = Run.objects.filter(status=RunStatus.RUNNING).order_by()
    counted = working.values_list("agent_key").annotate(running=Count("*"))
    return dict(counted)
