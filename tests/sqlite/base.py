"""Django's SQLite backend; emptied, it keeps what is the same for every test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.backends.sqlite3 import base, operations

from tests.emptied import KEPT


class DatabaseOperations(operations.DatabaseOperations):
    def sql_flush(self, style: Any, tables: Sequence[str], **options: Any) -> list[str]:
        emptied = [table for table in tables if table not in KEPT]
        return super().sql_flush(style, emptied, **options)


class DatabaseWrapper(base.DatabaseWrapper):
    ops_class = DatabaseOperations
