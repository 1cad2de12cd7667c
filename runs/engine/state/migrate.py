"""The versions of a stored state, and the way from each to the next.

A version once released is read for ever: tests/engine/fixtures holds states as each
version wrote them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from ..digest import JSONObject
from ..errors import RunStateVersionError

SCHEMA_VERSION_SUMMARIES = {
    "1.0": "Items once, head with open calls only.",
    "1.1": "Handoffs, nested agents, guardrail results, views, server conversations.",
}
"""What each version brought, oldest first."""

SUPPORTED_SCHEMA_VERSIONS = frozenset(SCHEMA_VERSION_SUMMARIES)
CURRENT_SCHEMA_VERSION = "1.1"

SERIALIZED_TEXT = "$text"
"""Key of a context that its serializer wrote as a text."""


def _from_1_0(state: JSONObject) -> JSONObject:
    # Input guardrails did not exist: whatever was begun had nothing to pass.
    context = state.get("context")
    if isinstance(context, dict) and context.keys() == {"text"}:
        context = {SERIALIZED_TEXT: context["text"]}
    return {
        **state,
        "$schemaVersion": "1.1",
        "input_checked": True,
        "context": context,
    }


_TO_NEXT: dict[str, Callable[[JSONObject], JSONObject]] = {"1.0": _from_1_0}


def migrate_state(state: Mapping[str, Any]) -> JSONObject:
    """Return a state, or a head, of any supported version as the current one.

    `state` itself is left as it is. Raises RunStateVersionError on a version that this
    engine does not read.
    """
    check_version(state.get("$schemaVersion"))
    migrated = dict(state)
    while (version := migrated["$schemaVersion"]) != CURRENT_SCHEMA_VERSION:
        migrated = _TO_NEXT[version](copy.copy(migrated))
    return migrated


def check_version(found: object) -> None:
    """Raise RunStateVersionError unless this engine reads schema version `found`."""
    pair = version_pair(found)
    if pair > version_pair(CURRENT_SCHEMA_VERSION) or (
        found not in SUPPORTED_SCHEMA_VERSIONS
    ):
        raise RunStateVersionError(found, CURRENT_SCHEMA_VERSION)


def version_pair(version: object) -> tuple[int, int]:
    """Return `"1.10"` as (1, 10). Raises RunStateVersionError on anything else."""
    parts = version.split(".") if isinstance(version, str) else []
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() for part in parts):
        raise RunStateVersionError(version, CURRENT_SCHEMA_VERSION)
    return int(parts[0][:9]), int(parts[1][:9])
