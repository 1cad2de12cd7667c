"""Pages of a long list by the place of the last row seen, not by its number.

A place stays what it is when rows come meanwhile: no page repeats a row or skips one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar
from uuid import UUID

from django.db.models import Model, Q, QuerySet
from django.http import Http404

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MOST_CHARS = 60

M = TypeVar("M", bound=Model)
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a row stands in a list that is sorted by a time, then by its key."""

    at: datetime
    pk: UUID

    def __str__(self) -> str:
        return f"{(self.at - _EPOCH) // _MICROSECOND}-{self.pk.hex}"


def place(text: str) -> Place | None:
    """Return the place `str` wrote; None for no text. Raises Http404 on any other."""
    if not text:
        return None
    micros, _, key = text[:_MOST_CHARS].partition("-")
    try:
        if not micros.isascii() or not micros.isdigit():
            raise ValueError(micros)
        return Place(at=_EPOCH + int(micros) * _MICROSECOND, pk=UUID(key))
    except (ValueError, OverflowError):
        raise Http404("That page does not exist.") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice(Generic[T]):
    """The rows of one page."""

    rows: list[T]
    older: Place | None
    """Where the next page goes on; None on the last one."""


def newest(
    found: QuerySet[M], field: str, *, after: Place | None, size: int
) -> Slice[M]:
    """Return the `size` rows that follow `after` in the order of `field`, newest first.

    Needs an index on (`field`, key).
    """
    ordered = found.order_by(f"-{field}", "-pk")
    if after is not None:
        # The first condition is what an index can use; the others are exact.
        ordered = ordered.filter(
            Q(**{f"{field}__lt": after.at}) | Q(pk__lt=after.pk),
            **{f"{field}__lte": after.at},
        )
    rows = list(ordered[: size + 1])
    last = rows[size - 1] if len(rows) > size else None
    older = Place(at=getattr(last, field), pk=last.pk) if last else None
    return Slice(rows=rows[:size], older=older)
