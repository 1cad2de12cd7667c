"""A process looks whether the database is ready before it begins."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from django.db import OperationalError
from django.db.migrations.executor import MigrationExecutor

from runs.management import migrated

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("cuts", [1, 2])
def test_a_connection_that_is_cut_as_a_process_begins_is_made_anew_once(
    cuts: int,
) -> None:
    looks: list[str] = []

    def look(*given: Any) -> Any:
        looks.append("")
        if len(looks) <= cuts:
            raise OperationalError("server closed the connection unexpectedly")
        return MigrationExecutor(*given)

    with patch.object(migrated, "MigrationExecutor", look):
        if cuts == 1:
            migrated.require_migrations()
        else:
            with pytest.raises(OperationalError, match="closed"):
                migrated.require_migrations()

    assert len(looks) == 2
