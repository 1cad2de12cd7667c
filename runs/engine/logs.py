"""The engine's log, shown to whoever runs an agent at a terminal."""

from __future__ import annotations

import logging
import sys


class _ToStdout(logging.StreamHandler):  # type: ignore[type-arg]  # not at run time
    """Writes to what is the standard output at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stdout
        super().emit(record)


_HANDLER = _ToStdout()


def enable_verbose_stdout_logging() -> None:
    """Write everything the engine logs to the standard output, from now on.

    What a tool or a model says may be among it. A second call changes nothing.
    """
    logger = logging.getLogger("runs.engine")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(_HANDLER)
