"""States that programs put by themselves: one active for each key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.db import IntegrityError
from django.db.models import QuerySet
from django.utils import timezone

from .. import codec
from ..ids import new_id
from ..models import SavedState
from ..transactions import attempt, write

ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    text: str
    place: str
    """Names the row; an encrypted text is bound to it."""


def save(key: str, agent: str, write: Callable[[str], str]) -> None:
    """Store what `write(place)` gives as the active state of `key`."""
    for _ in range(ATTEMPTS):
        found = SavedState.objects.filter(key=key, is_active=True).first()
        row = found or SavedState(id=new_id(), key=key, created_at=timezone.now())
        text = write(_place(row))
        if _update(row, agent, text) if found else _insert(row, agent, text):
            return
    raise IntegrityError(f"The state of {key!r} changes too often to be saved.")


def load(key: str) -> Stored | None:
    """Return the active state of `key`; None when there is none."""
    row = SavedState.objects.filter(key=key, is_active=True).first()
    return Stored(text=row.state, place=_place(row)) if row else None


@write
def clear(key: str) -> None:
    """Take the state of `key` out of use; it stays stored until it is cleaned up."""
    active = SavedState.objects.filter(key=key, is_active=True)
    active.update(is_active=False, updated_at=timezone.now())


@write
def delete_before(cutoff: datetime, *, key: str | None = None) -> int:
    """Delete states last saved or cleared before `cutoff`; return how many."""
    old = older_than(cutoff)
    return (old if key is None else old.filter(key=key)).delete()[0]


def older_than(cutoff: datetime) -> QuerySet[SavedState]:
    """Return the states last saved or cleared before `cutoff`."""
    return SavedState.objects.filter(updated_at__lt=cutoff)


def _place(row: SavedState) -> str:
    return f"{SavedState._meta.label_lower}:{row.pk}:{row.key}"


@write
def _update(row: SavedState, agent: str, text: str) -> bool:
    active = SavedState.objects.filter(pk=row.pk, is_active=True)
    return bool(
        active.update(state=text, agent=_name(agent), updated_at=timezone.now())
    )


@write
def _insert(row: SavedState, agent: str, text: str) -> bool:
    row.agent, row.state, row.updated_at = _name(agent), text, timezone.now()
    try:
        with attempt():
            row.save(force_insert=True)
    except IntegrityError:
        return False  # someone else has saved the first one meanwhile
    return True


def _name(agent: str) -> str:
    return codec.storable(agent)[:200]
