"""JSON schemas that servers accept in strict mode.

Every object is closed and requires all its keys.
Source: OpenAI, "Structured outputs", supported schemas.
"""

from __future__ import annotations

import copy
from typing import Any

from .digest import JSONObject
from .errors import UserError

_CHILD_MAPS = ("properties", "$defs", "definitions")
_CHILD_LISTS = ("anyOf", "allOf", "prefixItems")


def ensure_strict_json_schema(schema: JSONObject) -> JSONObject:
    """Return a strict copy of `schema`.

    Raises UserError when an object must take keys that the schema does not name:
    strict mode has no such object.
    """
    strict = copy.deepcopy(schema)
    return _strict(strict, root=strict, path="$") or {
        "type": "object",
        "properties": {},
        "required": [],
        "additionalProperties": False,
    }


def _strict(node: Any, *, root: JSONObject, path: str) -> Any:
    if not isinstance(node, dict):
        return node
    _close_object(node, path)
    if "oneOf" in node:
        node["anyOf"] = [*node.get("anyOf", []), *node.pop("oneOf")]
    for key in _CHILD_MAPS:
        for name, child in node.get(key, {}).items():
            node[key][name] = _strict(child, root=root, path=f"{path}.{name}")
    if isinstance(node.get("items"), dict):
        node["items"] = _strict(node["items"], root=root, path=f"{path}[]")
    for key in _CHILD_LISTS:
        if key in node:
            node[key] = [
                _strict(child, root=root, path=f"{path}.{key}") for child in node[key]
            ]
    if node.get("default", ...) is None:
        del node["default"]
    return _inline_reference(node, root=root, path=path)


def _close_object(node: JSONObject, path: str) -> None:
    if node.get("type") != "object":
        return
    if node.setdefault("additionalProperties", False) is not False:
        raise UserError(
            f"The object at {path} takes any keys, which strict mode does not have; "
            "name its keys, or use strict_mode=False."
        )
    node["required"] = list(node.get("properties", {}))


def _inline_reference(node: JSONObject, *, root: JSONObject, path: str) -> JSONObject:
    """Replace a `$ref` that has keys beside it: strict mode takes it only alone."""
    if "$ref" not in node or len(node) == 1:
        return node
    reference = node.pop("$ref")
    target: Any = root
    for part in reference.removeprefix("#/").split("/"):
        target = target[part]
    merged = {**copy.deepcopy(target), **node}
    node.clear()
    node.update(merged)
    inlined: JSONObject = _strict(node, root=root, path=path)
    return inlined
