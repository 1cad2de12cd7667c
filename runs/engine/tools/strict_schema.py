"""JSON schemas that servers accept in strict mode.

Every object is closed and requires all its keys; every reference stands alone. A schema
may come from a stranger (an MCP server's), so its depth and its size are bounded.
Source: OpenAI, "Structured outputs", supported schemas.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from ..digest import JSONObject
from ..errors import UserError

MAX_DEPTH = 100
"""Lists and objects within each other, as written and after references are put in."""
MAX_NODES = 100_000
"""Schemas looked at: references to references grow without end otherwise."""

_TOO_DEEP = f"The schema is nested deeper than {MAX_DEPTH} levels; make it flatter."
_OPEN = (
    "an object takes keys that the schema does not name, which strict mode does not "
    "have; name its keys, or use strict_mode=False."
)
# What may stand beside a reference: it describes, or defines, but allows no less.
_NOTES = frozenset(
    {"$anchor", "$comment", "$defs", "$schema", "contentEncoding", "contentMediaType"}
    | {"contentSchema", "default", "definitions", "deprecated", "description"}
    | {"examples", "readOnly", "title", "writeOnly"}
)


def ensure_strict_json_schema(
    schema: JSONObject, *, reject_open_objects: bool = False
) -> JSONObject:
    """Return a strict copy of `schema`.

    `reject_open_objects` also refuses an object that names no keys and is not closed,
    which else becomes the empty object.
    Raises UserError when strict mode cannot say what the schema says: an object of any
    keys, a root that is a choice or may be null, limits beside a reference.
    """
    _check_depth(schema)
    if not schema:
        schema = {"type": "object", "properties": {}, "additionalProperties": False}
    root = copy.deepcopy(schema)
    strict = _Strictness(root=root, rejects_open=reject_open_objects).of(root)
    if isinstance(strict.get("anyOf"), list):
        raise UserError("The schema's root is a choice (anyOf); make it an object.")
    if _is_object(strict) and strict["type"] != "object":
        if strict["type"] != ["object"]:
            raise UserError("The schema's root may be null; make it an object always.")
        strict["type"] = "object"
    return strict


@dataclass
class _Strictness:
    """Makes the parts of one schema strict, in place."""

    root: JSONObject
    rejects_open: bool
    nodes_left: int = MAX_NODES

    def of(self, node: JSONObject, depth: int = 1, foreign: bool = False) -> JSONObject:
        """Return `node`, made strict; `foreign` when it lies in a schema of its own id.

        A reference to a definition finds it made strict already, or makes it so later.
        """
        self._count(node, depth)
        foreign = foreign or (
            node is not self.root and isinstance(node.get("$id"), str)
        )
        if "$ref" in node:
            self._check_reference(node, foreign)
        was_closed = node.get("additionalProperties") is False
        for key in ("$defs", "definitions"):
            for child in _children(node, key, dict).values():
                self.of(child, depth + 1, foreign)
        self._close(node)
        self._make_parts_strict(node, depth, foreign)
        if len(_children(node, "allOf", list)) == 1:
            return self._merge_only_part(node, depth, foreign, was_closed)
        if node.get("default", ...) is None:
            del node["default"]
        if "$ref" in node and len(node) > 1:
            # Copied whole first: a definition may lead back to this very node.
            target = copy.deepcopy(self._target(node["$ref"]))
            _replace(node, {**target, **_beside_reference(node)})
            return self.of(node, depth + 1, foreign)
        if "$ref" in node and self.rejects_open:
            raise UserError("The schema holds a reference, whose target may be open.")
        return node

    def _make_parts_strict(self, node: JSONObject, depth: int, foreign: bool) -> None:
        if isinstance(node.get("oneOf"), list):  # strict mode has anyOf only
            choices = node.pop("oneOf")
            node["anyOf"] = [*_children(node, "anyOf", list), *choices]
        if isinstance(node.get("properties"), dict):
            node["required"] = list(node["properties"])
        for name, child in _children(node, "properties", dict).items():
            node["properties"][name] = self.of(child, depth + 1, foreign)
        for key in ("anyOf", "prefixItems", "allOf"):
            parts = _children(node, key, list)
            if key == "allOf" and len(parts) == 1:
                continue  # takes the place of the whole instead
            parts[:] = [self.of(child, depth + 1, foreign) for child in parts]
        if isinstance(node.get("items"), dict):
            node["items"] = self.of(node["items"], depth + 1, foreign)

    def _count(self, node: JSONObject, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise UserError(_TOO_DEEP)
        self.nodes_left -= 1
        if self.nodes_left < 0:
            raise UserError(f"The schema grows beyond {MAX_NODES} parts.")
        if not isinstance(node, dict):
            raise UserError(f"A part of the schema is {node!r}; it must be an object.")

    def _close(self, node: JSONObject) -> None:
        kind, extra = node.get("type"), node.get("additionalProperties")
        if kind is None and isinstance(node.get("properties"), dict):
            node["type"] = "object"
        elif kind is None and extra not in (None, False):
            raise UserError(_OPEN)
        if not _is_object(node):
            return
        if self.rejects_open and extra is not False and not node.get("properties"):
            raise UserError(_OPEN)
        if node.setdefault("additionalProperties", False) is not False:
            raise UserError(_OPEN)

    def _check_reference(self, node: JSONObject, foreign: bool) -> None:
        if foreign:
            raise UserError("The schema refers to a part of a schema of another $id.")
        limits = (
            node.keys() - _NOTES - {"$ref"} - ({"$id"} if node is self.root else set())
        )
        if limits:
            raise UserError(
                f"{', '.join(sorted(limits))} beside the reference {node['$ref']!r} "
                "cannot be said in strict mode; put the limits into what it refers to."
            )

    def _target(self, reference: Any) -> JSONObject:
        target: Any = self.root
        try:
            if not reference.startswith("#/"):
                raise KeyError(reference)
            for part in unquote(reference[2:], errors="strict").split("/"):
                target = target[part.replace("~1", "/").replace("~0", "~")]
                if isinstance(target, dict) and isinstance(target.get("$id"), str):
                    raise KeyError(reference)
        except (AttributeError, LookupError, TypeError, UnicodeDecodeError):
            target = None
        if not isinstance(target, dict):
            raise UserError(f"The schema refers to {reference!r}, which is not in it.")
        return target

    def _merge_only_part(
        self, node: JSONObject, depth: int, foreign: bool, was_closed: bool
    ) -> JSONObject:
        """Put the only part of an `allOf` in the place of the whole."""
        part = node["allOf"][0]
        if isinstance(part, dict) and "$ref" in part:
            self._check_reference(part, foreign)
            part = self._followed(part)
        else:
            part = self.of(part, depth + 1, foreign)
        del node["allOf"]
        if not was_closed:  # the whole is closed again once it is one object
            node.pop("additionalProperties", None)
        _replace(node, _merged(node, part))
        return self.of(node, depth + 1, foreign)

    def _followed(self, part: JSONObject) -> JSONObject:
        """Return what `part` refers to in the end, with the notes found on the way."""
        seen: set[str] = set()
        while "$ref" in part and not part.keys() - _NOTES - {"$ref"}:
            reference = part["$ref"]
            if str(reference) in seen:
                raise UserError(f"The reference {reference!r} leads back to itself.")
            seen.add(str(reference))
            target = copy.deepcopy(self._target(reference))
            part = {**target, **_beside_reference(part)}
        return part


def _merged(whole: JSONObject, part: JSONObject) -> JSONObject:
    """Return `part` with what `whole` says beside it. Raises UserError on a clash."""
    clashes = {
        key
        for key, value in whole.items()
        if key in part and key not in _NOTES and not same_json(value, part[key])
    } - {key for key in ("properties", "required") if not whole.get(key, True)}
    # A closed object sees only the keys it names itself, so it would allow no other.
    if whole.get("additionalProperties") is False and not whole.get("properties"):
        clashes |= {"properties"} if part.get("properties") else set()
    if clashes:
        raise UserError(
            f"An allOf and what stands beside it both say {', '.join(sorted(clashes))};"
            " write them as one schema."
        )
    beside = {
        key: value for key, value in whole.items() if key not in part or key in _NOTES
    }
    return {**part, **beside}


def _beside_reference(node: JSONObject) -> JSONObject:
    return {key: value for key, value in node.items() if key != "$ref"}


def same_json(left: Any, right: Any) -> bool:
    """Compare as JSON does: 1 and 1.0 are equal, 1 and true are not."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(
            same_json(value, right[key]) for key, value in left.items()
        )
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same_json, left, right))
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def _is_object(node: JSONObject) -> bool:
    kind = node.get("type")
    return kind == "object" or (isinstance(kind, list) and "object" in kind)


def _children(node: JSONObject, key: str, kind: type[Any]) -> Any:
    """Return what `node` holds under `key`, or nothing where it is of no use."""
    found = node.get(key)
    return found if isinstance(found, kind) else kind()


def _replace(node: JSONObject, content: JSONObject) -> None:
    """Give `node` other content, so that what refers to it sees it too."""
    node.clear()
    node.update(content)


def _check_depth(schema: JSONObject) -> None:
    """Raise UserError for what is nested too deep to copy."""
    level: list[Any] = [schema]
    for _ in range(MAX_DEPTH):
        children = [
            child
            for part in level
            for child in (part.values() if isinstance(part, dict) else part)
            if isinstance(child, dict | list)
        ]
        if not children:
            return
        level = list({id(child): child for child in children}.values())
    raise UserError(_TOO_DEEP)
