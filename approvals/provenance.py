"""Where each value of a call came from: a person, a tool, a webhook, or nowhere.

The values are looked for in the conversation before the call, all at once, in its
beginning and in its newest items; what that costs does not grow with the run. A value
that is found nowhere was made up by the model, or stands where nobody looked.

This tells a reviewer where to look twice. It proves nothing: a model may copy a value
from a place that is not to be trusted, and two places may hold the same.
"""

from __future__ import annotations

import enum
import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.db.models.functions import Length, Substr

from runs import codec, registry
from runs.engine.items import name_called
from runs.errors import UnknownAgent
from runs.models import EventKind, Run, RunEvent
from runs.timeline import text_of

from . import display, numbers
from .models import ApprovalRequest

NEWEST = 400
"""Items before the call that are looked at."""
OPENING = 20
"""Of the run's first events, those that are items: what was typed at the start."""
EARLIER_RUNS = 3
EARLIER = 100
"""Items of the runs before this one."""
ITEM_CHARS = 8_000
ALL_CHARS = 300_000
VALUES = 60
"""So many of a call's values are looked for."""
VALUE_CHARS = 2_000
LOOSE_CHARS = 24
"""A text this long is found inside another word too."""
_TRIES = 50

_SENSITIVE_NAME = re.compile(
    r"(?:^|_)(?:to|cc|bcc|recipients?|payee|beneficiary|e?mail|phone|amount|price|total"
    r"|sum|eur|usd|gbp|chf|iban|bic|account|card|wallet|path|files?|filename|dir|folder"
    r"|hosts?|hostname|domain|urls?|uri|endpoint|address|branch|repo|bucket)(?:_|$)"
)
_SENSITIVE_FORM = re.compile(
    r"[^\s@]+@[^\s@]+\.\w+|[A-Z]{2}\d{2}[A-Z0-9 ]{11,32}|\w[\w+.-]*://\S+"
    r"|(?:/|~/|[A-Za-z]:\\)\S+|(?:[\w-]+\.)+[a-z]{2,}|[€$£¥]\s?[\d.,]+"
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_INDEX = re.compile(r"\[\d+\]")


class Source(enum.StrEnum):
    PERSON = "person"
    TOOL = "tool"
    SYSTEM = "system"
    MODEL = "model"
    NOWHERE = "nowhere"
    UNSEEN = "unseen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a value was first seen before the call."""

    source: Source
    words: str
    """As a person reads it: typed by bob, from lookup_order. May hold agent text."""
    url: str = ""
    """Of that step; empty when there is none."""
    is_flagged: bool = False
    """True: it is sensitive, and no person typed it as far as was looked."""


@dataclass(frozen=True, slots=True)
class _Step:
    """A text of the conversation."""

    run_id: UUID
    seq: int
    source: Source
    words: str
    text: str
    call_key: str = ""


@dataclass(slots=True)
class _Texts:
    """Texts as one, in their order, so that each value is looked for once."""

    steps: Sequence[_Step]
    text: str = ""
    starts: list[int] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    """Where each number first stands, by its value."""

    def __post_init__(self) -> None:
        at = 0
        for step in self.steps:
            self.starts.append(at)
            at += len(step.text) + 1
        self.text = "\n".join(step.text for step in self.steps)
        self.numbers = numbers.first_places(self.text)

    def first(self, value: str, *, is_number: bool) -> _Step | None:
        """Return the first step that holds `value`."""
        if is_number or numbers.is_amount(value):
            found = [self.numbers.get(each) for each in numbers.readings(value)]
            at = min((place for place in found if place is not None), default=-1)
        else:
            at = _place(self.text, value.strip().casefold()[:VALUE_CHARS])
        return self.steps[bisect_right(self.starts, at) - 1] if at >= 0 else None


def origins(card: ApprovalRequest, text: str) -> list[Origin | None]:
    """Return where each of the first values of the arguments `text` came from.

    In the order of `display.leaves`; None for a value that says nothing by itself.
    """
    leaves = list(islice(display.leaves(text), VALUES))
    if not leaves:
        return []
    steps, is_all = _conversation(card)
    everything = _Texts(steps)
    typed = _Texts([step for step in steps if step.source is Source.PERSON])
    marked = _marked_sensitive(card)
    found = [
        _origin(leaf, everything, typed, is_all=is_all, marked=marked)
        for leaf in leaves
    ]
    return _with_links(card, found)


def is_sensitive(path: str, value: str) -> bool:
    """Say whether a wrong value would send something elsewhere: by name or form."""
    last = _INDEX.sub("", path).rpartition(".")[2]
    name = _CAMEL.sub("_", last).lower().replace("-", "_")
    form = _SENSITIVE_FORM.fullmatch(value.strip()[:300])
    return bool(_SENSITIVE_NAME.search(name) or form)


_Found = tuple[Origin, _Step | None]


def _origin(
    leaf: tuple[str, str, str],
    everything: _Texts,
    typed: _Texts,
    *,
    is_all: bool,
    marked: frozenset[str],
) -> _Found | None:
    path, kind, value = leaf
    if kind not in ("text", "number") or not value.strip():
        return None
    is_number = kind == "number"
    first = everything.first(value, is_number=is_number)
    person = typed.first(value, is_number=is_number)
    sensitive = is_sensitive(path, value) or _INDEX.sub("[]", path) in marked
    flagged = sensitive and person is None
    if first is None:
        words = "made up by the model" if is_all else "not in the steps looked at"
        source = Source.NOWHERE if is_all else Source.UNSEEN
        return Origin(source=source, words=words, is_flagged=flagged), None
    words = first.words
    if person is not None and first.source is not Source.PERSON:
        words = f"{words}, then {person.words}"
    return Origin(source=first.source, words=words, is_flagged=flagged), first


def _place(text: str, value: str) -> int:
    """Return where `value` stands in `text` as a word or a name of its own, or -1."""
    if not value:
        return -1
    at = -1
    for _ in range(_TRIES):
        at = text.find(value, at + 1)
        if at < 0 or (len(value) >= LOOSE_CHARS and " " in value):
            return at
        if _stands_alone(text, at, at + len(value)):
            return at
    return -1


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Say whether a longer word, host or path around it is ruled out."""
    before, after = text[max(0, start - 1) : start], text[end : end + 2]
    if before and (before.isalnum() or before in "_@/.-\\"):
        return False
    if after[:1].isalnum() or after[:1] in ("_", "-", "@", "/", "\\"):
        return after == "/" or (after[:1] == "/" and after[1:].isspace())
    return not (after[:1] == "." and after[1:].isalnum())


def _conversation(card: ApprovalRequest) -> tuple[list[_Step], bool]:
    """Return what was said before the call, in order, and whether that is all."""
    runs = _runs(card)
    log = RunEvent.objects.filter(run=card.run_id, kind=EventKind.ITEM)
    called = log.filter(call_key=card.call_key).exclude(call_key="").order_by("seq")
    if (at := called.values_list("seq", flat=True).first()) is not None:
        log = log.filter(seq__lt=at)
    newest = _rows(log.order_by("-seq"), NEWEST + 1)
    is_all = len(newest) <= NEWEST
    rows = {row[:2]: row for row in newest[:NEWEST]}
    if not is_all:
        rows |= {row[:2]: row for row in _rows(log.filter(seq__lte=OPENING), OPENING)}
    if earlier := [pk for pk in runs if pk != card.run_id]:
        old = RunEvent.objects.filter(run__in=earlier, kind=EventKind.ITEM)
        before = _rows(old.order_by("-run", "-seq"), EARLIER + 1)
        is_all = is_all and len(before) <= EARLIER and len(runs) <= EARLIER_RUNS
        rows |= {row[:2]: row for row in before[:EARLIER]}
    steps = _read(rows.values(), runs)
    kept = _within(steps)
    cut = any(row[5] > ITEM_CHARS for row in rows.values())
    return kept, is_all and not cut and len(kept) == len(steps)


_Row = tuple[UUID, int, str, str, str, int]


def _rows(log: QuerySet[RunEvent], limit: int) -> list[_Row]:
    head = Substr("payload", 1, ITEM_CHARS)
    columns = log.annotate(head=head, size=Length("payload"))
    names = ("run_id", "seq", "frame", "call_key", "head", "size")
    return list(columns.values_list(*names)[:limit])


def _runs(card: ApprovalRequest) -> dict[UUID, Run]:
    """Return the run and those before it in its conversation, the newest first."""
    found = Run.objects.filter(
        conversation=card.run.conversation_id, pk__lte=card.run_id
    ).select_related("requester")
    found = found.only("trigger", "requester__username").order_by("-pk")
    return {run.pk: run for run in found[: EARLIER_RUNS + 1]}


def _read(rows: Iterable[_Row], runs: dict[UUID, Run]) -> list[_Step]:
    in_order = sorted(rows, key=lambda row: (row[0], row[1]))
    return [step for row in in_order if (step := _step(row, runs)) is not None]


def _within(steps: list[_Step]) -> list[_Step]:
    """Return what fits in ALL_CHARS: what people typed first, then the newest."""
    left = ALL_CHARS
    kept: set[int] = set()
    newest_first = range(len(steps) - 1, -1, -1)
    for at in sorted(newest_first, key=lambda at: steps[at].source != Source.PERSON):
        left -= len(steps[at].text)
        if left < 0:
            break
        kept.add(at)
    return [step for at, step in enumerate(steps) if at in kept]


def _step(row: _Row, runs: dict[UUID, Run]) -> _Step | None:
    run_id, seq, frame, call_key, head, size = row
    kind, text = _spelled(head, is_whole=size <= ITEM_CHARS)
    if kind == "tool_output":
        source, words = Source.TOOL, "from a tool"
    elif kind == "input" and not frame:
        source, words = _who_said(runs.get(run_id))
    elif kind in ("message", "tool_call", "reasoning", "handoff_call", "input"):
        source, words = Source.MODEL, "earlier model text"
    else:
        return None
    return _Step(run_id, seq, source, words, text.casefold(), call_key)


def _spelled(head: str, *, is_whole: bool) -> tuple[str, str]:
    """Return an item's type and what it says."""
    if not is_whole:
        kind = head[9 : head.find('"', 9)]
        return kind, re.sub(r"\\+[nrt]", " ", head).replace('\\"', '"')
    data: dict[str, Any] = codec.loads(head)
    raw = data.get("raw") or {}
    parts = (raw.get(name) for name in ("content", "output", "arguments", "summary"))
    return str(data.get("type")), "\n".join(text_of(part) for part in parts if part)


def _who_said(run: Run | None) -> tuple[Source, str]:
    """Return who gave a run its input, as far as its row says."""
    if run is not None and run.requester is not None:
        return Source.PERSON, f"typed by {run.requester.get_username()}"
    if run is not None and run.trigger == Run.Trigger.COMMAND:
        return Source.PERSON, "typed at the command line"
    if run is not None and run.trigger == Run.Trigger.SESSION:
        return Source.SYSTEM, "recorded by a program"
    return Source.SYSTEM, "from a webhook"


def _with_links(
    card: ApprovalRequest, found: Sequence[_Found | None]
) -> list[Origin | None]:
    """Name the tools that told a value, and link each origin to its step."""
    keys = {step.call_key for each in found if each and (step := each[1])} - {""}
    calls = RunEvent.objects.filter(
        run__conversation=card.run.conversation_id,
        run__pk__lte=card.run_id,
        kind=EventKind.ITEM,
        call_key__in=keys,
    ).exclude(call_key="")
    named: dict[tuple[UUID, str], tuple[int, str]] = {}
    for call in calls.order_by("seq") if keys else ():
        raw = call.data.get("raw") or {}
        named.setdefault((call.run_id, call.call_key), (call.seq, name_called(raw)))
    return [each and _linked(*each, named) for each in found]


def _linked(
    origin: Origin, step: _Step | None, named: dict[tuple[UUID, str], tuple[int, str]]
) -> Origin:
    if step is None:
        return origin
    seq, tool = named.get((step.run_id, step.call_key), (step.seq, ""))
    words = origin.words
    if step.source is Source.TOOL and tool:
        words = words.replace("a tool", tool, 1)
    anchor = f"#block-{step.run_id}-{seq}"
    return replace(origin, words=words, url=f"/runs/{step.run_id}/{anchor}")


def _marked_sensitive(card: ApprovalRequest) -> frozenset[str]:
    """Return the paths that the tool itself calls sensitive, as `items[].iban`."""
    try:
        agent = registry.get(card.run.agent_key).agent
    except UnknownAgent:
        return frozenset()
    for tool in agent.tools:
        if getattr(tool, "name", "") == card.tool:
            named = getattr(getattr(tool, "review", None), "sensitive", ())
            return frozenset(_INDEX.sub("[]", path) for path in named)
    return frozenset()
