"""Very many rows in one statement, all like one that was made as usual."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import connection, models

TIMES = {
    "postgresql": "now() - ({count} - i) * interval '2 seconds'",
    "sqlite": (
        "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', ((i - {count}) * 2) || ' seconds')"
    ),
}
IDS = {
    "postgresql": "('{head}' || lpad(to_hex({number}), 12, '0'))::uuid",
    "sqlite": "replace('{head}', '-', '') || printf('%%012x', {number})",
}
NUMBERS = {
    "postgresql": "SELECT generate_series(1, {count})",
    "sqlite": "VALUES (1) UNION ALL SELECT i + 1 FROM numbers WHERE i < {count}",
}
HASTE = {
    "postgresql": (
        "SET synchronous_commit = off",
        # Nobody checks a million foreign keys that are right by their making.
        "SET session_replication_role = replica",
    ),
    "sqlite": ("PRAGMA synchronous = OFF", "PRAGMA foreign_keys = OFF"),
}
HEAD = "01900000-0000-7000-8000-"


def hurry() -> None:
    """Have this connection fill tables without the care that real rows deserve."""
    with connection.cursor() as cursor:
        for statement in HASTE[connection.vendor]:
            cursor.execute(statement)


def id_of(number: str) -> str:
    """Return the SQL of an id that sorts by `number`, an expression."""
    return IDS[connection.vendor].format(head=HEAD, number=number)


def time_of(count: int) -> str:
    """Return the SQL of a time that grows with `i` and is now at `count`."""
    return TIMES[connection.vendor].format(count=count)


def multiply(row: models.Model, count: int, **columns: str) -> None:
    """Insert `count` rows like `row`, which is not stored itself.

    `columns` gives the SQL of those that differ, by the name of the column, where `i`
    counts from 1 and a per cent sign is doubled.
    """
    fields = row._meta.local_concrete_fields
    made_there = (models.AutoField, models.GeneratedField)
    own = [field for field in fields if not isinstance(field, made_there)]
    names = [str(field.column) for field in own]
    chosen = [columns.get(name, "%s") for name in names]
    values = [_stored(row, field) for field in own if field.column not in columns]
    numbers = NUMBERS[connection.vendor].format(count=count)
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH RECURSIVE numbers(i) AS ({numbers}) "  # noqa: S608  all our own
            f"INSERT INTO {row._meta.db_table} "
            f"({', '.join(names)}) "
            f"SELECT {', '.join(chosen)} FROM numbers",
            values,
        )


def _stored(row: models.Model, field: models.Field[object, object]) -> Any:
    value = getattr(row, field.attname)
    prepare: Callable[..., object] = field.get_db_prep_save
    return prepare(value, connection=connection)
