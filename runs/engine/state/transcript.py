"""What a run has said so far, and which part of it the model reads next.

Items are appended and never changed. The model reads all of them, until a handoff's
filter says otherwise: then it reads that *view*, and what is appended after it.
Appending and reading cost the same however long the run is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..digest import JSONObject
from ..items import (
    HandoffCallItem,
    InputItem,
    ReasoningItem,
    RunItem,
    ToolCallItem,
    name_called,
)
from .view import View

if TYPE_CHECKING:
    from ..config import ReasoningItemIdPolicy


class Transcript:
    """A run's items in order, and the model's view of them."""

    def __init__(self, before: Sequence[JSONObject] = ()) -> None:
        """Begin one; `before` is what the model reads before the first item."""
        self.before = tuple(before)
        self.items: list[RunItem] = []
        self.reasoning_ids: ReasoningItemIdPolicy | None = None
        self.base: list[JSONObject] = list(self.before)
        """What the model reads first: the input, or what a view put in its place."""
        self.shown: list[RunItem] = []
        """The items it reads after `base`."""
        self.view: View | None = None
        self.listed: list[RunItem] | None = None
        """What counts as new in the run, where a view says so; None: every item."""
        self.tool_users: set[str] = set()
        """Names of the agents that have called a tool."""
        self._reading: list[JSONObject] = list(self.before)

    def begin(self, item: InputItem) -> None:
        """Append an item of the input the run begins with."""
        self.items.append(item)
        self.base.append(item.raw)
        self._reading.append(item.raw)

    def add(self, item: RunItem) -> None:
        self.items.append(item)
        self.shown.append(item)
        self._reading.append(self._read(item))
        if self.listed is not None:
            self.listed.append(item)
        if isinstance(item, ToolCallItem | HandoffCallItem):
            self.tool_users.add(item.agent.name)

    def reading(self) -> list[JSONObject]:
        """Return what the model reads next: a list of the caller's own."""
        return self._reading.copy()

    def read(self, items: Sequence[RunItem]) -> list[JSONObject]:
        """Return `items` as the model reads them."""
        return [self._read(item) for item in items]

    def reading_since(self, count: int) -> list[JSONObject]:
        """Return what is read of the items from index `count` on."""
        return [self._read(item) for item in self.items[count:]]

    def show(self, view: View) -> None:
        """Let the model read `view` from here on, and what is appended after it."""
        self.view = view
        self.base = list(view.base)
        self.shown = list(view.shown)
        self.listed = list(view.listed)
        self._read_again()

    def reorder(self, start: int, items: Sequence[RunItem]) -> None:
        """Put `items`, the run's from index `start` on, in this order instead."""
        count = len(items)
        self.items[start:] = items
        self.shown[-count:] = items
        self._reading[-count:] = [self._read(item) for item in items]
        if self.listed is not None:
            self.listed[-count:] = items

    def set_reasoning_ids(self, policy: ReasoningItemIdPolicy | None) -> None:
        if policy != self.reasoning_ids:
            self.reasoning_ids = policy
            self._read_again()

    def copy(self) -> Transcript:
        twin = Transcript.__new__(Transcript)
        twin.__dict__.update(self.__dict__)
        for name in ("items", "base", "shown", "_reading"):
            setattr(twin, name, getattr(self, name).copy())
        twin.tool_users = set(self.tool_users)
        twin.listed = None if self.listed is None else list(self.listed)
        return twin

    def tools_used(self) -> dict[str, list[str]]:
        """Return the qualified names of the tools each agent called, repeats kept."""
        used: dict[str, list[str]] = {}
        for item in self.items:
            if isinstance(item, ToolCallItem | HandoffCallItem):
                name = name_called(item.raw) or item.tool_name or ""
                used.setdefault(item.agent.name, []).append(name)
        return used

    def _read_again(self) -> None:
        self._reading = [*self.base, *(self._read(item) for item in self.shown)]

    def _read(self, item: RunItem) -> JSONObject:
        raw = item.to_input_item()
        if self.reasoning_ids == "omit" and isinstance(item, ReasoningItem):
            return {key: value for key, value in raw.items() if key != "id"}
        return raw


@dataclass(frozen=True)
class ToolUse:
    """How often which tool was called in a run."""

    snapshot: Mapping[str, Sequence[str]]

    @property
    def tool_counts(self) -> dict[str, int]:
        return dict(Counter(name for used in self.snapshot.values() for name in used))

    @property
    def total_calls(self) -> int:
        return sum(len(used) for used in self.snapshot.values())
