"""What a scripted model says: output items, and the events they are streamed as.

Everything here is the openai client's, so both sides are given the same objects.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from openai.types.responses import (
    Response,
    ResponseOutputItem,
    ResponseStreamEvent,
)
from pydantic import TypeAdapter

_ITEM: TypeAdapter[ResponseOutputItem] = TypeAdapter(ResponseOutputItem)
_EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)

INPUT_TOKENS, CACHED_TOKENS, OUTPUT_TOKENS, REASONING_TOKENS = 10, 4, 5, 2
USAGE = {
    "input_tokens": INPUT_TOKENS,
    "input_tokens_details": {
        "cached_tokens": CACHED_TOKENS,
        "cache_write_tokens": 0,
    },
    "output_tokens": OUTPUT_TOKENS,
    "output_tokens_details": {"reasoning_tokens": REASONING_TOKENS},
    "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
}


@dataclass(frozen=True, kw_only=True)
class Cut:
    """An answer whose stream ends early, with `error` or with nothing."""

    items: Sequence[Any]
    error: Exception | None = None


def item(**fields: Any) -> Any:
    """Return the output item of these fields, typed."""
    return _ITEM.validate_python(fields)


def text(words: str, id: str = "msg_1") -> Any:
    part = {"type": "output_text", "text": words, "annotations": []}
    return item(
        type="message", id=id, role="assistant", status="completed", content=[part]
    )


def refusal(words: str, id: str = "msg_1") -> Any:
    part = {"type": "refusal", "refusal": words}
    return item(
        type="message", id=id, role="assistant", status="completed", content=[part]
    )


def call(name: str, arguments: Any = None, id: str = "c1") -> Any:
    """Return a function call; `arguments` that are a text are sent as they are."""
    written = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
    return item(
        type="function_call",
        id=f"fc_{id}",
        call_id=id,
        name=name,
        arguments=written,
        status="completed",
    )


def reasoning(words: str, id: str = "rs_1") -> Any:
    summary = [{"type": "summary_text", "text": words}]
    return item(type="reasoning", id=id, summary=summary)


def mcp_request(
    id: str = "mcpr_1",
    name: str = "search",
    arguments: str = "{}",
    server: str = "docs",
) -> Any:
    return item(
        type="mcp_approval_request",
        id=id,
        name=name,
        arguments=arguments,
        server_label=server,
    )


def response(id: str, items: Sequence[Any]) -> Response:
    return Response.model_validate(
        {
            "id": id,
            "created_at": 0,
            "model": "scripted",
            "object": "response",
            "status": "completed",
            "output": [each.model_dump(exclude_unset=True) for each in items],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": USAGE,
        }
    )


def events(id: str, items: Sequence[Any]) -> Iterator[Any]:
    """Yield what a Responses server streams for an answer of `items`."""
    for number, fields in enumerate(_events(response(id, items))):
        yield _EVENT.validate_python({**fields, "sequence_number": number})


def _events(whole: Response) -> Iterator[dict[str, Any]]:
    done = whole.model_dump(exclude_unset=True)
    begun = {**done, "output": [], "status": "in_progress", "usage": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, each in enumerate(done["output"]):
        at = {"output_index": index}
        yield {"type": "response.output_item.added", "item": _opening(each), **at}
        yield from ({**event, **at} for event in _inside(each))
        yield {"type": "response.output_item.done", "item": each, **at}
    yield {"type": "response.completed", "response": done}


def _opening(each: dict[str, Any]) -> dict[str, Any]:
    empty: dict[str, Any] = {
        "message": {"content": []},
        "function_call": {"arguments": ""},
    }
    return {**each, **empty.get(each["type"], {})}


def _inside(each: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if each["type"] == "function_call":
        about = {"item_id": each["id"]}
        kind = "response.function_call_arguments"
        yield {"type": f"{kind}.delta", "delta": each["arguments"], **about}
        yield {
            "type": f"{kind}.done",
            "arguments": each["arguments"],
            "name": each["name"],
            **about,
        }
    if each["type"] == "message":
        for number, part in enumerate(each["content"]):
            yield from _part(part, {"item_id": each["id"], "content_index": number})


def _part(part: dict[str, Any], about: dict[str, Any]) -> Iterator[dict[str, Any]]:
    key = "text" if part["type"] == "output_text" else "refusal"
    kind = f"response.{part['type']}"
    logprobs: dict[str, Any] = {"logprobs": []} if key == "text" else {}
    yield {
        "type": "response.content_part.added",
        "part": {**part, key: ""},
        **about,
    }
    for word in part[key].split(" "):
        yield {"type": f"{kind}.delta", "delta": word, **logprobs, **about}
    yield {"type": f"{kind}.done", key: part[key], **logprobs, **about}
    yield {"type": "response.content_part.done", "part": part, **about}
