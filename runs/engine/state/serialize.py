"""A RunState as plain JSON: how it is written. `restore` reads it."""

from __future__ import annotations

import copy
import dataclasses
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..calls import OpenCall, StickyVerdict, Verdict
from ..digest import JSONObject
from ..errors import UserError
from ..loop.answer import plain_output
from ..usage import Usage
from .edits import schema_of
from .guardrail_log import results_to_json
from .migrate import CURRENT_SCHEMA_VERSION, SERIALIZED_TEXT

if TYPE_CHECKING:
    from .run_state import RunState
    from .view import View


_SHARED = {str, int, float, bool, type(None)}
"""Types of JSON whose values cannot be changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """How a state is written."""

    context_serializer: Callable[[Any], Any] | None = None
    strict_context: bool = False
    include_tracing_api_key: bool = False
    whole: bool = False
    """True: with the items; False: the head alone."""


def head_of(state: RunState[Any], **options: Any) -> JSONObject:
    """Return everything but the items; its size does not grow with the run."""
    return _head(state, _writing(state, **options))


def to_json(state: RunState[Any], **options: Any) -> JSONObject:
    try:
        written: JSONObject = _own(
            _whole(state, _writing(state, whole=True, **options))
        )
    except RecursionError as error:
        raise UserError(
            "The state cannot be written: its context holds itself, or is nested too "
            "deep; give a context_serializer that writes what matters of it."
        ) from error
    return written


def _own(value: Any) -> Any:
    """Return a copy of plain JSON, four times as fast as `deepcopy`.

    What is of another type, as the application's context may be, is left to that.
    """
    kind = type(value)
    if kind in _SHARED:
        return value
    if kind is dict:
        return {key: _own(inside) for key, inside in value.items()}
    if kind is list:
        return [_own(inside) for inside in value]
    return copy.deepcopy(value)


def to_string(state: RunState[Any], **options: Any) -> str:
    return json.dumps(to_json(state, **options), indent=2)


def _writing(
    state: RunState[Any], *, context_serializer: Any = None, **options: Any
) -> Writing:
    """Return how `state` is written: the serializer it remembers is its default."""
    serializer = context_serializer or state.context_serializer
    return Writing(context_serializer=serializer, **options)


def copy_of(usage: Usage) -> Usage:
    """Return a usage of its own."""
    return copy.deepcopy(usage)


def view_of(state: RunState[Any]) -> JSONObject:
    """Return the view the model has now, as JSON, with where it stands in the log."""
    view, items = state.transcript.view, state.transcript.items
    if view is None:
        raise ValueError("The model reads everything; there is no view to write.")
    return {"at": len(items), **view.to_json(items)}


def _whole(state: RunState[Any], how: Writing) -> JSONObject:
    whole = {
        **_head(state, how),
        "history": list(state.history),
        "items": [item.to_entry() for item in state.transcript.items],
        "responses": list(state.responses),
    }
    if guardrails := results_to_json(state.guardrails):
        whole["guardrails"] = guardrails
    if state.transcript.view is not None:
        whole["view"] = _view_since(state, state.transcript.view)
    return whole


def _view_since(state: RunState[Any], last: View) -> JSONObject:
    # Items appended after the view are not part of it, so that it need not be kept
    # apart: the items of the run that it does not name come after it.
    transcript = state.transcript
    view = dataclasses.replace(
        last,
        base=transcript.base,
        shown=transcript.shown,
        listed=transcript.listed or [],
    )
    return {"at": len(transcript.items), **view.to_json(transcript.items)}


def _head(state: RunState[Any], how: Writing) -> JSONObject:
    head: JSONObject = {
        "$schemaVersion": CURRENT_SCHEMA_VERSION,
        "run_id": state.run_id,
        "agent": state.root_agent.name,
        "current_agent": state.agent_key,
        "turn": state.turn,
        "max_turns": state.max_turns,
        "is_done": state.is_done,
        "final_output": plain_output(state.final_output),
        "last_response_id": state.last_response_id,
        "input_checked": state.input_checked,
        "open": [
            _open_call(state, open_call, how) for open_call in state.open.values()
        ],
        "sticky": [_sticky(sticky) for sticky in state.sticky],
        "input_count": state.input_count,
        "pending_input": list(state.pending_input),
        "usage": state.usage.totals(),
        "session_saved": state.session_saved,
    }
    if state.parent is None:
        head["context"] = _context(state.context.context, how)
    return head | _rarely(state, how)


def _rarely(state: RunState[Any], how: Writing) -> JSONObject:
    """Return what most runs have nothing of."""
    found: JSONObject = {}
    if state.answer is not None:
        output = plain_output(state.answer.output)
        found["answer"] = {"output": output, "from_tools": state.answer.from_tools}
    if state.input_is_text:
        found["input_is_text"] = True
    if state.parent is not None and state.history:
        # What its session gave it; the root's is read anew wherever it is kept.
        found["history"] = list(state.history)
    if state.session_id is not None:
        found["session_id"] = state.session_id
    if state.stop_reason is not None:
        found["stop_reason"] = state.stop_reason
    if state.server is not None:
        found["server"] = state.server.to_json()
    if state.context.tool_input is not None:
        found["tool_input"] = plain_output(state.context.tool_input)
    if state.transcript.reasoning_ids is not None:
        found["reasoning_ids"] = state.transcript.reasoning_ids
    if state._tools_used is not None:
        found["tools_used"] = state.get_tool_use_tracker_snapshot()
    if started := state._started & _open_keys(state):
        found["started"] = sorted(started)
    if state.trace_state is not None:
        found["trace"] = state.trace_state.to_json(
            include_tracing_api_key=how.include_tracing_api_key
        )
    return found


def _open_keys(state: RunState[Any]) -> set[str]:
    return {open_call.call.key for _, open_call in state.open_calls_below()}


def _open_call(state: RunState[Any], open_call: OpenCall, how: Writing) -> JSONObject:
    call = open_call.call
    written = {
        "key": call.key,
        "kind": str(call.kind),
        "tool": call.tool,
        "agent_path": call.agent_path,
        "schema_hash": call.schema_hash,
        "digest": call.digest,
        "gated": call.gated,
        "why": call.why,
        "in_doubt": open_call.in_doubt,
        "verdict": open_call.verdict and _verdict(open_call.verdict),
    }
    if call.gated:
        # To say what has changed, should the tool have changed when it is read.
        written["schema"] = schema_of(state.tool_named(call.tool))
    if open_call.gone:
        written |= {"gone": True, "started": open_call.started}
    if open_call.nested is not None:
        write = _whole if how.whole else _head
        written["nested"] = write(open_call.nested, how)
    return written


def _sticky(sticky: StickyVerdict) -> JSONObject:
    written: JSONObject = {
        "agent_path": sticky.agent_path,
        "tool": sticky.tool,
        "verdict": _verdict(sticky.verdict),
    }
    if sticky.schema_hash is not None:
        written["schema_hash"] = sticky.schema_hash
    return written


def _verdict(verdict: Verdict) -> JSONObject:
    written: JSONObject = {"kind": str(verdict.kind), "message": verdict.message}
    if verdict.arguments is not None:
        written["arguments"] = verdict.arguments
    if verdict.digest is not None:
        written["digest"] = verdict.digest
    if verdict.note is not None:
        written["note"] = verdict.note
    if verdict.stop:
        written["stop"] = True
    return written


def _context(context: Any, how: Writing) -> JSONObject | None:
    if how.context_serializer is not None:
        return _serialized(how.context_serializer(context))
    if context is None:
        return None
    if isinstance(context, Mapping):
        return dict(context)
    name = type(context).__name__
    if how.strict_context:
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


def _serialized(written: Any) -> JSONObject:
    if isinstance(written, str):
        return {SERIALIZED_TEXT: written}
    if not isinstance(written, Mapping):
        raise UserError(
            f"The context serializer gave {type(written).__name__}; "
            "it must give a mapping or a text."
        )
    return dict(written)
