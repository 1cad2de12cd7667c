"""Saying "look at run X", and nothing else.

A wake-up is a convenience: one that is lost, late or doubled does no harm, because
what is to be done stands in the run's own row and the sweeper finds it.
"""

from __future__ import annotations

from uuid import UUID

from django.db import transaction

from . import embedded


def wake(run_id: UUID) -> None:
    """Have a runner look at the run as soon as this transaction commits."""
    transaction.on_commit(lambda: embedded.wake(run_id))
