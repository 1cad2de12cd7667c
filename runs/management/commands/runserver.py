"""Daphne's runserver, which says what it lacks.

Found only where "runs" stands before "daphne" in INSTALLED_APPS.
"""

from __future__ import annotations

from typing import Any

from daphne.management.commands.runserver import Command as DaphneCommand


class Command(DaphneCommand):  # type: ignore[misc]  # untyped base
    def inner_run(self, *args: Any, **options: Any) -> None:
        self.stdout.write(
            self.style.WARNING(
                "This server has no runners: runs stay queued until `manage.py worker` "
                "runs beside it. `manage.py serve` does both."
            )
        )
        super().inner_run(*args, **options)
