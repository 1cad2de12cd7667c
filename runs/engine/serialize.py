"""A RunState as plain JSON: how it is written. `restore` reads it."""

from __future__ import annotations

import copy
import dataclasses
import json
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .calls import OpenCall, Verdict
from .digest import JSONObject
from .errors import UserError
from .usage import Usage

if TYPE_CHECKING:
    from .state import RunState

CURRENT_SCHEMA_VERSION = "1.0"
SCHEMA_VERSION_SUMMARIES = {"1.0": "Items once, head with open calls only."}
SUPPORTED_SCHEMA_VERSIONS = frozenset(SCHEMA_VERSION_SUMMARIES)


def head_of(
    state: RunState[Any],
    *,
    context_serializer: Callable[[Any], Any] | None = None,
    strict_context: bool = False,
) -> JSONObject:
    """Return everything but the items; its size does not grow with the run."""
    return {
        "$schemaVersion": CURRENT_SCHEMA_VERSION,
        "run_id": state.run_id,
        "agent": state.root_agent.name,
        "current_agent": state.current_agent.name,
        "turn": state.turn,
        "max_turns": state.max_turns,
        "is_done": state.is_done,
        "final_output": state.final_output,
        "last_response_id": state.last_response_id,
        "open": [_open_call(open_call) for open_call in state.open.values()],
        "sticky": [
            {
                "agent_path": sticky.agent_path,
                "tool": sticky.tool,
                "verdict": _verdict(sticky.verdict),
            }
            for sticky in state.sticky
        ],
        "input_count": state.input_count,
        "pending_input": list(state.pending_input),
        "usage": state.usage.totals(),
        "context": _context(state.context.context, context_serializer, strict_context),
    }


def to_json(
    state: RunState[Any],
    *,
    context_serializer: Callable[[Any], Any] | None = None,
    strict_context: bool = False,
) -> JSONObject:
    head = head_of(
        state, context_serializer=context_serializer, strict_context=strict_context
    )
    return copy.deepcopy(
        {
            **head,
            "history": list(state.history),
            "items": [item.to_entry() for item in state.all_items],
            "responses": list(state.responses),
        }
    )


def to_string(state: RunState[Any], **options: Any) -> str:
    return json.dumps(to_json(state, **options), indent=2)


def copy_of(usage: Usage) -> Usage:
    """Return a usage of its own."""
    return copy.deepcopy(usage)


def _open_call(open_call: OpenCall) -> JSONObject:
    call = open_call.call
    return {
        "key": call.key,
        "tool": call.tool,
        "agent_path": call.agent_path,
        "schema_hash": call.schema_hash,
        "digest": call.digest,
        "gated": call.gated,
        "why": call.why,
        "in_doubt": open_call.in_doubt,
        "verdict": open_call.verdict and _verdict(open_call.verdict),
    }


def _verdict(verdict: Verdict) -> JSONObject:
    return {"kind": str(verdict.kind), "message": verdict.message}


def _context(
    context: Any, serializer: Callable[[Any], Any] | None, strict: bool
) -> JSONObject:
    if serializer is not None:
        written = serializer(context)
        if isinstance(written, str):
            return {"text": written}
        if not isinstance(written, Mapping):
            raise UserError(
                f"The context serializer gave {type(written).__name__}; "
                "it must give a mapping or a text."
            )
        return dict(written)
    if context is None:
        return {}
    if isinstance(context, Mapping):
        return dict(context)
    name = type(context).__name__
    if strict:
        raise UserError(f"A context of {name} needs a context_serializer.")
    if dataclasses.is_dataclass(context) and not isinstance(context, type):
        warnings.warn(
            f"The context {name} is written as a dict and read back as one; "
            "pass a context_serializer.",
            stacklevel=2,
        )
        return dataclasses.asdict(context)
    warnings.warn(
        f"The context {name} is not written; pass a context_serializer.", stacklevel=2
    )
    return {}
