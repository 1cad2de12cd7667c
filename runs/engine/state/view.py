"""A view: what the model reads in place of all that came before it.

As JSON it refers to the run's items by their index and repeats only what is in none of
them, so that a filter that drops a little costs little.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..digest import JSONObject
from ..errors import InvalidRunState
from ..items import RunItem

MOST_REPEATS = 10
"""How often a stored view may show the run's items, so that none is a bomb."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    base: list[JSONObject]
    """Plain items read first."""
    shown: list[RunItem]
    """Items of the run, or made for this view, read after them."""
    listed: list[RunItem]
    """What a result shows as new in the run, up to here."""

    def to_json(self, items: Sequence[RunItem]) -> JSONObject:
        """Return the view; `items` are the run's."""
        by_raw = {id(item.raw): index for index, item in enumerate(items)}
        by_item = {id(item): index for index, item in enumerate(items)}
        base = [_at(by_raw.get(id(raw)), {"raw": raw}) for raw in self.base]
        shown = [
            _at(by_item.get(id(item)), {"item": item.to_entry()}) for item in self.shown
        ]
        listed = [
            _at(by_item.get(id(item)), {"item": item.to_entry()})
            for item in self.listed
        ]
        return {
            "base": _packed(base),
            "shown": _packed(shown),
            "listed": _packed(listed),
        }

    @classmethod
    def from_json(
        cls,
        stored: JSONObject,
        items: Sequence[RunItem],
        read_item: Callable[[Any], RunItem],
    ) -> View:
        """Return the view that `to_json` wrote. Raises InvalidRunState."""
        try:
            base = [
                items[part].raw if isinstance(part, int) else dict(part["raw"])
                for part in _unpacked(stored["base"], len(items))
            ]
            shown, listed = (
                [
                    items[part] if isinstance(part, int) else read_item(part["item"])
                    for part in _unpacked(stored[name], len(items))
                ]
                for name in ("shown", "listed")
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InvalidRunState(f"The state's view is broken: {error!r}.") from error
        return cls(base=base, shown=shown, listed=listed)


def _at(index: int | None, otherwise: JSONObject) -> int | JSONObject:
    return otherwise if index is None else index


def _packed(parts: list[int | JSONObject]) -> list[Any]:
    """Return `parts` with each run of successive indices as [first, last]."""
    packed: list[Any] = []
    for part in parts:
        last = packed[-1] if packed else None
        if not isinstance(part, int):
            packed.append(part)
        elif isinstance(last, list) and last[1] == part - 1:
            last[1] = part
        else:
            packed.append([part, part])
    return packed


def _unpacked(parts: Sequence[Any], count: int) -> list[int | JSONObject]:
    found: list[int | JSONObject] = []
    for part in parts:
        if not isinstance(part, list):
            found.append(part)
            continue
        first, last = part
        if not (isinstance(first, int) and isinstance(last, int)):
            raise TypeError(f"{part!r} is no range of items")
        if not 0 <= first <= last < count:
            raise IndexError(f"there are {count} items, not {part!r}")
        found.extend(range(first, last + 1))
        if len(found) > MOST_REPEATS * (count + 100):
            raise ValueError("it repeats the run's items too often")
    return found
