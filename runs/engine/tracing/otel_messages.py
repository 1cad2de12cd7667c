"""Items of the openai client as messages of OpenTelemetry's GenAI conventions.

A message has a `role` and `parts`; an output message also a `finish_reason`. Images,
audio and files stay out, only their kind is told: an attribute is no place for them.
Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/ (input and output messages).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

JSONObject = dict[str, Any]
_FINISH_REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}


def input_messages(given: object) -> list[JSONObject]:
    """Return what a model was given: a text, or items, as messages."""
    if isinstance(given, str):
        return [{"role": "user", "parts": [_text(given)]}]
    return [_message(item) for item in _items(given)]


def output_messages(output: object, incomplete: str | None = None) -> list[JSONObject]:
    """Return what a model answered as one message; none for an empty answer.

    `incomplete` is the reason the server gave for stopping early.
    """
    parts = [part for item in _items(output) for part in _message(item)["parts"]]
    if not parts:
        return []
    reason = "stop"
    if incomplete is not None:
        reason = _FINISH_REASONS.get(incomplete, incomplete)
    elif any(part["type"] == "tool_call" for part in parts):
        reason = "tool_call"
    return [{"role": "assistant", "parts": parts, "finish_reason": reason}]


def _items(given: object) -> Iterable[JSONObject]:
    for each in given if isinstance(given, list | tuple) else ():
        item = _as_dict(each)
        if item.get("object") == "response":  # a whole answer, kept as one item
            yield from _items(item.get("output"))
        elif item:
            yield item


def _as_dict(item: object) -> JSONObject:
    if isinstance(item, BaseModel):
        return item.model_dump(mode="json", exclude_none=True, warnings=False)
    return dict(item) if isinstance(item, Mapping) else {}


def _message(item: JSONObject) -> JSONObject:
    kind = item.get("type")
    if kind == "function_call":
        return {"role": "assistant", "parts": [_call(item.get("call_id"), item)]}
    if kind == "function_call_output":
        response = _response(item.get("call_id"), item.get("output"))
        return {"role": "tool", "parts": [response]}
    if kind == "reasoning":
        texts = _parts(item.get("summary")) + _parts(item.get("content"))
        parts = [part | {"type": "reasoning"} for part in texts]
        return {"role": "assistant", "parts": parts}
    if item.get("role") == "tool":
        response = _response(item.get("tool_call_id"), item.get("content"))
        return {"role": "tool", "parts": [response]}
    if "role" not in item:
        return {"role": "assistant", "parts": [{"type": str(kind)}]}
    calls = [_as_dict(call) for call in item.get("tool_calls") or ()]
    parts = _parts(item.get("content")) + _parts(item.get("refusal"))
    parts += [_call(call.get("id"), _as_dict(call.get("function"))) for call in calls]
    return {"role": str(item["role"]), "parts": parts}


def _parts(content: object) -> list[JSONObject]:
    if isinstance(content, str):
        return [_text(content)]
    if not isinstance(content, list | tuple):
        return []
    return [_part(_as_dict(part)) for part in content]


def _part(part: JSONObject) -> JSONObject:
    for key in ("text", "refusal"):
        if isinstance(part.get(key), str):
            return _text(part[key])
    return {"type": str(part.get("type"))}


def _text(text: str) -> JSONObject:
    return {"type": "text", "content": text}


def _call(call_id: object, call: JSONObject) -> JSONObject:
    return {
        "type": "tool_call",
        "id": call_id,
        "name": call.get("name"),
        "arguments": call.get("arguments"),
    }


def _response(call_id: object, output: object) -> JSONObject:
    texts = output if isinstance(output, str) else _parts(output)
    return {"type": "tool_call_response", "id": call_id, "response": texts}
