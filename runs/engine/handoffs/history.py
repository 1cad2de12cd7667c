"""Nesting: the next agent reads what came before as a summary, not as its own turns.

A summary is one assistant message with a numbered line for each item, between two
markers. One that is nested again is taken apart first, so that there is never a summary
inside a summary.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from ..digest import JSONObject
from ..errors import UserError

if TYPE_CHECKING:
    from ..items import RunItem
    from .handoff import HandoffInputData

HandoffHistoryMapper: TypeAlias = Callable[[list[JSONObject]], list[JSONObject]]
"""From the whole transcript to what the next agent reads of it."""

_DEFAULT_WRAPPERS = ("<CONVERSATION HISTORY>", "</CONVERSATION HISTORY>")
_PREAMBLE = (
    "For context, here is the conversation so far between the user and the previous "
    "agent:"
)
_NOTHING = "(no previous turns recorded)"
_SUMMARIZED = {"function_call", "function_call_output", "reasoning"}
"""Never sent on: without their neighbours a model's server refuses them."""
_ROLES = ("user", "assistant", "system", "developer")

_NUMBER = re.compile(r"^\d+\. ", re.MULTILINE)
_MESSAGE = re.compile(
    rf"(?P<role>{'|'.join(_ROLES)})(?: \((?P<name>[^()\n]+)\))?:(?: (?P<content>.*))?",
    re.DOTALL,
)

_wrappers = _DEFAULT_WRAPPERS


def set_conversation_history_wrappers(
    *, start: str | None = None, end: str | None = None
) -> None:
    """Change the markers around a summary, for the whole process; None keeps one."""
    global _wrappers
    _wrappers = (
        _wrappers[0] if start is None else start,
        _wrappers[1] if end is None else end,
    )


def reset_conversation_history_wrappers() -> None:
    """Go back to the default markers."""
    global _wrappers
    _wrappers = _DEFAULT_WRAPPERS


def get_conversation_history_wrappers() -> tuple[str, str]:
    """Return the markers before and after a summary."""
    return _wrappers


def nest_handoff_history(
    handoff_input_data: HandoffInputData,
    *,
    history_mapper: HandoffHistoryMapper | None = None,
) -> HandoffInputData:
    """Return the data with all that came before in `input_history`, mostly as summary.

    What a person said and what hosted tools did is sent on as it is, at its place; the
    rest becomes summaries. A `history_mapper` decides instead about the whole. The new
    items stay, for the session; `input_items` is empty, as the history holds them.
    A summary hides nothing: filter the data first where something must not be read.
    Raises UserError when the mapper gives no list.
    """
    data = handoff_input_data
    earlier = _unnested(data.input_history)
    marked = [
        *_marked(data.pre_handoff_items, _stays_of_earlier),
        *_marked(data.new_items, _may_stay),
    ]
    if history_mapper is None:
        history = _summarized_between(earlier, marked)
    else:
        history = history_mapper([*earlier, *(item for item, _ in marked)])
        if not isinstance(history, list | tuple):
            raise UserError(
                f"The history mapper returned {type(history).__name__}; "
                "it must return a list of items."
            )
    return data.clone(
        input_history=tuple(history),
        pre_handoff_items=(),
        input_items=(),
    )


def default_handoff_history_mapper(transcript: list[JSONObject]) -> list[JSONObject]:
    """Return one assistant message that lists the transcript's items."""
    start, end = _wrappers
    lines = [
        f"{number}. {_line(item)}" for number, item in enumerate(transcript, start=1)
    ]
    content = "\n".join([_PREAMBLE, start, *(lines or [_NOTHING]), end])
    return [{"role": "assistant", "content": content}]


def _summarized_between(
    earlier: list[JSONObject], marked: Iterable[tuple[JSONObject, bool]]
) -> list[JSONObject]:
    history: list[JSONObject] = []
    unsaid = earlier
    for item, stays in marked:
        if not stays:
            unsaid.append(item)
            continue
        if unsaid or not history:
            history += default_handoff_history_mapper(unsaid)
            unsaid = []
        history.append(item)
    if unsaid or not history:
        history += default_handoff_history_mapper(unsaid)
    return history


def _marked(
    items: Sequence[RunItem], stays: Callable[[JSONObject], bool]
) -> list[tuple[JSONObject, bool]]:
    """Return what a model reads of `items`, each with whether it stays as it is."""
    read = [
        _replayable(item.to_input_item())
        for item in items
        if item.type != "tool_approval_item"
    ]
    return [(item, stays(item)) for item in read]


def _stays_of_earlier(item: JSONObject) -> bool:
    return item.get("role") != "assistant" and _may_stay(item)


def _may_stay(item: JSONObject) -> bool:
    # What belongs to a hosted program makes no sense without all of it.
    caller = item.get("caller")
    if isinstance(caller, dict) and caller.get("type") == "program":
        return False
    return item.get("type") not in {*_SUMMARIZED, "program", "program_output"}


def _replayable(item: JSONObject) -> JSONObject:
    """Return a copy without what only an answer may hold."""
    kept = {key: part for key, part in item.items() if key != "created_by"}
    if kept.get("status", ...) is None:
        del kept["status"]
    return copy.deepcopy(kept)


def _line(item: JSONObject) -> str:
    """Return the item in one line, from which `_parsed` makes it again."""
    role, name, content = (
        item.get("role"),
        item.get("name") or None,
        item.get("content"),
    )
    if role in _ROLES and _fits_line(content):
        line = f"{f'{role} ({name})' if name else role}: {content or ''}"
        read = _MESSAGE.fullmatch(line)
        # A name may hold what ends it; such a line would not be read as it was meant.
        if read and read["name"] == name:
            return line
    told = {key: part for key, part in item.items() if key != "provider_data"}
    return json.dumps(told, ensure_ascii=False, default=str)


def _fits_line(content: object) -> bool:
    if isinstance(content, str):
        return "\n" not in content and "\r" not in content
    return content is None


def _unnested(history: str | Sequence[JSONObject]) -> list[JSONObject]:
    if isinstance(history, str):
        return [{"content": history, "role": "user"}]
    found: list[JSONObject] = []
    for item in history:
        inside = _summarized_in(item)
        found += [_replayable(item)] if inside is None else inside
    return found


def _summarized_in(item: JSONObject) -> list[JSONObject] | None:
    """Return the items of a summary; None for a message that is none.

    One with a line that cannot be read is none: it is kept whole rather than in part.
    """
    start, end = _wrappers
    content = item.get("content")
    opening, closing = f"{_PREAMBLE}\n{start}\n", f"\n{end}"
    if item.get("role") != "assistant" or not isinstance(content, str):
        return None
    if not content.startswith(opening) or not content.endswith(closing):
        return None
    body = content[len(opening) : -len(closing)]
    if body == _NOTHING:
        return []
    before, *lines = _NUMBER.split(body)
    found = [read for line in lines if (read := _parsed(line)) is not None]
    return found if not before and len(found) == len(lines) else None


def _parsed(line: str) -> JSONObject | None:
    line = line.removesuffix("\n")
    if line.startswith("{"):
        try:
            item = json.loads(line)
        except ValueError:
            return None
        return item if isinstance(item, dict) else None
    if (message := _MESSAGE.fullmatch(line)) is None:
        return None
    named = {"name": message["name"]} if message["name"] else {}
    return {"role": message["role"], **named, "content": message["content"] or ""}
