"""The forms of a stored state and of a log's rows, and how they are checked."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..calls import CallKind, OutcomeKind, Verdict, VerdictKind
from ..digest import JSONObject
from ..errors import InvalidRunState
from .guardrail_log import KINDS
from .migrate import migrate_state


class _Stored(BaseModel):
    # Unknown keys may come from a later minor version; they are read over.
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class StoredVerdict(_Stored):
    kind: Literal["approve", "reject", "answer"]
    message: str | None = None
    arguments: str | None = None
    digest: str | None = None
    note: str | None = None
    stop: bool = False

    def verdict(self) -> Verdict:
        return Verdict(
            kind=VerdictKind(self.kind),
            message=self.message,
            arguments=self.arguments,
            digest=self.digest,
            note=self.note,
            stop=self.stop,
        )


class StoredCall(_Stored):
    """An open call; its arguments stand in its item."""

    key: str
    kind: CallKind = Field(default=CallKind.FUNCTION, strict=False)
    tool: str
    agent_path: str
    schema_hash: str
    digest: str
    gated: bool
    why: str = ""
    in_doubt: bool = False
    verdict: StoredVerdict | None = None
    parameters: dict[str, Any] = Field(default_factory=dict, alias="schema")
    nested: StoredState | None = None
    gone: bool = False
    started: bool = False


class StoredSticky(_Stored):
    agent_path: str
    tool: str
    schema_hash: str | None = None
    """None in states of before it was kept."""
    verdict: StoredVerdict


class StoredItem(_Stored):
    type: str
    agent: str
    raw: dict[str, Any] = Field(default_factory=dict)
    key: str = ""
    outcome: OutcomeKind | None = Field(default=None, strict=False)
    target: str = ""
    input_id: str = ""
    custom_data: dict[str, Any] | None = None


class StoredAnswer(_Stored):
    output: Any = None
    from_tools: bool = False


class StoredServer(_Stored):
    conversation_id: str | None = None
    previous_response_id: str | None = None
    auto_previous_response_id: bool = False
    seen: int = Field(default=0, ge=0)


class StoredGuardrail(_Stored):
    kind: Literal[KINDS]  # type: ignore[valid-type]  # a tuple of its literals
    name: str
    info: Any = None
    tripped: bool = False
    agent_output: Any = None
    behavior: dict[str, Any] | None = None


class StoredView(_Stored):
    at: int = Field(ge=0)
    base: list[Any]
    shown: list[Any]
    listed: list[Any]


class StoredOrder(_Stored):
    """Items that are read in another order than they were stored in."""

    start: int = Field(ge=0)
    keys: list[str]


class StoredState(_Stored):
    run_id: str
    agent: str
    current_agent: str
    turn: int = Field(ge=0)
    max_turns: int | None = Field(default=None, ge=1)
    is_done: bool = False
    final_output: Any = None
    answer: StoredAnswer | None = None
    stop_reason: str | None = None
    session_id: str | None = None
    input_checked: bool = False
    last_response_id: str | None = None
    open: list[StoredCall] = Field(default_factory=list)
    sticky: list[StoredSticky] = Field(default_factory=list)
    pending_input: list[dict[str, Any]] = Field(default_factory=list)
    usage: dict[str, int] = Field(default_factory=dict)
    context: dict[str, Any] | None = None
    tool_input: Any = None
    server: StoredServer | None = None
    reasoning_ids: Literal["preserve", "omit"] | None = None
    tools_used: dict[str, list[str]] | None = None
    started: list[str] = Field(default_factory=list)
    trace: dict[str, Any] | None = None
    session_saved: int = Field(default=0, ge=0)
    input_count: int = Field(ge=0)
    input_is_text: bool = False
    history: list[dict[str, Any]] = Field(default_factory=list)
    items: list[StoredItem] = Field(default_factory=list)
    responses: list[dict[str, Any]] = Field(default_factory=list)
    guardrails: list[StoredGuardrail] = Field(default_factory=list)
    view: StoredView | None = None


StoredCall.model_rebuild()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLog:
    """One frame's rows of a log, checked."""

    items: Sequence[StoredItem]
    responses: Sequence[JSONObject] = ()
    guardrails: Sequence[StoredGuardrail] = ()
    view: StoredView | None = None
    orders: Sequence[StoredOrder] = ()


M = TypeVar("M", bound=_Stored)

MAX_DEPTH = 200
"""Of a state. Python's own writers give up somewhere above 300."""


def read_state(given: Mapping[str, Any] | str) -> StoredState:
    """Return a checked state, its items too. Raises as `RunState.from_json`."""
    data = _json(given)
    if "items" not in data and "$schemaVersion" in data:
        raise InvalidRunState("The state is broken at items: it holds none.")
    return _checked(StoredState, migrate_state(data))


def read_head(data: Mapping[str, Any]) -> StoredState:
    """Return a checked head. Raises as `RunState.from_json`."""
    return _checked(StoredState, migrate_state(_json(data)))


def read_item(data: Mapping[str, Any]) -> StoredItem:
    """Return a checked item. Raises InvalidRunState."""
    return _checked(StoredItem, data)


def read_view(data: Mapping[str, Any]) -> StoredView:
    """Return a checked view. Raises InvalidRunState."""
    return _checked(StoredView, data)


def read_order(data: Mapping[str, Any]) -> StoredOrder:
    """Return a checked order of items. Raises InvalidRunState."""
    return _checked(StoredOrder, data)


def read_guardrail(data: Mapping[str, Any]) -> StoredGuardrail:
    """Return a checked guardrail result. Raises InvalidRunState."""
    return _checked(StoredGuardrail, data)


def _json(given: Any) -> JSONObject:
    """Return the state as JSON that holds no NaN, no cycle and no hostile depth."""
    try:
        text = given if isinstance(given, str) else json.dumps(given, allow_nan=False)
        data = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidRunState(f"The state is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise InvalidRunState(f"The state is {type(data).__name__}, not an object.")
    _check_depth(data)
    return data


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _refuse(digits)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _check_depth(data: JSONObject) -> None:
    """Raise InvalidRunState for what could be read and not be written again."""
    level: list[Any] = [data]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise InvalidRunState(f"The state is nested deeper than {MAX_DEPTH} levels.")


def _checked(model: type[M], data: Mapping[str, Any]) -> M:
    try:
        return model.model_validate(data)
    except (ValidationError, RecursionError) as error:
        if isinstance(error, RecursionError):
            raise InvalidRunState("The state is nested too deep.") from error
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, fault["loc"])) or "the state"
        raise InvalidRunState(f"The state is broken at {place}: {fault['msg']}.") from (
            error
        )


def text_in(raw: JSONObject, key: str) -> str:
    """Return the text `raw` has under `key`. Raises InvalidRunState."""
    value = raw.get(key)
    if not isinstance(value, str):
        raise InvalidRunState(f"The state holds a tool item without a text {key!r}.")
    return value
