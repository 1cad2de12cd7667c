"""A run as plain data: what two packages must agree on, and nothing else.

Ids come from the script, so they are compared as they are. An error counts by the
class of it that the SDK knows, and by its attributes: its sentence is each package's
own, as are the sentences in `wording`.
"""

from __future__ import annotations

import builtins
import dataclasses
import enum
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from pydantic import BaseModel

from .wording import OURS, SDK

OUR_OWN_EVENTS = {
    "approval_requested": "promise 10: an approval event in the stream",
    "approval_resolved": "promise 10: an approval event in the stream",
    "input_added": "a message that came in meanwhile is shown as it is taken",
    "turn_started_stream_event": "says which text of a cut stream is withdrawn",
}
"""Events that the SDK does not have, each with what it is for; not compared."""

SAID: set[str] = set()
"""The patterns of sentences that were met so far."""

_ERRORS = [
    "AgentsException",
    "MaxTurnsExceeded",
    "ModelBehaviorError",
    "ModelRefusalError",
    "ModelTimeoutError",
    "UserError",
    "InputGuardrailTripwireTriggered",
    "OutputGuardrailTripwireTriggered",
    "ToolInputGuardrailTripwireTriggered",
    "ToolOutputGuardrailTripwireTriggered",
    "ToolTimeoutError",
    "MCPToolCancellationError",
]


def plain(value: Any) -> Any:
    """Return `value` as JSON data; what has no such form, by its type's name."""
    if isinstance(value, str):
        return reworded(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="json", exclude_none=True))
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            each.name: plain(getattr(value, each.name))
            for each in dataclasses.fields(value)
        }
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes):
        return [plain(each) for each in value]
    return f"<{type(value).__name__}>"


def reworded(text: str) -> str:
    """Return `text` with each package's own sentences under a common name."""
    for pattern, name in (SDK | OURS).items():
        text, found = re.subn(pattern, name, text, flags=re.DOTALL)
        if found:
            SAID.add(pattern)
    return re.sub(r"(?m)^(\d+\. )(\{.*\})$", _sorted, text)


def _sorted(line: re.Match[str]) -> str:
    """Return a line of a nested history with the keys of its item in order."""
    return line[1] + json.dumps(json.loads(line[2]), sort_keys=True)


def request(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a snapshot of what a model was asked."""
    settings = arguments["model_settings"].to_json_dict()
    return {
        "instructions": plain(arguments["system_instructions"]),
        "input": plain(arguments["input"]),
        "settings": {
            key: plain(value) for key, value in settings.items() if value is not None
        },
        "tools": [tool(each) for each in arguments["tools"]],
        "handoffs": [
            {
                "name": each.tool_name,
                "description": plain(each.tool_description),
                "schema": plain(each.input_json_schema),
                "strict": each.strict_json_schema,
            }
            for each in arguments["handoffs"]
        ],
        "output_schema": output_schema(arguments["output_schema"]),
        "tracing": arguments["tracing"].name,
        "previous_response_id": arguments.get("previous_response_id"),
        "conversation_id": arguments.get("conversation_id"),
        "prompt": plain(arguments.get("prompt")),
    }


def tool(each: Any) -> dict[str, Any]:
    if not hasattr(each, "params_json_schema"):
        return {"hosted": type(each).__name__, "name": each.name}
    return {
        "name": each.name,
        "description": plain(each.description),
        "schema": plain(each.params_json_schema),
        "strict": each.strict_json_schema,
    }


def output_schema(schema: Any) -> Any:
    if schema is None:
        return None
    if schema.is_plain_text():
        return {"name": schema.name(), "plain": True}
    return {
        "name": schema.name(),
        "plain": False,
        "strict": schema.is_strict_json_schema(),
        "schema": plain(schema.json_schema()),
    }


def item(each: Any) -> dict[str, Any]:
    """Return a run item: its type, whose it is, and what it holds."""
    told = {"type": each.type, "agent": each.agent.name, "raw": _raw(each.raw_item)}
    if each.type == "tool_call_output_item":
        told["output"] = plain(each.output)
    if each.type == "handoff_output_item":
        told["from"] = each.source_agent.name
        told["to"] = each.target_agent.name
    if each.type == "tool_approval_item":
        told["raw"] = None
        told |= approval(each)
    return told


def _raw(raw: Any) -> Any:
    """Return a raw item; a missing value and a null one are the same."""
    told = plain(raw)
    if isinstance(told, dict):
        return {key: value for key, value in told.items() if value is not None}
    return told


def approval(each: Any) -> dict[str, Any]:
    return {
        "name": each.name,
        "tool_name": each.tool_name,
        "qualified_name": each.qualified_name,
        "arguments": each.arguments,
        "call_id": each.call_id,
        "agent": each.agent.name,
    }


def usage(each: Any) -> dict[str, Any]:
    return {
        "requests": each.requests,
        "input_tokens": each.input_tokens,
        "cached_tokens": each.input_tokens_details.cached_tokens,
        "output_tokens": each.output_tokens,
        "reasoning_tokens": each.output_tokens_details.reasoning_tokens,
        "total_tokens": each.total_tokens,
        "entries": len(each.request_usage_entries),
    }


def guardrails(run: Any) -> dict[str, Any]:
    """Return the results of the four kinds that a result or a run's data holds."""
    kinds = ("input", "output", "tool_input", "tool_output")
    return {
        kind: [_guardrail(each) for each in getattr(run, f"{kind}_guardrail_results")]
        for kind in kinds
    }


def _guardrail(each: Any) -> dict[str, Any]:
    told = each.output
    return {
        "name": each.guardrail.get_name(),
        "info": plain(told.output_info),
        "tripped": getattr(told, "tripwire_triggered", None),
        "behavior": plain(getattr(told, "behavior", None)),
    }


def result(package: str, run: Any) -> dict[str, Any]:
    told = {
        "final_output": plain(run.final_output),
        "final_type": type(run.final_output).__name__,
        "new_items": [item(each) for each in run.new_items],
        "interruptions": [approval(each) for each in run.interruptions],
        "last_agent": run.last_agent.name,
        "usage": usage(run.context_wrapper.usage),
        "responses": [each.response_id for each in run.raw_responses],
        "last_response_id": run.last_response_id,
        "input_list": plain(run.to_input_list()),
        "guardrails": guardrails(run),
        "max_turns": run.max_turns,
    }
    if hasattr(run, "stream_events"):
        told["current_turn"] = run.current_turn
        told["is_complete"] = run.is_complete
        told["current_agent"] = run.current_agent.name
        told["loop_error"] = type(run.run_loop_exception).__name__
    return told


def error(package: str, raised: BaseException) -> dict[str, Any]:
    """Return an error: its first class that both packages know, and its data."""
    known = [
        cls.__name__
        for cls in type(raised).__mro__
        if cls.__name__ in _ERRORS
        or hasattr(builtins, cls.__name__)
        or cls.__module__.startswith("openai")
    ]
    told: dict[str, Any] = {"class": known[0], "is_agents": "AgentsException" in known}
    for name in ("tool_name", "timeout_seconds", "refusal"):
        if hasattr(raised, name):
            told[name] = getattr(raised, name)
    if (tripped := getattr(raised, "guardrail_result", None)) is not None:
        told["guardrail"] = _guardrail(tripped)
    elif getattr(raised, "guardrail", None) is not None:
        told["guardrail"] = plain(getattr(raised, "output", None))
    data = getattr(raised, "run_data", None)
    told["run_data"] = None if data is None else _run_data(data)
    return told


def _run_data(data: Any) -> dict[str, Any]:
    return {
        "input": plain(data.input),
        "new_items": [item(each) for each in data.new_items],
        "responses": [each.response_id for each in data.raw_responses],
        "last_agent": data.last_agent.name,
        "usage": usage(data.context_wrapper.usage),
        "guardrails": guardrails(data),
    }


def event(each: Any) -> Any:
    """Return a stream event as a word or two, or an item's with its item."""
    if each.type == "raw_response_event":
        return f"raw {each.data.type}"
    if each.type == "agent_updated_stream_event":
        return f"agent {each.new_agent.name}"
    if each.type == "run_item_stream_event":
        return f"{each.name} {each.item.type} {_subject(each.item)}".rstrip()
    return str(each.type)


def _subject(each: Any) -> str:
    raw = _raw(each.raw_item)
    return str(raw.get("call_id") or raw.get("id") or "")


def state(package: str, each: Any) -> dict[str, Any]:
    """Return what a paused run remembers: what waits, what was decided, how far."""
    sdk = package == "sdk"
    wrapper = each._context if sdk else each.context
    return {
        "interruptions": [approval(item) for item in each.get_interruptions()],
        "turn": each._current_turn if sdk else each.turn,
        "max_turns": each._max_turns if sdk else each.max_turns,
        "agent": (each._current_agent if sdk else each.current_agent).name,
        "responses": len(each._model_responses if sdk else each.model_responses),
        "pending_input": plain(each.pending_input),
        "tools_used": plain(each.get_tool_use_tracker_snapshot()),
        "usage": usage(wrapper.usage),
        "context": plain(wrapper.context),
        "decisions": {
            item.call_id: wrapper.get_approval_status(
                item.tool_name, item.call_id, existing_pending=item
            )
            for item in each.get_interruptions()
        },
    }


def comparable(told: Any) -> Any:
    """Return a record without what only one side has, for a reason.

    Events of OUR_OWN_EVENTS. Where approval items stand among the new items: ours makes
    them from the calls that wait, after all else (decision 0006); the SDK leaves them
    between the outputs, also those of calls that wait no more.
    """
    if isinstance(told, dict):
        told = {key: comparable(value) for key, value in told.items()}
        if "new_items" in told:
            waiting = [each["call_id"] for each in told.get("interruptions", [])]
            asking = [each for each in told["new_items"] if _asks(each)]
            told["new_items"] = [
                *(each for each in told["new_items"] if not _asks(each)),
                *(each for each in asking if each["call_id"] in waiting),
            ]
        return told
    if isinstance(told, list):
        return [
            comparable(each)
            for each in told
            if not (isinstance(each, str) and each.split(" ")[0] in OUR_OWN_EVENTS)
        ]
    return told


def _asks(new_item: Any) -> bool:
    return bool(new_item["type"] == "tool_approval_item")


def differing(sdk: Any, ours: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (path, the SDK's, ours) wherever two records differ, as deep as can be.

    A run that failed on one side only, or items of two types, differ as a whole.
    """
    if isinstance(sdk, dict) and isinstance(ours, dict) and _alike(sdk, ours):
        for key in sorted({*sdk, *ours}):
            yield from differing(
                sdk.get(key, "<absent>"),
                ours.get(key, "<absent>"),
                f"{path}.{key}" if path else key,
            )
    elif isinstance(sdk, list) and isinstance(ours, list):
        pairs = zip_longest(sdk, ours, fillvalue="<absent>")
        for index, (left, right) in enumerate(pairs):
            yield from differing(left, right, f"{path}.{index}")
    elif isinstance(sdk, bool) != isinstance(ours, bool) or sdk != ours:
        yield path, sdk, ours


def _alike(sdk: dict[str, Any], ours: dict[str, Any]) -> bool:
    return ("error" in sdk) == ("error" in ours) and sdk.get("type") == ours.get("type")
