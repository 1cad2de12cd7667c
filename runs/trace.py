"""What a page shows of a run's spans: nested, in the order they began.

A span whose parent is not stored (it goes on still, or its process died) stands at the
top. Reads only the newest rows, so that a page costs the same however long the run is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .engine.digest import JSONObject
from .models import EventKind, Run

ROWS_SHOWN = 100
"""Rows of the log, each with the spans of one step."""
MAX_DEPTH = 12
"""Deeper spans are shown, and are not indented any further."""

KIND_WORDS = {
    "task": "Stretch",
    "agent": "Agent",
    "turn": "Turn",
    "response": "Model",
    "generation": "Model",
    "function": "Tool",
    "handoff": "Handoff",
    "guardrail": "Guardrail",
    "mcp_tools": "Tools of",
    "custom": "",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanLine:
    """One line of a trace."""

    depth: int
    """0 for the stretch; MAX_DEPTH at most."""
    kind: str
    """task, agent, turn, response, function, handoff, guardrail or another."""
    name: str
    began: datetime
    took_s: float
    tokens: int
    error: str

    @property
    def words(self) -> str:
        return KIND_WORDS.get(self.kind, self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A run's trace, as far as it is shown."""

    trace_id: str
    lines: list[SpanLine]
    is_cut: bool
    """True when there are older rows than those shown."""


def trace_of(run: Run, *, whole: bool = False) -> Trace:
    """Return the newest spans of `run`, or all, in one query."""
    rows = run.events.filter(kind=EventKind.SPAN).order_by("-seq")
    found = list(rows if whole else rows[: ROWS_SHOWN + 1])
    shown = found if whole else found[:ROWS_SHOWN]
    records = [record for row in reversed(shown) for record in row.data["spans"]]
    return Trace(
        trace_id=str(records[0]["trace_id"]) if records else "",
        lines=list(_lines(records)),
        is_cut=len(found) > len(shown),
    )


def _lines(records: Iterable[JSONObject]) -> Iterator[SpanLine]:
    """Yield each span after the one it is in, without recursion."""
    in_order = sorted(records, key=lambda record: str(record["started_at"]))
    known = {record["id"]: record for record in in_order}
    inside: dict[Any, list[JSONObject]] = {}
    for record in in_order:
        parent = record["parent_id"] if record["parent_id"] in known else None
        inside.setdefault(parent, []).append(record)
    waiting = [(0, record) for record in reversed(inside.get(None, []))]
    while waiting:
        depth, record = waiting.pop()
        # The stretch of an agent used as a tool is the call's own: one line for both.
        if depth and _kind(record) == "task":
            depth -= 1
        else:
            yield _line(record, min(depth, MAX_DEPTH))
        children = inside.get(record["id"], [])
        waiting += [(depth + 1, child) for child in reversed(children)]


def _kind(record: JSONObject) -> str:
    data = record["span_data"]
    told = data.get("data") if isinstance(data.get("data"), dict) else {}
    return str(told.get("sdk_span_type") or data.get("type") or "")


def _line(record: JSONObject, depth: int) -> SpanLine:
    began = datetime.fromisoformat(record["started_at"])
    ended = datetime.fromisoformat(record["ended_at"])
    kind, data = _kind(record), record["span_data"]
    return SpanLine(
        depth=depth,
        kind=kind,
        name=_name(kind, data),
        began=began,
        took_s=max(0.0, (ended - began).total_seconds()),
        tokens=_tokens(data) if kind in ("response", "generation") else 0,
        error=_error(record["error"]),
    )


def _name(kind: str, data: JSONObject) -> str:
    match kind:
        case "task":
            return ""
        case "turn":
            return str(data["data"].get("turn", ""))
        case "response" | "generation":
            return str(data.get("model") or "")
        case "handoff":
            return f"{data.get('from_agent') or '?'} → {data.get('to_agent') or '?'}"
        case "mcp_tools":
            return str(data.get("server") or "")
    return str(data.get("name") or "")


def _tokens(data: JSONObject) -> int:
    usage = data.get("usage") or {}
    return int(usage.get("input_tokens") or 0) + int(usage.get("output_tokens") or 0)


def _error(error: JSONObject | None) -> str:
    if not error:
        return ""
    told = error.get("data")
    kind = told.get("error") if isinstance(told, dict) else None
    message = str(error.get("message") or "It failed")
    return f"{message}: {kind}" if kind else message
