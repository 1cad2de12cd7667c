"""What an index alone can answer, however many rows there are.

Rows are long; a count that reads them costs thirty times one that does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db import connection
from django.db.models import BooleanField, QuerySet
from django.db.models.expressions import RawSQL

from .models import OPEN_STATUSES

MOST_VALUES = 1000


def has_status(status: str) -> RawSQL:
    """Return the condition of a partial index, word for word.

    With a parameter in its place SQLite takes the index, and reads each row even so.
    """
    # A status of ours, never what somebody sent.
    return RawSQL(f"status = '{status}'", [], output_field=BooleanField())  # noqa: S611


def has_one_of(statuses: Iterable[str]) -> RawSQL:
    """Return the condition of a partial index on several statuses, word for word."""
    listed = ", ".join(f"'{status}'" for status in statuses)
    return RawSQL(f"status IN ({listed})", [], output_field=BooleanField())  # noqa: S611


def at_most(column: str, number: int) -> RawSQL:
    """Return the condition of a partial index, word for word."""
    return RawSQL(f"{column} <= {int(number)}", [], output_field=BooleanField())  # noqa: S611


def is_open() -> RawSQL:
    """Return the condition of the index on open runs, word for word."""
    return has_one_of(OPEN_STATUSES)


def counts(asked: Mapping[str, QuerySet[Any, Any]], *, up_to: int) -> dict[str, int]:
    """Return how many rows each query gives, in one statement; counting stops there.

    A query should select (`values`) nothing but columns of the index it uses, and may
    have that index's order, by which the database finds it.
    """
    parts: list[str] = []
    values: list[Any] = []
    for rows in asked.values():
        ordered = rows if rows.query.order_by else rows.order_by()
        sql, given = ordered[:up_to].query.sql_with_params()
        parts.append(f"(SELECT COUNT(*) FROM ({sql}) AS counted)")  # noqa: S608  Django's
        values += given
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(parts)}", values)
        return dict(zip(asked, cursor.fetchone(), strict=True))


def distinct_values(rows: QuerySet[Any, Any], column: str) -> list[str]:
    """Return the different texts in `column` of `rows`, sorted, up to MOST_VALUES.

    Needs an index that begins with `column` and holds those rows. The cost is then one
    step for each value; SELECT DISTINCT reads every entry, on both databases.
    """
    ordered = rows.order_by(column).values(column)
    first, first_values = ordered[:1].query.sql_with_params()
    further = ordered.filter(**{f"{column}__gt": RawSQL("found.value", [])})
    after, after_values = further[:1].query.sql_with_params()
    # Nothing goes in but what Django wrote; values stay parameters.
    jumps = (
        f"WITH RECURSIVE found(value) AS (SELECT * FROM ({first}) AS one UNION ALL "  # noqa: S608
        f"SELECT ({after}) FROM found WHERE found.value IS NOT NULL) "
        f"SELECT value FROM found WHERE value IS NOT NULL LIMIT {MOST_VALUES}"
    )
    with connection.cursor() as cursor:
        cursor.execute(jumps, [*first_values, *after_values])
        return [value for (value,) in cursor.fetchall()]
