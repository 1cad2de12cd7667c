"""Reading an index by jumps: the different values of a column, not all its rows.

Neither database does so for SELECT DISTINCT, which reads every row.
"""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models import Model
from django.db.models.expressions import RawSQL

MOST_VALUES = 1000


def distinct_values(model: type[Model], column: str, **conditions: Any) -> list[str]:
    """Return the different texts in `column` of the rows that meet `conditions`.

    Sorted, and no more than MOST_VALUES. Needs an index that begins with `column` and
    holds those rows; then the cost is one step for each value.
    """
    rows = model._default_manager.filter(**conditions).order_by(column)
    first, first_values = rows.values(column)[:1].query.sql_with_params()
    further = rows.filter(**{f"{column}__gt": RawSQL("found.value", [])})
    after, after_values = further.values(column)[:1].query.sql_with_params()
    # Nothing of ours goes in but what Django wrote; values stay parameters.
    jumps = (
        f"WITH RECURSIVE found(value) AS (SELECT * FROM ({first}) AS one UNION ALL "  # noqa: S608
        f"SELECT ({after}) FROM found WHERE found.value IS NOT NULL) "
        f"SELECT value FROM found WHERE value IS NOT NULL LIMIT {MOST_VALUES}"
    )
    with connection.cursor() as cursor:
        cursor.execute(jumps, [*first_values, *after_values])
        return [value for (value,) in cursor.fetchall()]
