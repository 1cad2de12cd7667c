"""A clear word before a process works on a database that is not ready for it."""

from __future__ import annotations

import time

from django.core.management.base import CommandError
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

TRIES = 5
PATIENCE_S = 10.0
"""A connection that takes so long to fail is not made anew."""


def require_migrations() -> None:
    """Raise CommandError when the database lacks a migration of this code.

    A connection that is lost just then is made anew, some times; the last error of a
    database that is away is raised.
    """
    if missing := _missing_after_all():
        raise CommandError(
            f"The database lacks {missing} migrations of this version; "
            "run: python manage.py migrate"
        )


def _missing_after_all() -> int:
    end = time.monotonic() + PATIENCE_S
    for _ in range(TRIES - 1):
        try:
            return _missing()
        except OperationalError:
            if time.monotonic() > end:
                raise
    return _missing()


def _missing() -> int:
    try:
        executor = MigrationExecutor(connection)
        return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    finally:
        connection.close()
