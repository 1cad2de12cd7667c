"""Between the engine's items, which are those of Responses, and Chat Completions.

Chat servers want each call of an assistant message answered right behind it, and no
answer without its call. So outputs are placed by call id, wherever the items have them;
a call without an output gets a placeholder, an output without its call is left out.
"""

from __future__ import annotations

import json
import uuid
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from pydantic import BaseModel

from ..errors import UserError
from ..hosted.hosted_tools import Tool, namespace_of
from ..tools.tool import FunctionTool

ChatMessage: TypeAlias = dict[str, Any]
Item: TypeAlias = Mapping[str, Any]

PROVIDER_DATA = "provider_data"
"""Holds, in a call's item, what a chat server wants back with it."""

NO_OUTPUT = "(no output was recorded for this call)"
_ROLES = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
}


def fresh_id(prefix: str) -> str:
    """Return a new id such as `call_6f0c…`, never given before."""
    return f"{prefix}_{uuid.uuid4().hex}"


class CallIds:
    """Gives each call of an answer an id that nothing else has."""

    def __init__(self, used: Iterable[str] = ()) -> None:
        self._used = set(used)

    def take(self, proposed: object) -> str:
        """Return `proposed`, or a fresh id where it is missing, blank or used."""
        usable = isinstance(proposed, str) and proposed.strip()
        given = str(proposed) if usable else ""
        if not given or given in self._used:
            given = fresh_id("call")
        self._used.add(given)
        return given


def used_call_ids(items: str | Iterable[Any]) -> set[str]:
    """Return every call id that occurs in a model's input."""
    if isinstance(items, str):
        return set()
    ids = (_as_mapping(item).get("call_id") for item in items)
    return {call_id for call_id in ids if isinstance(call_id, str)}


def to_chat_messages(
    items: str | Iterable[Any], system_instructions: str | None = None
) -> list[ChatMessage]:
    """Return `items` as chat messages, the instructions first.

    Reasoning and items that a chat has no form for are left out.
    """
    messages: list[ChatMessage] = []
    if system_instructions:
        messages.append({"role": "system", "content": system_instructions})
    if isinstance(items, str):
        return [*messages, {"role": "user", "content": items}]
    return messages + _Conversation([_as_mapping(item) for item in items]).messages()


def to_chat_tools(
    tools: Iterable[Tool], handoffs: Iterable[Any] = ()
) -> list[dict[str, Any]]:
    """Return the tools in the form that a chat request takes, the handoffs behind.

    Raises UserError for a tool that only a server with the Responses API knows.
    """
    functions = [_function(tool) for tool in tools]
    functions += [_handoff(handoff) for handoff in handoffs]
    return [{"type": "function", "function": function} for function in functions]


def to_response_format(schema: Any) -> dict[str, Any] | None:
    """Return the chat's `response_format`, or None when any text will do."""
    if schema is None or schema.is_plain_text():
        return None
    return {
        "type": "json_schema",
        "json_schema": {
            "name": "final_output",
            "strict": schema.is_strict_json_schema(),
            "schema": schema.json_schema(),
        },
    }


class _Conversation:
    """Builds the messages of one list of items."""

    def __init__(self, items: list[Item]) -> None:
        self._items = items
        self._outputs: dict[str, deque[Any]] = defaultdict(deque)
        for item in items:
            if _kind(item) == "function_call_output":
                self._outputs[_text_id(item)].append(item.get("output"))
        self._messages: list[ChatMessage] = []
        self._speaking: ChatMessage | None = None
        """The assistant message that further items of the same answer go into."""

    def messages(self) -> list[ChatMessage]:
        for item in self._items:
            self._add(item, _kind(item))
        self._close()
        return self._messages

    def _add(self, item: Item, kind: str) -> None:
        if kind == "function_call":
            self._add_call(item)
        elif kind == "function_call_output":
            self._close()
        elif kind == "message":
            self._add_message(item)

    def _add_message(self, item: Item) -> None:
        role = _ROLES.get(str(item.get("role")), "user")
        if role == "assistant":
            self._say(_plain_text(item.get("content")))
            return
        self._close()
        content = _content(item.get("content"))
        if content:
            self._messages.append({"role": role, "content": content})

    def _say(self, text: str) -> None:
        if not text:
            return
        said = self._open()
        said["content"] = f"{said['content']}\n\n{text}" if said["content"] else text

    def _add_call(self, item: Item) -> None:
        function = {
            "name": str(item.get("name") or ""),
            "arguments": _arguments(item.get("arguments")),
        }
        call = {"id": _text_id(item), "type": "function", "function": function}
        extras = item.get(PROVIDER_DATA)
        if isinstance(extras, Mapping):
            call = {**extras, **call}
        self._open().setdefault("tool_calls", []).append(call)

    def _open(self) -> ChatMessage:
        if self._speaking is None:
            self._speaking = {"role": "assistant", "content": None}
            self._messages.append(self._speaking)
        return self._speaking

    def _close(self) -> None:
        """End the assistant's message, and put the outputs of its calls behind it."""
        said, self._speaking = self._speaking, None
        for call in said.get("tool_calls", []) if said else []:
            outputs = self._outputs[call["id"]]
            content = _as_text(outputs.popleft()) if outputs else NO_OUTPUT
            self._messages.append(
                {"role": "tool", "tool_call_id": call["id"], "content": content}
            )


def _function(tool: Tool) -> dict[str, Any]:
    if not isinstance(tool, FunctionTool):
        raise UserError(
            f"A Chat Completions server knows no {type(tool).__name__}: give function "
            "tools only, or use OpenAIResponsesModel."
        )
    if only_responses := _beyond_chat(tool):
        raise UserError(
            f"Tool {tool.name!r} has {', '.join(only_responses)}, which a Chat "
            "Completions server does not know; use OpenAIResponsesModel."
        )
    return _described(
        tool.name, tool.description, tool.params_json_schema, tool.strict_json_schema
    )


def _handoff(handoff: Any) -> dict[str, Any]:
    return _described(
        handoff.tool_name,
        handoff.tool_description,
        handoff.input_json_schema,
        handoff.strict_json_schema,
    )


def _described(
    name: str, description: str, parameters: dict[str, Any], strict: bool
) -> dict[str, Any]:
    function = {"name": name, "description": description, "parameters": parameters}
    # Many servers know nothing of strict schemas, so only those that ask for it say so.
    return {**function, "strict": True} if strict else function


def _beyond_chat(tool: FunctionTool) -> list[str]:
    named = ["tool_namespace()"] if namespace_of(tool) else []
    late = ["defer_loading"] if getattr(tool, "defer_loading", False) else []
    names = ("allowed_callers", "output_json_schema")
    given = [name for name in names if getattr(tool, name, None) is not None]
    return named + late + given


def _as_mapping(item: Any) -> Item:
    if isinstance(item, BaseModel):
        return item.model_dump(exclude_unset=True)
    return item if isinstance(item, Mapping) else {}


def _kind(item: Item) -> str:
    kind = item.get("type")
    if kind is None and isinstance(item.get("role"), str):
        return "message"
    return str(kind)


def _text_id(item: Item) -> str:
    return str(item.get("call_id") or "")


def _arguments(given: Any) -> str:
    return "{}" if given is None else _as_text(given).strip() or "{}"


def _parts(content: Any) -> list[Any]:
    if content is None:
        return []
    return list(content) if isinstance(content, list | tuple) else [content]


def _part_text(part: Any) -> str | None:
    """Return the text of a part of a message; None when it has none."""
    if isinstance(part, str):
        return part
    for name in ("text", "refusal"):
        value = _as_mapping(part).get(name)
        if isinstance(value, str):
            return value
    return None


def _plain_text(content: Any) -> str:
    return "".join(_part_text(part) or "" for part in _parts(content))


def _content(content: Any) -> str | list[dict[str, Any]]:
    """Return a message's content: text where it is nothing but text, else parts."""
    parts = [_chat_part(part) for part in _parts(content)]
    if all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return parts


def _chat_part(part: Any) -> dict[str, Any]:
    text = _part_text(part)
    if text is not None:
        return {"type": "text", "text": text}
    given = _as_mapping(part)
    kind = given.get("type")
    if kind == "input_image" and given.get("image_url"):
        image = {"url": given["image_url"], "detail": given.get("detail") or "auto"}
        return {"type": "image_url", "image_url": image}
    if kind == "input_file" and (given.get("file_id") or given.get("file_data")):
        names = ("file_id", "file_data", "filename")
        file = {name: given[name] for name in names if given.get(name)}
        return {"type": "file", "file": file}
    if kind == "input_audio" and given.get("input_audio"):
        return {"type": "input_audio", "input_audio": given["input_audio"]}
    # Leaving it out unsaid would have the model answer as if nothing had been sent.
    return {"type": "text", "text": f"(left out: {kind or 'unknown content'})"}


def _as_text(output: Any) -> str:
    """Return a call's output, or its arguments, as the one text a chat takes."""
    if isinstance(output, str):
        return output
    if isinstance(output, list | tuple) and all(
        _part_text(part) is not None for part in output
    ):
        return _plain_text(output)
    try:
        return json.dumps(output, default=str, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return str(output)
