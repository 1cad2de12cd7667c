"""Static files as they are served, found once a test run.

Every test client builds its own handlers, and each of them looked at all the files of
the site and the admin again: a tenth of a second, hundreds of times.
"""

from __future__ import annotations

from typing import Any

from servestatic.middleware import ServeStaticMiddleware


class FoundOnce(ServeStaticMiddleware):  # type: ignore[misc]  # it has no types
    files: dict[str, Any]
    found: dict[str, Any] | None = None
    """What is served at each path."""

    def add_files_from_finders(self) -> None:
        if FoundOnce.found is None:
            super().add_files_from_finders()
            FoundOnce.found = self.files
        self.files = FoundOnce.found
