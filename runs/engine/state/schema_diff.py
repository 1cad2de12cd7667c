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
        _told(name, _type(old[name]), _type(new[name]))
        for name in old
        if name in new and old[name] != new[name]
    ]
    return "; ".join(said) or "its schema is another one, with the same parameters"


def signature(schema: JSONObject) -> str:
    """Return a schema's parameters with their types, in one line."""
    found = _properties(schema)
    named = [f"{name}: {_type(kind)}" for name, kind in found.items()]
    return ", ".join(named) or "no parameters"


def _told(name: str, before: str, now: str) -> str:
    if before == now:
        return f"{name} has another description or other limits"
    return f"{name} was {before} and is {now}"


def _properties(schema: JSONObject) -> dict[str, Any]:
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}


def _type(schema: Any) -> str:
    kind = schema.get("type") if isinstance(schema, dict) else None
    return str(kind) if kind else "of another form"
