"""A clear word before a process works on a database that is not ready for it."""

from __future__ import annotations

from django.core.management.base import CommandError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor


def require_migrations() -> None:
    """Raise CommandError when the database lacks a migration of this code."""
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    connection.close()
    if missing:
        raise CommandError(
            f"The database lacks {len(missing)} migrations of this version; "
            "run: python manage.py migrate"
        )
