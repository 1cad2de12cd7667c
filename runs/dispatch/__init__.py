"""Saying "look at run X", and nothing else.

A wake-up is a convenience: one that is lost, late or doubled does no harm, because
what is to be done stands in the run's own row and the sweeper finds it.
"""

from __future__ import annotations

import asyncio
import functools
from datetime import datetime
from importlib import import_module
from typing import Protocol, cast
from uuid import UUID

from django.conf import settings


class Dispatch(Protocol):
    """How runners are told: `embedded` in one process, `procrastinate` across many."""

    def wake(self, run_id: UUID, at: datetime | None = None) -> None:
        """Have a runner look at the run once this transaction commits.

        With `at`, not before then.
        """
        ...

    async def hear(self, name: str, stop: asyncio.Event) -> None:
        """Pass on to `embedded`'s listeners what other processes say, until `stop`.

        `name` is what the runner of this process holds its leases under.
        """
        ...


def wake(run_id: UUID, at: datetime | None = None) -> None:
    """Have a runner look at the run once this transaction commits; see `Dispatch`."""
    _chosen().wake(run_id, at)


async def hear(name: str, stop: asyncio.Event) -> None:
    """Hear what other processes say until `stop` is set; see `Dispatch`."""
    await _chosen().hear(name, stop)


@functools.cache
def _chosen() -> Dispatch:
    return cast(Dispatch, import_module(settings.PLACET_DISPATCH))
