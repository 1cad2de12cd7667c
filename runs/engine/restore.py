"""A stored RunState, read as untrusted input: whole and checked, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .agent_map import AgentMap
from .answer import Answer, typed_output
from .calls import (
    Call,
    CallKind,
    OpenCall,
    OutcomeKind,
    StickyVerdict,
    Verdict,
    VerdictKind,
)
from .context import RunContextWrapper
from .digest import JSONObject
from .errors import CodeChanged, InvalidRunState, ModelBehaviorError, UserError
from .guardrail_log import KINDS, restore_results
from .items import (
    ITEM_KINDS,
    HandoffCallItem,
    HandoffOutputItem,
    MCPApprovalRequestItem,
    MCPApprovalResponseItem,
    RunItem,
    ToolCallItem,
    ToolCallOutputItem,
    name_called,
)
from .local_tools import local_tool_of
from .migrate import migrate_state
from .models.interface import ModelResponse
from .registry import registered_agent
from .schema_diff import difference
from .server import ServerConversation
from .tracing import TraceState
from .usage import Usage, as_request
from .view import View

if TYPE_CHECKING:
    from .agent import Agent
    from .state import RunState
    from .tools import FunctionTool

Renames = Mapping[str, Mapping[str, str]]


class _Stored(BaseModel):
    # Unknown keys may come from a later minor version; they are read over.
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class StoredVerdict(_Stored):
    kind: Literal["approve", "reject", "answer"]
    message: str | None = None
    arguments: str | None = None
    stop: bool = False

    def verdict(self) -> Verdict:
        return Verdict(
            kind=VerdictKind(self.kind),
            message=self.message,
            arguments=self.arguments,
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


class StoredSticky(_Stored):
    agent_path: str
    tool: str
    verdict: StoredVerdict


class StoredItem(_Stored):
    type: str
    agent: str
    raw: dict[str, Any] = Field(default_factory=dict)
    key: str = ""
    outcome: OutcomeKind | None = Field(default=None, strict=False)
    target: str = ""
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


CALLED_HERE = (
    "function_call",
    "shell_call",
    "local_shell_call",
    "apply_patch_call",
    "custom_tool_call",
)
"""Types of items that ask for a call which is dealt with here."""

_TAKEN_AS_STORED = (
    "input_is_text",
    "turn",
    "is_done",
    "stop_reason",
    "input_checked",
    "last_response_id",
    "session_saved",
)

M = TypeVar("M", bound=_Stored)
LogOf = Callable[[str, StoredState], StoredLog]


async def from_json(
    make: type[RunState[Any]],
    initial_agent: Agent[Any] | Mapping[str, Any] | str,
    state_json: Mapping[str, Any] | str | None,
    *,
    context_override: Any = None,
    context_deserializer: Callable[[Any], Any] | None = None,
    strict_context: bool = False,
    renames: Renames | None = None,
) -> RunState[Any]:
    agent: Agent[Any] | None = None
    if state_json is None:
        given: Any = initial_agent
    else:
        agent, given = _agent(initial_agent), state_json
    data = _parsed(given)
    if "items" not in data and "$schemaVersion" in data:
        raise InvalidRunState("The state is broken at items: it holds none.")
    stored = _checked(StoredState, migrate_state(data))
    return restore(
        make,
        agent or registered_agent(stored.agent),
        stored,
        _log_inside,
        history=stored.history,
        context=_read_context(
            stored.context, context_override, context_deserializer, strict_context
        ),
        renames=renames,
    )


def _agent(given: Any) -> Agent[Any]:
    if isinstance(given, str | Mapping) or not hasattr(given, "handoffs"):
        raise UserError(
            f"A state is read with its root agent first, then the state; {given!r} is "
            "no agent."
        )
    agent: Agent[Any] = given
    return agent


def _log_inside(frame: str, stored: StoredState) -> StoredLog:
    return StoredLog(
        items=stored.items,
        responses=stored.responses,
        guardrails=stored.guardrails,
        view=stored.view,
    )


def read_head(data: Mapping[str, Any]) -> StoredState:
    """Return a checked head. Raises as `RunState.from_json`."""
    return _checked(StoredState, migrate_state(_parsed(data)))


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


def restore(
    make: type[RunState[Any]],
    agent: Agent[Any],
    head: StoredState,
    log_of: LogOf,
    *,
    history: Sequence[JSONObject] = (),
    context: Any = None,
    renames: Renames | None = None,
) -> RunState[Any]:
    """Build the state from its checked parts, or raise and build nothing.

    `log_of(frame, head)` gives the rows of the root's frame (`""`) and of each agent
    that an open call uses as a tool.
    """
    wrapper = RunContextWrapper(
        context=context,
        usage=Usage.from_totals(head.usage),
        tool_input=head.tool_input,
    )
    state = make(
        wrapper, [], agent, head.max_turns, history=history, run_id=head.run_id
    )
    _Restoring(state, head, log_of, renames or {}).fill()
    _count_requests(wrapper.usage, state)
    return state


def _count_requests(usage: Usage, state: RunState[Any]) -> None:
    """Put an entry into `usage` for each request whose record `state` holds."""
    usage.request_usage_entries += [
        as_request(_usage_of(record)) for record in state.responses
    ]


class _Restoring:
    """Fills one state, and those nested in its open calls."""

    def __init__(
        self, state: RunState[Any], head: StoredState, log_of: LogOf, renames: Renames
    ) -> None:
        self.state, self.head, self.log_of = state, head, log_of
        self.renames = renames
        self.agents = AgentMap(state.root_agent, renames.get("agents"))
        self.calls: dict[str, RunItem] = {}
        self.answered: set[str] = set()

    def fill(self) -> None:
        state, head = self.state, self.head
        _same_agent(state.root_agent, head, self.renames.get("agents", {}))
        state.current_agent = self.agents.agent_of(head.current_agent)
        state.renamed_tools = self.renames.get("tools", {})
        self._fill_log(self.log_of(state.frame, head))
        for name in _TAKEN_AS_STORED:
            setattr(state, name, getattr(head, name))
        state.final_output = typed_output(state.current_agent, head.final_output)
        if head.answer is not None:
            output = typed_output(state.current_agent, head.answer.output)
            state.answer = Answer(output=output, from_tools=head.answer.from_tools)
        if head.server is not None:
            state.server = ServerConversation(**head.server.model_dump())
        if head.tools_used is not None:
            state.set_tool_use_tracker_snapshot(head.tools_used)
        if head.trace is not None:
            state.trace_state = TraceState.from_json(head.trace)
        state.pending_input = list(head.pending_input)
        state.sticky = [_sticky(sticky) for sticky in head.sticky]
        state._started = set(head.started)
        for stored in head.open:
            self._restore_open(stored)

    def _fill_log(self, log: StoredLog) -> None:
        state = self.state
        state.transcript.reasoning_ids = self.head.reasoning_ids
        state.input_count = self.head.input_count
        view = log.view
        if view is not None and view.at > len(log.items):
            raise InvalidRunState("The state's view is of more items than it has.")
        items = _in_order(log.items, log.orders, state.frame)
        for stored in items[: view.at if view else None]:
            self._restore_item(stored)
        if view is not None:
            shown = View.from_json(
                view.model_dump(), state.transcript.items, self._synthetic
            )
            state.transcript.show(shown)
            for stored in items[view.at :]:
                self._restore_item(stored)
        state.responses = list(log.responses)
        restore_results(
            state.guardrails,
            [result.model_dump() for result in log.guardrails],
            state.current_agent,
        )

    def _synthetic(self, entry: Any) -> RunItem:
        return self._item(read_item(entry))

    def _restore_item(self, stored: StoredItem) -> None:
        item = self._item(stored)
        if isinstance(item, ToolCallItem | HandoffCallItem | MCPApprovalRequestItem):
            if item.call_key:
                if item.call_key in self.calls:
                    raise InvalidRunState(f"The state calls {item.call_key!r} twice.")
                self.calls[item.call_key] = item
        elif item.call_key:
            if item.call_key not in self.calls or item.call_key in self.answered:
                raise InvalidRunState(
                    f"The state's output of {item.call_key!r} has no call of its own."
                )
            self.answered.add(item.call_key)
        self.state.restore_item(item)

    def _item(self, stored: StoredItem) -> RunItem:
        kind = ITEM_KINDS.get(stored.type)
        if kind is None:
            raise InvalidRunState(f"The state holds an item of kind {stored.type!r}.")
        agent, raw = self._agent_of_item(stored.agent), stored.raw
        if kind is ToolCallOutputItem:
            return ToolCallOutputItem(
                agent,
                raw,
                raw.get("output"),
                call_key=self._key(_text(raw, "call_id")),
                outcome=stored.outcome or OutcomeKind.SUCCEEDED,
                custom_data=stored.custom_data,
            )
        if kind is HandoffOutputItem:
            key = self._key(_text(raw, "call_id"))
            target = self._agent_of_item(stored.target)
            return HandoffOutputItem(agent, raw, agent, target, call_key=key)
        return kind(agent, raw, call_key=self._call_key(kind, raw))

    def _call_key(self, kind: type[RunItem], raw: JSONObject) -> str:
        if kind is HandoffCallItem or (
            kind is ToolCallItem and raw.get("type") in CALLED_HERE
        ):
            if raw.get("type") == "function_call":
                for name in ("name", "arguments"):
                    _text(raw, name)
            return self._key(_text(raw, "call_id"))
        if kind is MCPApprovalRequestItem:
            return self._key(_text(raw, "id"))
        if kind is MCPApprovalResponseItem:
            return self._key(_text(raw, "approval_request_id"))
        return ""

    def _key(self, call_id: str) -> str:
        return key_of(self.state.frame, call_id)

    def _agent_of_item(self, name: str) -> Agent[Any]:
        # An item belongs to the past: an agent that is no more may have said it.
        try:
            return self.agents.agent_of(name)
        except UserError:
            return self.state.root_agent

    def _restore_open(self, stored: StoredCall) -> None:
        if stored.key not in self.calls or stored.key in self.state.open:
            raise InvalidRunState(
                f"The state's open call {stored.key!r} has no item, or stands twice."
            )
        if stored.key in self.answered:
            raise InvalidRunState(
                f"The state's open call {stored.key!r} has an output."
            )
        raw = self.calls[stored.key].raw
        tool = self._tool(stored)
        name, arguments = self._what_it_asks(stored, raw)
        call = Call(
            key=stored.key,
            call_id=str(raw["id" if stored.kind is CallKind.HOSTED_MCP else "call_id"]),
            tool=stored.tool,
            agent_path=stored.agent_path,
            arguments=arguments,
            schema_hash=stored.schema_hash,
            digest=stored.digest,
            kind=stored.kind,
            # What the tool says itself, a state cannot talk away.
            gated=stored.gated or (tool is not None and tool.needs_approval is True),
            why=stored.why,
            **({"review": tool.review} if tool else {}),
        )
        if name != stored.tool or call.current_digest() != stored.digest:
            raise ModelBehaviorError(
                f"The call {stored.key!r} of {stored.tool!r} is not the one this state "
                "recorded: its tool, agent or arguments differ."
            )
        open_call = OpenCall(
            call=call,
            in_doubt=stored.in_doubt,
            verdict=stored.verdict.verdict() if stored.verdict else None,
        )
        self.state.open[stored.key] = open_call
        if stored.nested is not None:
            open_call.nested = self._nested(stored, tool)

    def _what_it_asks(self, stored: StoredCall, raw: JSONObject) -> tuple[str, str]:
        """Return the name and the arguments that a call's item has."""
        if stored.kind is not CallKind.LOCAL:
            return name_called(raw), _text(raw, "arguments")
        agent = self.state.current_agent
        tool = local_tool_of(agent.tools, raw)
        if tool is None:
            raise CodeChanged(
                f"The run waits in a call of {stored.tool!r}, which agent "
                f"{agent.name!r} no longer has; put the tool back, or stop the run."
            )
        return stored.tool, tool.arguments(raw)

    def _tool(self, stored: StoredCall) -> FunctionTool | None:
        """Return the tool an open call is of. Raises UserError when it has changed."""
        agent = self.state.current_agent
        if stored.kind is CallKind.HANDOFF:
            _check_handoff(agent, stored.tool)
            return None
        if not stored.schema_hash or stored.kind is CallKind.HOSTED_MCP:
            return None
        name = self.state.renamed_tools.get(stored.tool, stored.tool)
        tool = agent.function_tool_named(name)
        if tool is None and agent.mcp_servers:
            return None  # its server is asked for it when the call is about to run
        if tool is None:
            raise CodeChanged(
                f"The run waits in a call of {stored.tool!r}, which agent "
                f"{agent.name!r} no longer has; put the tool back, say with "
                'renames={"tools": {old: new}} what it is called now, or stop the run.'
            )
        if tool.schema_hash_as(stored.tool) != stored.schema_hash:
            raise CodeChanged(
                f"The parameters of {stored.tool!r} have changed since the run called "
                f"it: {difference(stored.parameters, tool.params_json_schema)}. "
                "Put the tool back as it was, or stop the run."
            )
        return tool

    def _nested(self, stored: StoredCall, tool: FunctionTool | None) -> RunState[Any]:
        head = stored.nested
        if head is None or tool is None or tool.agent_tool is None:
            raise CodeChanged(
                f"The run waits inside {stored.tool!r}, which is no agent any more; "
                "put the agent's as_tool() back, or stop the run."
            )
        outer = self.state
        context = RunContextWrapper(
            context=outer.context.context,
            usage=outer.usage,
            tool_input=head.tool_input,
        )
        nested = type(outer)(
            context,
            [],
            tool.agent_tool.agent,
            head.max_turns,
            history=head.history,
            parent=outer,
            frame=stored.key,
        )
        _Restoring(nested, head, self.log_of, self.renames).fill()
        _count_requests(outer.usage, nested)
        return nested


def _in_order(
    items: Sequence[StoredItem], orders: Sequence[StoredOrder], frame: str
) -> list[StoredItem]:
    """Return the items as they are read. Raises InvalidRunState."""
    ordered = list(items)
    for order in orders:
        end = order.start + len(order.keys)
        moved = {
            key_of(frame, str(item.raw.get("call_id") or "")): item
            for item in ordered[order.start : end]
        }
        if moved.keys() != set(order.keys):
            raise InvalidRunState("The state's order of outputs is broken.")
        ordered[order.start : end] = [moved[key] for key in order.keys]
    return ordered


def key_of(frame: str, call_id: str) -> str:
    """Return the key of a call: its id behind the keys of the frames it is in.

    A `/` in an id is written as `%2F`, so that no id reaches into another frame.
    """
    own = call_id.replace("%", "%25").replace("/", "%2F")
    return f"{frame}/{own}" if frame else own


def _check_handoff(agent: Agent[Any], tool_name: str) -> None:
    names = agent.handoff_names()
    if tool_name not in names:
        raise CodeChanged(
            f"The run is about to hand over with {tool_name!r}, which agent "
            f"{agent.name!r} no longer has; it has: {', '.join(names) or 'none'}."
        )


def _sticky(stored: StoredSticky) -> StickyVerdict:
    return StickyVerdict(
        agent_path=stored.agent_path,
        tool=stored.tool,
        verdict=stored.verdict.verdict(),
    )


def _same_agent(
    agent: Agent[Any], head: StoredState, renames: Mapping[str, str]
) -> None:
    if renames.get(head.agent, head.agent) != agent.name:
        raise UserError(
            f"The state belongs to agent {head.agent!r}, but {agent.name!r} was given; "
            "give the run's root agent, or say that it was renamed, with "
            f'renames={{"agents": {{{head.agent!r}: {agent.name!r}}}}}.'
        )


def _read_context(
    stored: JSONObject | None,
    override: Any,
    deserializer: Callable[[Any], Any] | None,
    strict: bool,
) -> Any:
    if override is not None:
        return override
    if stored is None:
        return None
    as_text = set(stored) == {"text"}
    if deserializer is not None:
        return deserializer(stored["text"] if as_text else stored)
    if strict and as_text:
        raise UserError(
            "The state's context was written by a serializer; give the "
            "context_deserializer that reads it, or a context_override."
        )
    return stored


def _parsed(given: Any) -> JSONObject:
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


def responses_of(state: RunState[Any]) -> list[ModelResponse]:
    """Return the model's answers, rebuilt from the items. Raises InvalidRunState."""
    items = state.transcript.items
    return [
        ModelResponse(
            output=[item.raw_item for item in items[start:end]],
            usage=_usage_of(record),
            response_id=record.get("response_id"),
            request_id=record.get("request_id"),
        )
        for record, start, end in _spans(state)
    ]


def _usage_of(record: JSONObject) -> Usage:
    try:
        return Usage.from_totals(record.get("usage") or {})
    except (TypeError, ValueError, AttributeError) as error:
        raise InvalidRunState(f"The state's usage is broken: {error}.") from error


def _spans(state: RunState[Any]) -> list[tuple[JSONObject, int, int]]:
    """Return each answer's record with the range of its items."""
    spans, end = [], state.input_count
    for record in state.responses:
        start, count = record.get("at"), record.get("items", 0)
        if not isinstance(count, int):
            raise InvalidRunState("The state's answers are broken at items.")
        if not isinstance(start, int):
            start = _next_answer(state, end)
        end = start + count
        spans.append((record, start, end))
    return spans


def _next_answer(state: RunState[Any], start: int) -> int:
    # Schema 1.0 did not say where an answer begins: after outputs and inputs.
    items = state.transcript.items
    while start < len(items) and items[start].type in (
        "input_item",
        "tool_call_output_item",
    ):
        start += 1
    return start


def _text(raw: JSONObject, key: str) -> str:
    value = raw.get(key)
    if not isinstance(value, str):
        raise InvalidRunState(f"The state holds a tool item without a text {key!r}.")
    return value
