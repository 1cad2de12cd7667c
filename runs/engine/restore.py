"""A stored RunState, read as untrusted input: whole and checked, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from . import items as item_types
from .calls import Call, OpenCall, OutcomeKind, StickyVerdict, Verdict, VerdictKind
from .context import RunContextWrapper
from .digest import JSONObject
from .errors import (
    InvalidRunState,
    ModelBehaviorError,
    RunStateVersionError,
    UserError,
)
from .items import RunItem, ToolCallItem, ToolCallOutputItem
from .models.interface import ModelResponse
from .serialize import CURRENT_SCHEMA_VERSION, SUPPORTED_SCHEMA_VERSIONS
from .usage import Usage

if TYPE_CHECKING:
    from .agent import Agent
    from .state import RunState

_ITEM_TYPES: dict[str, type[RunItem]] = {
    kind.kind: kind
    for kind in (
        item_types.InputItem,
        item_types.MessageOutputItem,
        item_types.ReasoningItem,
        item_types.OtherItem,
    )
}


class _Stored(BaseModel):
    # Unknown keys may come from a later minor version; they are read over.
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class StoredVerdict(_Stored):
    kind: Literal["approve", "reject", "answer"]
    message: str | None = None

    def verdict(self) -> Verdict:
        return Verdict(kind=VerdictKind(self.kind), message=self.message)


class StoredCall(_Stored):
    """An open call; its arguments stand in its item."""

    key: str
    tool: str
    agent_path: str
    schema_hash: str
    digest: str
    gated: bool
    why: str = ""
    in_doubt: bool = False
    verdict: StoredVerdict | None = None


class StoredSticky(_Stored):
    agent_path: str
    tool: str
    verdict: StoredVerdict


class StoredItem(_Stored):
    type: Literal["input", "message", "reasoning", "tool_call", "tool_output", "other"]
    agent: str
    raw: dict[str, Any] = Field(default_factory=dict)
    key: str = ""
    outcome: OutcomeKind | None = Field(default=None, strict=False)


class StoredHead(_Stored):
    run_id: str
    agent: str
    current_agent: str
    turn: int = Field(ge=0)
    max_turns: int | None = Field(default=None, ge=1)
    is_done: bool = False
    final_output: Any = None
    last_response_id: str | None = None
    open: list[StoredCall] = Field(default_factory=list)
    sticky: list[StoredSticky] = Field(default_factory=list)
    pending_input: list[dict[str, Any]] = Field(default_factory=list)
    usage: dict[str, int] = Field(default_factory=dict)
    context: dict[str, Any] = Field(default_factory=dict)
    input_count: int = Field(ge=0)


class StoredState(StoredHead):
    history: list[dict[str, Any]] = Field(default_factory=list)
    items: list[StoredItem]
    responses: list[dict[str, Any]] = Field(default_factory=list)


M = TypeVar("M", bound=_Stored)


async def from_json(
    make: type[RunState[Any]],
    initial_agent: Agent[Any],
    state_json: Mapping[str, Any] | str,
    *,
    context_override: Any = None,
    context_deserializer: Callable[[Any], Any] | None = None,
) -> RunState[Any]:
    stored = _validated(StoredState, _parsed(state_json))
    return restore(
        make,
        initial_agent,
        stored,
        stored.items,
        stored.responses,
        history=stored.history,
        context=_read_context(stored.context, context_override, context_deserializer),
    )


def read_head(data: Mapping[str, Any]) -> StoredHead:
    """Return a checked head. Raises as `RunState.from_json`."""
    return _validated(StoredHead, _parsed(data))


def read_item(data: Mapping[str, Any]) -> StoredItem:
    """Return a checked item. Raises InvalidRunState."""
    return _checked(StoredItem, data)


def restore(
    make: type[RunState[Any]],
    agent: Agent[Any],
    head: StoredHead,
    items: Sequence[StoredItem],
    responses: Sequence[JSONObject],
    *,
    history: Sequence[JSONObject] = (),
    context: Any = None,
) -> RunState[Any]:
    """Build the state from its checked parts, or raise and build nothing."""
    _same_agent(agent, head)
    wrapper = RunContextWrapper(context=context, usage=Usage.from_totals(head.usage))
    state = make(
        wrapper, [], agent, head.max_turns, history=history, run_id=head.run_id
    )
    calls = _restore_items(state, agent, items)
    state.input_count = head.input_count
    state.turn = head.turn
    state.is_done = head.is_done
    state.final_output = head.final_output
    state.last_response_id = head.last_response_id
    state.responses = list(responses)
    state.pending_input = list(head.pending_input)
    for sticky in head.sticky:
        state.sticky.append(_sticky(sticky))
    for stored in head.open:
        _restore_open(state, agent, stored, calls)
    return state


def _restore_items(
    state: RunState[Any], agent: Agent[Any], items: Sequence[StoredItem]
) -> dict[str, ToolCallItem]:
    calls: dict[str, ToolCallItem] = {}
    answered: set[str] = set()
    for stored in items:
        item = _item(agent, stored)
        if isinstance(item, ToolCallItem):
            if item.call_key in calls:
                raise InvalidRunState(f"The state calls {item.call_key!r} twice.")
            calls[item.call_key] = item
        if isinstance(item, ToolCallOutputItem):
            if item.call_key not in calls or item.call_key in answered:
                raise InvalidRunState(
                    f"The state's output of {item.call_key!r} has no call of its own."
                )
            answered.add(item.call_key)
        state.restore_item(item)
    return calls


def _item(agent: Agent[Any], stored: StoredItem) -> RunItem:
    if stored.type not in ("tool_call", "tool_output"):
        return _ITEM_TYPES[stored.type](agent=agent, raw=stored.raw)
    key = stored.key or _text(stored.raw, "call_id")
    if stored.type == "tool_call":
        _text(stored.raw, "call_id")
        _text(stored.raw, "name")
        _text(stored.raw, "arguments")
        return ToolCallItem(agent=agent, raw=stored.raw, call_key=key)
    return ToolCallOutputItem(
        agent=agent,
        raw=stored.raw,
        call_key=key,
        outcome=stored.outcome or OutcomeKind.SUCCEEDED,
        output=stored.raw.get("output"),
    )


def _restore_open(
    state: RunState[Any],
    agent: Agent[Any],
    stored: StoredCall,
    calls: Mapping[str, ToolCallItem],
) -> None:
    if stored.key not in calls or stored.key in state.open:
        raise InvalidRunState(f"The state's open call {stored.key!r} has no item.")
    raw = calls[stored.key].raw
    tool = next((tool for tool in agent.tools if tool.name == stored.tool), None)
    if stored.schema_hash and tool is None:
        raise UserError(
            f"The run waits in a call of {stored.tool!r}, which agent {agent.name!r} "
            "no longer has; put the tool back, or stop the run."
        )
    if tool is not None and tool.schema_hash != stored.schema_hash:
        raise UserError(
            f"The parameters of {stored.tool!r} have changed since the run called it; "
            "put the tool back as it was, or stop the run."
        )
    call = Call(
        key=stored.key,
        call_id=raw["call_id"],
        tool=stored.tool,
        agent_path=stored.agent_path,
        arguments=raw["arguments"],
        schema_hash=stored.schema_hash,
        digest=stored.digest,
        # What the tool says itself, a state cannot talk away.
        gated=stored.gated or (tool is not None and tool.needs_approval is True),
        why=stored.why,
        **({"review": tool.review} if tool else {}),
    )
    if raw["name"] != stored.tool or call.current_digest() != stored.digest:
        raise ModelBehaviorError(
            f"The call {stored.key!r} of {stored.tool!r} is not the one this state "
            "recorded: its tool, agent or arguments differ."
        )
    state.open[stored.key] = OpenCall(
        call=call,
        in_doubt=stored.in_doubt,
        verdict=stored.verdict.verdict() if stored.verdict else None,
    )


def _sticky(stored: StoredSticky) -> StickyVerdict:
    return StickyVerdict(
        agent_path=stored.agent_path,
        tool=stored.tool,
        verdict=stored.verdict.verdict(),
    )


def _same_agent(agent: Agent[Any], head: StoredHead) -> None:
    for name in (head.agent, head.current_agent):
        if name != agent.name:
            raise UserError(
                f"The state belongs to agent {name!r}, but {agent.name!r} was given; "
                "give the run's root agent, or its new name back."
            )


def _read_context(
    stored: JSONObject, override: Any, deserializer: Callable[[Any], Any] | None
) -> Any:
    if override is not None:
        return override
    if deserializer is not None:
        as_text = set(stored) == {"text"}
        return deserializer(stored["text"] if as_text else stored)
    return stored


def _parsed(given: Mapping[str, Any] | str) -> JSONObject:
    """Return the state as JSON that holds no NaN, no cycle and no hostile depth."""
    try:
        text = given if isinstance(given, str) else json.dumps(given, allow_nan=False)
        data = json.loads(text, parse_constant=_refuse)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidRunState(f"The state is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise InvalidRunState(f"The state is {type(data).__name__}, not an object.")
    return data


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _validated(model: type[M], data: Mapping[str, Any]) -> M:
    check_version(data.get("$schemaVersion"))
    return _checked(model, data)


def _checked(model: type[M], data: Mapping[str, Any]) -> M:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, fault["loc"])) or "the state"
        raise InvalidRunState(f"The state is broken at {place}: {fault['msg']}.") from (
            error
        )


def check_version(found: object) -> None:
    """Raise RunStateVersionError unless this engine reads schema version `found`."""
    if version_pair(found) > version_pair(CURRENT_SCHEMA_VERSION):
        raise RunStateVersionError(found, CURRENT_SCHEMA_VERSION)
    if found not in SUPPORTED_SCHEMA_VERSIONS:
        raise RunStateVersionError(found, CURRENT_SCHEMA_VERSION)


def version_pair(version: object) -> tuple[int, int]:
    """Return `"1.10"` as (1, 10). Raises RunStateVersionError on anything else."""
    parts = version.split(".") if isinstance(version, str) else []
    if len(parts) != 2 or not all(p.isascii() and p.isdigit() for p in parts):
        raise RunStateVersionError(version, CURRENT_SCHEMA_VERSION)
    return int(parts[0][:9]), int(parts[1][:9])


def responses_of(
    state: RunState[Any], known: Mapping[int, ModelResponse]
) -> list[ModelResponse]:
    """Return the model's answers, those from before a load rebuilt from the items."""
    produced = [
        item
        for item in state.all_items
        if not isinstance(item, item_types.InputItem | ToolCallOutputItem)
    ]
    answers, start = [], 0
    for index, record in enumerate(state.responses):
        end = start + int(record.get("items", 0))
        answers.append(
            known.get(index)
            or ModelResponse(
                output=[item.raw_item for item in produced[start:end]],
                usage=Usage.from_totals(record.get("usage", {})),
                response_id=record.get("response_id"),
            )
        )
        start = end
    return answers


def _text(raw: JSONObject, key: str) -> str:
    value = raw.get(key)
    if not isinstance(value, str):
        raise InvalidRunState(f"The state holds a tool item without a text {key!r}.")
    return value
