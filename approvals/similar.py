"""Calls like another: the same tool with the same schema.

What was decided on them, for the page of one request; and those that wait, side by
side, with what sets each apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import islice
from statistics import median
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.db.models.expressions import RawSQL

from runs import index_reads, inert
from runs.inert import Segment
from runs.queries import Viewer

from . import display, policies, queries
from .models import DECIDED_STATUSES, ApprovalRequest, RequestStatus

LATEST = ("-decided_at", "-pk")
LAST = 5
COUNTED = 200
"""So many of those decided last are counted."""
PAGE_SIZE = 100
COLUMNS = 8
"""So many arguments that differ are columns; the rest are on each request's page."""
ARGUMENTS = 40
CELL_CHARS = 120
FAR = 6
"""A number this many times the usual distance from the median stands out."""
DIGITS = 15
"""A number with more on a side of its point is compared as a text."""
RARE = 5
"""Of at least so many calls, one with a value of its own stands out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """What is known of calls like one."""

    last: list[ApprovalRequest]
    """Those that were decided last."""
    counts: list[tuple[RequestStatus, int]]
    """How the last COUNTED of them were decided."""
    pending: int
    """Others that wait, up to PAGE_SIZE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    path: list[Segment]
    value: list[Segment]
    is_number: bool = False
    why_odd: str = ""
    """What sets it apart from the others; empty when nothing does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One waiting call of the table."""

    card: ApprovalRequest
    cells: list[Cell]
    may_decide: bool
    is_whole: bool
    """False: the table does not show all of its arguments."""

    @property
    def may_approve(self) -> bool:
        """What has warnings, or is not all here, is seen on its own page first."""
        return self.may_decide and self.is_whole and not self.card.warnings


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Waiting calls of one tool and schema."""

    constant: list[tuple[list[Segment], list[Segment]]]
    """Arguments (path, value) that all of them share."""
    columns: list[list[Segment]]
    lines: list[Line]
    hidden: int
    """Arguments that differ and are no column."""
    older: UUID | None
    """Ask for those before this one; None on the last page."""


def around(card: ApprovalRequest, user: Viewer) -> Alike:
    """Return what `user` may see of the calls like `card`, in three queries.

    However many there are: those in question are found by an index.
    """
    decided = _same(card, index_reads.has_one_of(DECIDED_STATUSES), user)
    waiting = _same(card, index_reads.has_status(RequestStatus.PENDING), user)
    others = decided.exclude(pk=card.pk).order_by(*LATEST)
    latest = list(others.values_list("pk", "status")[:COUNTED])
    counts = Counter(status for _, status in latest)
    last = queries.visible_requests(user).filter(pk__in=[pk for pk, _ in latest[:LAST]])
    pending = _ids(waiting.exclude(pk=card.pk).order_by("-pk"), PAGE_SIZE)
    return Alike(
        last=list(last.order_by(*LATEST)),
        counts=[
            (status, counts[status]) for status in DECIDED_STATUSES if counts[status]
        ],
        pending=len(pending),
    )


def table(card: ApprovalRequest, user: User, *, before: UUID | None = None) -> Table:
    """Return a page of the waiting calls like `card` that `user` may see."""
    waiting = _same(card, index_reads.has_status(RequestStatus.PENDING), user)
    waiting = waiting.order_by("-pk")
    if before is not None:
        waiting = waiting.filter(pk__lt=before)
    found = _ids(waiting, PAGE_SIZE + 1)
    shown = found[:PAGE_SIZE]
    cards = queries.visible_requests(user).filter(pk__in=shown).order_by("-pk")
    mine = policies.decidable_by(user).filter(pk__in=shown)
    older = shown[-1] if len(found) > PAGE_SIZE else None
    return _laid_out(list(cards), set(mine.values_list("pk", flat=True)), older)


def line(card: ApprovalRequest, user: User) -> Line:
    """Return the table's line of one request, as it now stands."""
    mine = policies.decidable_by(user).filter(pk=card.pk).exists()
    return Line(card=card, cells=[], may_decide=mine, is_whole=False)


def _same(
    card: ApprovalRequest, stands: RawSQL, user: Viewer
) -> QuerySet[ApprovalRequest]:
    """Return the calls of the same tool and schema that `user` may see."""
    found = ApprovalRequest.objects.filter(
        stands, tool=card.tool, schema_hash=card.schema_hash, kind=card.kind
    )
    if isinstance(user, User) and policies.may_see_queue(user):
        return found
    return found.filter(pk__in=queries.visible_requests(user).values("pk"))


def _ids(found: QuerySet[ApprovalRequest], most: int) -> list[UUID]:
    """Return the first. Read apart: joined tables would take the index away."""
    return list(found.values_list("pk", flat=True)[:most])


_Values = dict[str, tuple[str, str]]
"""The type and text of each argument by its path."""


def _laid_out(
    cards: Sequence[ApprovalRequest], mine: set[UUID], older: UUID | None
) -> Table:
    values = [_values(card) for card in cards]
    paths = list(dict.fromkeys(path for each in values for path in each))
    same = [path for path in paths if len({each.get(path) for each in values}) == 1]
    vary = [path for path in paths if path not in set(same)]
    shown = vary[:COLUMNS]
    odd = {path: _odd([each.get(path) for each in values]) for path in shown}
    return Table(
        constant=[(inert.segments(path), _seen(values[0][path])) for path in same],
        columns=[inert.segments(path) for path in shown],
        lines=[
            Line(
                card=card,
                cells=[_cell(path, each.get(path), odd[path]) for path in shown],
                may_decide=card.pk in mine,
                is_whole=len(vary) <= COLUMNS and _is_whole(each),
            )
            for card, each in zip(cards, values, strict=True)
        ],
        hidden=len(vary) - len(shown),
        older=older,
    )


def _values(card: ApprovalRequest) -> _Values:
    text = str(card.call_data.get("arguments", card.arguments))
    # One more than is shown, so that it is known to be missing.
    leaves = list(islice(display.leaves(text), ARGUMENTS + 1))
    found = {path: (kind, value) for path, kind, value in leaves}
    # Two values may have one path, as {"a.b": 1, "a": {"b": 2}}: none hides another.
    if len(found) < len(leaves):
        found = {}
    return found or {"": ("raw", text)}


def _seen(value: tuple[str, str]) -> list[Segment]:
    text = value[1]
    cut = text if len(text) <= CELL_CHARS else f"{text[: CELL_CHARS - 1]}…"
    return inert.segments(cut)


def _is_whole(values: _Values) -> bool:
    """Say whether nothing of these arguments is left out of the table."""
    if len(values) > ARGUMENTS or any(kind == "raw" for kind, _ in values.values()):
        return False
    return all(len(text) <= CELL_CHARS for _, text in values.values())


def _cell(path: str, value: tuple[str, str] | None, odd: Mapping[str, str]) -> Cell:
    named = inert.segments(path)
    if value is None:
        return Cell(path=named, value=[Segment("-")], why_odd=odd.get("", ""))
    kind, text = value
    return Cell(
        path=named,
        value=_seen(value),
        is_number=kind == "number",
        why_odd=odd.get(text, ""),
    )


def _odd(column: Sequence[tuple[str, str] | None]) -> dict[str, str]:
    """Return why a value of the column stands out, by its text."""
    texts = [value[1] if value else "" for value in column]
    numbers = {text: number for text in texts if (number := _number(text)) is not None}
    if len(numbers) > 1 and len(numbers) == len(set(texts)):
        return _far([numbers[text] for text in texts], numbers)
    return _alone(texts)


def _far(
    all_of_them: Sequence[Decimal], numbers: Mapping[str, Decimal]
) -> dict[str, str]:
    """Return the numbers that are far from the median of all."""
    middle = median(all_of_them)
    usual = median(abs(number - middle) for number in all_of_them)
    # Where most are the same, the usual distance is none: then a tenth of the number.
    usual = usual or abs(middle) / 10
    return {
        text: f"far from the median {middle.normalize():f}"
        for text, number in numbers.items()
        if usual and abs(number - middle) > FAR * usual
    }


def _alone(texts: Iterable[str]) -> dict[str, str]:
    """Return the values that one call alone has, while the others share theirs."""
    counts = Counter(texts)
    total = counts.total()
    if total < RARE or len(counts) > total / 2:
        return {}
    return {text: "only in this call" for text, count in counts.items() if count == 1}


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    # Beyond this it is no amount, and arithmetic and texts of it have no bound.
    is_amount = number.is_finite() and abs(number.adjusted()) < DIGITS
    return number if is_amount and len(text) < 2 * DIGITS else None
