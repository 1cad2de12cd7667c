"""Lines of the log: whatever a tool or a model wrote stays inert text in its line."""

from __future__ import annotations

import logging
from types import TracebackType

from . import inert

Fault = (
    tuple[type[BaseException], BaseException, TracebackType | None]
    | tuple[None, None, None]
)
"""What `sys.exc_info` gives."""


class InertFormatter(logging.Formatter):
    """Writes what cannot be seen as its name, and a line break of a message as ⏎.

    A traceback keeps its lines, each set in, so that none passes for a line of its own.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = one_line(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        # A traceback that another formatter has written before is not inert.
        kept, record.exc_text = record.exc_text, None
        try:
            return super().format(record)
        finally:
            record.exc_text = kept

    def formatException(self, ei: Fault) -> str:
        return indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:
        return indented(super().formatStack(stack_info))


def one_line(text: str) -> str:
    return "⏎".join(inert.plain(text).splitlines())


def indented(text: str) -> str:
    lines = inert.plain(text).split("\n")
    return "\n".join(f"  {line}" for line in lines)
