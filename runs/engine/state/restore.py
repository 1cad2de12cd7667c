"""A stored RunState, read as untrusted input: whole and checked, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..calls import (
    CALLED_HERE,
    HOSTED_MCP_REVIEW,
    Call,
    CallKind,
    OpenCall,
    OutcomeKind,
    StickyVerdict,
    key_of,
)
from ..context import RunContextWrapper
from ..digest import JSONObject
from ..errors import CodeChanged, InvalidRunState, ModelBehaviorError, UserError
from ..items import (
    ITEM_KINDS,
    HandoffCallItem,
    HandoffOutputItem,
    InputItem,
    MCPApprovalRequestItem,
    MCPApprovalResponseItem,
    RunItem,
    ToolCallItem,
    ToolCallOutputItem,
)
from ..loop.answer import Answer, plain_output, typed_output
from ..tracing import TraceState
from ..usage import Usage
from .agent_map import AgentMap
from .code_check import must_ask, tool_called, what_it_asks
from .guardrail_log import restore_results
from .migrate import SERIALIZED_TEXT
from .new_code import is_gone, tool_now, under_new_code
from .registry import registered_agent
from .responses import count_requests
from .server import ServerConversation
from .stored import (
    StoredCall,
    StoredItem,
    StoredLog,
    StoredOrder,
    StoredState,
    StoredSticky,
    read_item,
    read_state,
    text_in,
)
from .view import View

if TYPE_CHECKING:
    from ..agent import Agent
    from ..tools.tool import FunctionTool
    from .run_state import RunState

Renames = Mapping[str, Mapping[str, str]]


_TAKEN_AS_STORED = (
    "input_is_text",
    "turn",
    "is_done",
    "stop_reason",
    "session_id",
    "input_checked",
    "last_response_id",
    "session_saved",
)

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
    stored = read_state(given)
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


def restore(
    make: type[RunState[Any]],
    agent: Agent[Any],
    head: StoredState,
    log_of: LogOf,
    *,
    history: Sequence[JSONObject] = (),
    context: Any = None,
    renames: Renames | None = None,
    started: Collection[str] | None = None,
) -> RunState[Any]:
    """Build the state from its checked parts, or raise and build nothing.

    `log_of(frame, head)` gives the rows of the root's frame (`""`) and of each agent
    that an open call uses as a tool. With `started`, the keys of calls whose effect may
    have happened, the open calls are those of the code there is now (see `new_code`):
    what was approved of them before holds no more where their digest is another.
    """
    wrapper = RunContextWrapper(
        context=context,
        usage=Usage.from_totals(head.usage),
        tool_input=head.tool_input,
    )
    state = make(
        wrapper, [], agent, head.max_turns, history=history, run_id=head.run_id
    )
    _Restoring(state, head, log_of, renames or {}, started).fill()
    count_requests(wrapper.usage, state)
    return state


def as_restored(state: RunState[Any], context: Any) -> RunState[Any]:
    """Return a state of its own, as reading what is stored of `state` would give it.

    What still holds `state` does not reach it, and what only memory knew is gone.
    """
    twin = state.copy()
    _forget(twin, context, Usage.from_totals(state.usage.totals()))
    twin.forget_verdicts()
    return twin


def _forget(state: RunState[Any], context: Any, usage: Usage) -> None:
    told = plain_output(state.context.tool_input)
    state.bind(RunContextWrapper(context=context, usage=usage, tool_input=told))
    count_requests(usage, state)
    for item in state.transcript.items:
        if isinstance(item, ToolCallOutputItem):
            item.output = item.raw.get("output")
    for open_call in state.open.values():
        if open_call.nested is not None:
            _forget(open_call.nested, context, usage)


class _Restoring:
    """Fills one state, and those nested in its open calls."""

    def __init__(
        self,
        state: RunState[Any],
        head: StoredState,
        log_of: LogOf,
        renames: Renames,
        started: Collection[str] | None,
    ) -> None:
        self.state, self.head, self.log_of = state, head, log_of
        self.renames, self.started = renames, started
        self.agents = AgentMap(state.root_agent, renames.get("agents"))
        self.calls: dict[str, RunItem] = {}
        self.answered: set[str] = set()

    def fill(self) -> None:
        state, head = self.state, self.head
        if head.is_done and head.open:
            raise InvalidRunState("The state has ended, and has calls that are open.")
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
            key = self._key(text_in(raw, "call_id"))
            return ToolCallOutputItem(
                agent,
                raw,
                raw.get("output"),
                call_key=key,
                outcome=stored.outcome or OutcomeKind.SUCCEEDED,
                custom_data=stored.custom_data,
                asked=self.calls.get(key),
            )
        if kind is InputItem:
            return InputItem(agent, raw, input_id=stored.input_id)
        if kind is HandoffOutputItem:
            key = self._key(text_in(raw, "call_id"))
            target = self._agent_of_item(stored.target)
            return HandoffOutputItem(agent, raw, agent, target, call_key=key)
        return kind(agent, raw, call_key=self._call_key(kind, raw))

    def _call_key(self, kind: type[RunItem], raw: JSONObject) -> str:
        if kind is HandoffCallItem or (
            kind is ToolCallItem and raw.get("type") in CALLED_HERE
        ):
            if raw.get("type") == "function_call":
                for name in ("name", "arguments"):
                    text_in(raw, name)
            return self._key(text_in(raw, "call_id"))
        if kind is MCPApprovalRequestItem:
            return self._key(text_in(raw, "id"))
        if kind is MCPApprovalResponseItem:
            return self._key(text_in(raw, "approval_request_id"))
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
        item = self.calls[stored.key]
        if not _is_of_kind(item, stored.kind):
            raise InvalidRunState(
                f"The state's open call {stored.key!r} is no {stored.kind} call."
            )
        is_gone = stored.gone or self._is_gone(stored, item.raw)
        tool = None if is_gone else self._tool(stored)
        call = self._call(stored, item.raw, tool, is_gone=is_gone)
        open_call = OpenCall(
            call=call,
            in_doubt=stored.in_doubt,
            verdict=stored.verdict.verdict() if stored.verdict else None,
            gone=is_gone,
            started=stored.started or (is_gone and self._had_started(stored)),
        )
        self.state.open[stored.key] = open_call
        if stored.nested is not None and not is_gone:
            open_call.nested = self._nested(stored, tool)

    def _is_gone(self, stored: StoredCall, raw: JSONObject) -> bool:
        """Say whether the code there is now has no more what the call is of."""
        return self.started is not None and is_gone(
            self.state.current_agent,
            stored,
            raw,
            self.renames,
            started=self._had_started(stored),
        )

    def _had_started(self, stored: StoredCall) -> bool:
        # An agent used as a tool has no effect of its own to be in doubt about.
        effect = stored.kind is not CallKind.AGENT
        return effect and self.started is not None and stored.key in self.started

    def _tool(self, stored: StoredCall) -> FunctionTool | None:
        """Return the tool the call is of. Raises CodeChanged when it is another."""
        agent, renamed = self.state.current_agent, self.state.renamed_tools
        if self.started is not None:
            return tool_now(agent, stored, renamed)
        return tool_called(agent, stored, renamed)

    def _call(
        self,
        stored: StoredCall,
        raw: JSONObject,
        tool: FunctionTool | None,
        *,
        is_gone: bool,
    ) -> Call:
        """Return the call that `raw` asks for.

        Raises ModelBehaviorError when it is not the one that was stored.
        """
        agent = self.state.current_agent
        asked = what_it_asks(agent, stored, raw, is_gone=is_gone)
        call = Call(
            key=stored.key,
            call_id=str(raw["id" if stored.kind is CallKind.HOSTED_MCP else "call_id"]),
            tool=stored.tool,
            agent_path=stored.agent_path,
            arguments=asked.arguments,
            schema_hash=stored.schema_hash,
            digest=stored.digest,
            kind=stored.kind,
            gated=stored.gated or (not is_gone and must_ask(agent, stored, raw, tool)),
            why=stored.why,
            **_facts_of(stored.kind, tool),
        )
        same = asked.name == stored.tool and call.current_digest() == stored.digest
        if asked.is_known and not same:
            raise ModelBehaviorError(
                f"The call {stored.key!r} of {stored.tool!r} is not the one this state "
                "recorded: its tool, agent or arguments differ."
            )
        if self.started is None or tool is None or self._had_started(stored):
            return call
        return under_new_code(call, tool, has_begun=stored.nested is not None)

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
        _Restoring(nested, head, self.log_of, self.renames, self.started).fill()
        count_requests(outer.usage, nested)
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


def _facts_of(kind: CallKind, tool: FunctionTool | None) -> dict[str, Any]:
    """Return what a call knows of its tool beside its name."""
    if kind is CallKind.HOSTED_MCP:
        return {"review": HOSTED_MCP_REVIEW}
    if tool is None:
        return {}
    return {"review": tool.review, "parameters": tool.params_json_schema}


def _is_of_kind(item: RunItem, kind: CallKind) -> bool:
    if isinstance(item, HandoffCallItem):
        return kind is CallKind.HANDOFF
    if isinstance(item, MCPApprovalRequestItem):
        return kind is CallKind.HOSTED_MCP
    if item.raw.get("type") == "function_call":
        return kind in (CallKind.FUNCTION, CallKind.AGENT)
    return kind is CallKind.LOCAL


def _sticky(stored: StoredSticky) -> StickyVerdict:
    return StickyVerdict(
        agent_path=stored.agent_path,
        tool=stored.tool,
        schema_hash=stored.schema_hash,
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
    as_text = set(stored) == {SERIALIZED_TEXT}
    if deserializer is not None:
        return deserializer(stored[SERIALIZED_TEXT] if as_text else stored)
    if strict and as_text:
        raise UserError(
            "The state's context was written by a serializer; give the "
            "context_deserializer that reads it, or a context_override."
        )
    return stored
