"""A process looks whether the database is ready before it begins."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from django.db import OperationalError
from django.db.migrations.executor import MigrationExecutor

from runs.management import migrated

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("cuts", [1, 4, 5])
def test_a_connection_that_is_cut_as_a_process_begins_is_made_anew(cuts: int) -> None:
    looks, error = looked(cuts)

    assert (looks, error is None) == (min(cuts + 1, 5), cuts < 5)


def test_a_database_that_does_not_answer_is_not_asked_over_and_over() -> None:
    with patch.object(migrated, "PATIENCE_S", -1.0):
        looks, error = looked(1)

    assert looks == 1
    assert "closed" in str(error)


def looked(cuts: int) -> tuple[int, OperationalError | None]:
    """Return how often it looked where so many looks fail, and the last error."""
    looks: list[str] = []

    def look(*given: Any) -> Any:
        looks.append("")
        if len(looks) <= cuts:
            raise OperationalError("server closed the connection unexpectedly")
        return MigrationExecutor(*given)

    with patch.object(migrated, "MigrationExecutor", look):
        try:
            migrated.require_migrations()
        except OperationalError as error:
            return len(looks), error
    return len(looks), None
