"""A clear word before a process works on a database that is not ready for it."""

from __future__ import annotations

from django.core.management.base import CommandError
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor


def require_migrations() -> None:
    """Raise CommandError when the database lacks a migration of this code.

    A connection that is lost just then is made anew, once.
    """
    try:
        missing = _missing()
    except OperationalError:
        missing = _missing()
    if missing:
        raise CommandError(
            f"The database lacks {missing} migrations of this version; "
            "run: python manage.py migrate"
        )


def _missing() -> int:
    try:
        executor = MigrationExecutor(connection)
        return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    finally:
        connection.close()
