"""Decisions as a table that a spreadsheet opens: safe to open, whatever was written.

UTF-8 with a mark at the start: without it Excel reads another encoding. What an agent
or a person wrote is made inert as on the pages, and never begins a formula.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from io import StringIO

from runs import inert

from .history import Line

MARK = "\ufeff"
COLUMNS = (
    "decided_at",
    "verdict",
    "decided_by",
    "rule",
    "reason",
    "tool",
    "agent",
    "arguments",
    "risk",
    "outcome",
    "asked_at",
    "seconds_to_decision",
    "requester",
    "conversation",
    "run",
    "request",
    "decision",
    "digest",
)


def rows(lines: Iterable[Line]) -> Iterator[str]:
    """Yield the file: its mark and head, then a line for each decision."""
    buffer = StringIO()
    writer = csv.writer(buffer)
    buffer.write(MARK)
    writer.writerow(COLUMNS)
    for line in lines:
        writer.writerow([inert.csv_cell(value) for value in _values(line)])
        yield _taken(buffer)
    yield _taken(buffer)


def _taken(buffer: StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text


def _values(line: Line) -> list[str]:
    decision, request = line.decision, line.request
    requester = request.run.requester
    return [
        decision.created_at.isoformat(timespec="milliseconds"),
        decision.verdict,
        decision.actor_name,
        str(decision.rule_id or ""),
        decision.reason,
        request.tool,
        request.agent_path,
        request.arguments,
        request.risk,
        line.outcome.value,
        request.created_at.isoformat(timespec="milliseconds"),
        f"{line.took_s:.3f}",
        requester.get_username() if requester else request.run.trigger,
        str(request.run.conversation_id),
        str(request.run_id),
        str(request.pk),
        str(decision.pk),
        decision.digest,
    ]
