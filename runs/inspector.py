"""What a run is made of at its checkpoint, bounded, as its stored rows say it.

Read from the rows and not from a restored state, so that it shows a run whose code is
gone as well as any other. Whole is only the file.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Count

from . import codec
from .engine.digest import JSONObject
from .models import EventKind, Run, RunEvent
from .timeline import text_of

ITEMS_SHOWN = 100
RESPONSES_SHOWN = 50
FRAMES_SHOWN = 50
TEXT_CHARS = 2_000
JSON_CHARS = 100_000
BATCH = 500
ITEM_ROWS = 20_000
"""Of a run, read to count its tools; beyond, the oldest are not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemRow:
    seq: int
    frame: str
    kind: str
    agent: str
    call_key: str
    text: str
    """What it says, or its call's arguments or output, cut at TEXT_CHARS."""
    is_cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRow:
    """The run's own agent (no key), or an agent used as a tool."""

    key: str
    items: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRow:
    """A call that has no output yet, at any depth."""

    key: str
    tool: str
    agent_path: str
    gated: bool
    why: str
    digest: str
    is_frame: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """All of it."""

    head: JSONObject
    fault: str
    """Why the head cannot be read; empty when it can."""
    head_text: str
    """The head as indented JSON, cut at JSON_CHARS."""
    is_head_cut: bool
    items: list[ItemRow]
    """The newest, oldest first."""
    frames: list[FrameRow]
    counts: dict[str, int]
    """How many rows of each kind the log has."""
    tools: list[tuple[str, str, int]]
    """Agent, tool and how often it was called, the most used first."""
    guardrails: list[JSONObject]
    responses: list[JSONObject]
    open: list[OpenRow]


def inspect(run: Run, *, frame: str | None = None) -> Inspection:
    """Return what is stored of `run`, in a fixed number of queries.

    With `frame`, the items of that frame alone.
    """
    head, fault = _head(run)
    text = json.dumps(head, indent=2, ensure_ascii=False) if head else run.head
    counted = run.events.values("kind").order_by("kind").annotate(rows=Count("pk"))
    return Inspection(
        head=head,
        fault=fault,
        head_text=text[:JSON_CHARS],
        is_head_cut=len(text) > JSON_CHARS,
        items=_items(run, frame),
        frames=_frames(run),
        counts={row["kind"]: row["rows"] for row in counted},
        tools=_tools(run),
        guardrails=[row.data for row in _newest(run, EventKind.GUARDRAIL)],
        responses=[row.data for row in _newest(run, EventKind.RESPONSE)],
        open=list(_open(head)),
    )


def state_pieces(run: Run) -> Iterator[str]:
    """Yield the whole of it as JSON: the head, then each row of the log."""
    head, fault = _head(run)
    whole = {"run": str(run.pk), "fault": fault, "head": head or run.head}
    yield codec.dumps(whole)[:-1] + ',"log":['
    separator, last = "", 0
    while rows := list(run.events.filter(seq__gt=last).order_by("seq")[:BATCH]):
        for row in rows:
            yield separator + codec.dumps(row_as_json(row))
            separator = ",\n"
        last = rows[-1].seq
    yield "]}\n"


def row_as_json(row: RunEvent) -> JSONObject:
    """Return a row of the log as it stands in files."""
    return {
        "seq": row.seq,
        "kind": row.kind,
        "frame": row.frame,
        "call_key": row.call_key,
        "at": row.created_at.isoformat(),
        "payload": row.data,
    }


def _head(run: Run) -> tuple[JSONObject, str]:
    if not run.head:
        return {}, "Its state was cleaned up."
    try:
        head = codec.loads(run.head)
    except ValueError as error:
        return {}, f"What is stored is not JSON: {error}"
    return (head, "") if isinstance(head, dict) else ({}, "It is no JSON object.")


def _newest(run: Run, kind: EventKind) -> list[RunEvent]:
    rows = run.events.filter(kind=kind).order_by("-seq")[:RESPONSES_SHOWN]
    return list(rows)[::-1]


def _items(run: Run, frame: str | None) -> list[ItemRow]:
    rows = run.events.filter(kind=EventKind.ITEM)
    if frame is not None:
        rows = rows.filter(frame=frame)
    return [_item(row) for row in list(rows.order_by("-seq")[:ITEMS_SHOWN])[::-1]]


def _item(row: RunEvent) -> ItemRow:
    data = row.data
    raw = data.get("raw") or {}
    text = _text(raw)
    return ItemRow(
        seq=row.seq,
        frame=row.frame,
        kind=str(data.get("type")),
        agent=str(data.get("agent") or ""),
        call_key=row.call_key,
        text=text[:TEXT_CHARS],
        is_cut=len(text) > TEXT_CHARS,
    )


def _text(raw: JSONObject) -> str:
    if "arguments" in raw:
        return f"{raw.get('name', raw.get('type', ''))} {raw['arguments']}"
    for name in ("content", "output", "summary"):
        if raw.get(name):
            return text_of(raw[name])
    return codec.dumps(raw)


def _frames(run: Run) -> list[FrameRow]:
    rows = run.events.filter(kind=EventKind.ITEM).values("frame").order_by("frame")
    counted = rows.annotate(items=Count("pk"))[:FRAMES_SHOWN]
    return [FrameRow(key=row["frame"], items=row["items"]) for row in counted]


def _tools(run: Run) -> list[tuple[str, str, int]]:
    """Return who called what how often, of the newest ITEM_ROWS calls."""
    calls = run.events.filter(
        kind=EventKind.ITEM, payload__startswith='{"type":"tool_call"'
    ).order_by("-seq")
    used: Counter[tuple[str, str]] = Counter()
    for row in calls[:ITEM_ROWS].iterator(BATCH):
        raw: dict[str, Any] = row.data.get("raw") or {}
        name = str(raw.get("name") or raw.get("type") or "")
        used[str(row.data.get("agent") or ""), name] += 1
    return [(agent, tool, count) for (agent, tool), count in used.most_common(50)]


def _open(head: JSONObject) -> Iterator[OpenRow]:
    """Yield the open calls of a head, each before those inside it."""
    waiting = [entry for entry in head.get("open") or [] if isinstance(entry, dict)]
    waiting.reverse()
    while waiting:
        entry = waiting.pop()
        nested = entry.get("nested")
        yield OpenRow(
            key=str(entry.get("key", "")),
            tool=str(entry.get("tool", "")),
            agent_path=str(entry.get("agent_path", "")),
            gated=entry.get("gated") is True,
            why=str(entry.get("why", "")),
            digest=str(entry.get("digest", "")),
            is_frame=isinstance(nested, dict),
        )
        if isinstance(nested, dict):
            inside = [one for one in nested.get("open") or [] if isinstance(one, dict)]
            waiting += reversed(inside)
