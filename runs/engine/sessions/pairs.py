"""Calls and their outputs: which items a session and a model may be given.

A model's server refuses a call without its output, an output without its call, and a
reasoning item without what it led to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from pydantic import BaseModel

from ..digest import JSONObject
from ..errors import UserError

OUTPUT_OF = {
    "function_call": "function_call_output",
    "custom_tool_call": "custom_tool_call_output",
    "computer_call": "computer_call_output",
    "shell_call": "shell_call_output",
    "local_shell_call": "local_shell_call_output",
    "apply_patch_call": "apply_patch_call_output",
    "tool_search_call": "tool_search_output",
    "program": "program_output",
}
"""The type of the output that belongs to a call, by the call's type."""

NO_ID = frozenset({"fake", "__fake_id__"})
"""What stands for an id where a model's server gave none."""

_OUTPUTS = frozenset(OUTPUT_OF.values())
_KEEPS_ITS_PLACE = frozenset({*OUTPUT_OF, "reasoning", "mcp_approval_request"})

Key: TypeAlias = tuple[str, str]


def as_json(item: Any) -> JSONObject:
    """Return an item, which may be an object of the openai client, as a dict.

    Raises UserError on anything else.
    """
    if isinstance(item, BaseModel):
        return item.model_dump(mode="json", exclude_unset=True, warnings=False)
    if isinstance(item, Mapping):
        return dict(item)
    raise UserError(
        f"An item is a dict or an object of the openai client, not {item!r:.200}."
    )


def plain(item: Any) -> JSONObject:
    """Return an item as a model's server takes it back. Raises UserError.

    Without a made-up id, without `created_by` and without the SDK's own notes.
    """
    held = as_json(item)
    return {name: value for name, value in held.items() if not _is_note(name, value)}


def _is_note(name: str, value: Any) -> bool:
    if name == "id":
        return isinstance(value, str) and value in NO_ID
    return name == "created_by" or name.startswith("_agents_")


def without_reasoning_id(item: JSONObject) -> JSONObject:
    """Return `item`; without its id, if it is reasoning."""
    if item.get("type") != "reasoning":
        return item
    return {name: value for name, value in item.items() if name != "id"}


def called(item: JSONObject) -> Key | None:
    """Return what the output of this call is known by; None when it is no call."""
    return _key(OUTPUT_OF.get(str(item.get("type"))), item.get("call_id"))


def answered(item: JSONObject) -> Key | None:
    """Return which call this is the output of; None when it is no output."""
    kind = str(item.get("type"))
    if kind not in _OUTPUTS:
        return None
    name = "id" if kind == "local_shell_call_output" else "call_id"
    return _key(kind, item.get("call_id") or item.get(name))


def _key(kind: str | None, call_id: Any) -> Key | None:
    # Without an id (a search the server does itself) nothing can be told apart.
    return (kind, call_id) if kind and isinstance(call_id, str) and call_id else None


def orphans(items: Sequence[JSONObject], known: Collection[Key] = ()) -> set[int]:
    """Return the places of items that stand without what belongs to them.

    These are calls with no output after them, outputs with no call before them or
    beside another output, and the reasoning that led to such a call. `known` are
    calls made before the first item.
    """
    waiting: dict[Key, int | None] = dict.fromkeys(known)
    lost: set[int] = set()
    for place, item in enumerate(items):
        if (call := called(item)) is not None:
            if call in waiting:
                lost.add(place)
            else:
                waiting[call] = place
        elif (output := answered(item)) is not None:
            if output in waiting:
                del waiting[output]
            else:
                lost.add(place)
    unanswered = {place for place in waiting.values() if place is not None}
    return lost | unanswered | _leading_to(items, unanswered)


def _leading_to(items: Sequence[JSONObject], calls: Collection[int]) -> set[int]:
    """Return the places of the reasoning right before one of the places `calls`."""
    leading: set[int] = set()
    follower_lost = False
    for place in range(len(items) - 1, -1, -1):
        if items[place].get("type") != "reasoning":
            follower_lost = place in calls
        elif follower_lost:
            leading.add(place)
    return leading


def once(items: Sequence[JSONObject]) -> list[tuple[int, JSONObject]]:
    """Return each identified item once, with the place it had among `items`.

    One that comes again as it was stays where it was first; a call, or reasoning,
    that comes again changed stays there too, changed, for its output follows it.
    Anything else that comes again changed stands where it came last. Messages are
    never taken for each other.
    """
    kept: dict[Key, int] = {}
    result: dict[int, JSONObject] = {}
    for place, item in enumerate(items):
        key = _identity(item)
        before = kept.get(key) if key is not None else None
        if before is None:
            at = place
        elif item.get("type") in _KEEPS_ITS_PLACE or result[before] == item:
            at = before
        else:
            at = place
            del result[before]
        if key is not None:
            kept[key] = at
        result[at] = item
    return sorted(result.items())


def _identity(item: JSONObject) -> Key | None:
    if "role" in item or item.get("type") == "message":
        return None
    if (key := answered(item)) is not None:
        return key
    kind = str(item.get("type"))
    for name in ("id", "call_id", "approval_request_id"):
        if called(item) is not None and name == "id":
            continue  # its call id is what its output goes by
        if isinstance(value := item.get(name), str):
            return f"{kind}.{name}", value
    return None


def calls_of(items: Iterable[JSONObject]) -> set[Key]:
    """Return the calls among `items`."""
    return {key for item in items if (key := called(item)) is not None}
