"""Django's PostgreSQL backend, emptied fast between tests.

TRUNCATE makes new files for every table and index: a second a test, on a busy disk.
Tests leave a few rows each, and deleting those takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.backends.postgresql import base, operations

from tests.emptied import KEPT

# Django does not know these as tables of its own.
JOBS = ("procrastinate_periodic_defers", "procrastinate_jobs", "procrastinate_workers")


class DatabaseOperations(operations.DatabaseOperations):
    def sql_flush(self, style: Any, tables: Sequence[str], **options: Any) -> list[str]:
        emptied = [*JOBS, *(table for table in tables if table not in KEPT)]
        delete = [f"DELETE FROM {self.quote_name(name)}" for name in emptied]  # noqa: S608  our own tables
        return ["SET CONSTRAINTS ALL DEFERRED", *delete]


class DatabaseWrapper(base.DatabaseWrapper):
    ops_class = DatabaseOperations
