"""How a tool's parameters differ from what they were, in words for a person."""

from __future__ import annotations

from typing import Any

from ..digest import JSONObject


def difference(before: JSONObject, now: JSONObject) -> str:
    """Return what has changed between two parameter schemas, in one line.

    `before` may be {}: a state of schema 1.0 did not keep it.
    """
    if not before:
        return "its schema is another one"
    old, new = _properties(before), _properties(now)
    said = [f"{name} is gone" for name in old if name not in new]
    said += [f"{name} is new" for name in new if name not in old]
    said += [
        f"{name} was {_type(old[name])} and is {_type(new[name])}"
        for name in old
        if name in new and old[name] != new[name]
    ]
    return "; ".join(said) or "its schema is another one, with the same parameters"


def _properties(schema: JSONObject) -> dict[str, Any]:
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}


def _type(schema: Any) -> str:
    kind = schema.get("type") if isinstance(schema, dict) else None
    return str(kind) if kind else "of another form"
