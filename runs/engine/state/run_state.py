"""RunState: everything a run is, between two of its steps.

The items are the run's log, appended and never changed. The rest is the *head*: small,
whatever the run's length, because it holds only the calls that are still open.

An agent used as a tool has a state of its own, nested in the open call that uses it
and gone when that call has its output. Calls are found, and decided, from the root.
"""

from __future__ import annotations

import copy
import dataclasses
import uuid
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic

from ..calls import Call, OpenCall
from ..config import DEFAULT_MAX_TURNS
from ..context import RunContextWrapper, TContext
from ..digest import JSONObject
from ..errors import ModelBehaviorError, UserError
from ..items import (
    InputItem,
    RunItem,
    ToolApprovalItem,
    input_items,
)
from ..ports import LogEntry
from ..usage import Usage
from . import responses, restore, serialize
from .guardrail_log import GuardrailResults
from .migrate import SERIALIZED_TEXT
from .open_calls import OpenCalls
from .server import ServerConversation
from .transcript import ToolUse, Transcript
from .view import View

if TYPE_CHECKING:
    from ..agent import Agent
    from ..config import ReasoningItemIdPolicy
    from ..loop.answer import Answer
    from ..models.interface import ModelResponse
    from ..tracing import Trace, TraceState


MAX_CALL_ID = 500


def _can_be_kept(call_id: str) -> bool:
    """Say whether every database stores the id as it is."""
    try:
        call_id.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return 0 < len(call_id) <= MAX_CALL_ID and "\x00" not in call_id


class RunState(OpenCalls, Generic[TContext]):
    """A run as it can be stored, inspected, decided upon and gone on with."""

    def __init__(
        self,
        context: RunContextWrapper[TContext],
        original_input: str | Sequence[JSONObject],
        starting_agent: Agent[TContext],
        max_turns: int | None = DEFAULT_MAX_TURNS,
        *,
        history: Sequence[JSONObject] = (),
        run_id: str | None = None,
        server: ServerConversation | None = None,
        parent: RunState[Any] | None = None,
        frame: str = "",
    ) -> None:
        """Begin a run. `history` is what the model reads before the input.

        `parent` and `frame` (a call key) are those of the call that uses
        `starting_agent` as a tool.
        """
        super().__init__(starting_agent, parent, frame)
        self.run_id: str = run_id or (parent.run_id if parent else uuid.uuid4().hex)
        self.turn = 0
        """Answers the model has given; a failed or unanswered call counts for none."""
        self.max_turns = max_turns
        self.is_done = False
        self.final_output: Any = None
        self.answer: Answer | None = None
        """An answer that guardrails and hooks have yet to see."""
        self.stop_reason: str | None = None
        """Why it ended without an answer: a person rejected a call and stopped it."""
        self.input_checked = False
        """True once the input guardrails have let the input pass."""
        self.last_response_id: str | None = None
        self.pending_input: list[JSONObject] = []
        self.responses: list[JSONObject] = []
        """One record an answer: turn, response_id, at, items (how many), usage."""
        self.guardrails = GuardrailResults()
        self.server = server
        self.session_id: str | None = None
        """Of the session it began with, which is to be given again on resume."""
        self.session_saved = 0
        """How many of its items a session holds already."""
        self.trace_state: TraceState | None = None
        self.context_serializer: Any = None
        """Writes the context where `to_json` is given no serializer of its own."""
        self.transcript = Transcript(history)
        self._calls: dict[str, RunItem] = {}
        self._tools_used: dict[str, list[str]] | None = None
        self.bind(context)
        self.input_is_text = isinstance(original_input, str)
        for raw in input_items(original_input):
            self.transcript.begin(InputItem(starting_agent, raw))
        self.input_count = len(self.transcript.items)
        """How many of its items are the input it began with."""

    # What it holds

    @property
    def context(self) -> RunContextWrapper[TContext]:
        return self._context

    @property
    def usage(self) -> Usage:
        return self._context.usage

    @property
    def agent(self) -> Agent[TContext]:
        """The agent whose turn it is."""
        return self.current_agent

    @property
    def root(self) -> RunState[Any]:
        """The state of the run as a whole."""
        return self.parent.root if self.parent else self

    @property
    def history(self) -> tuple[JSONObject, ...]:
        """What the model read before this run's own items."""
        return self.transcript.before

    @property
    def all_items(self) -> list[RunItem]:
        """Every item, the input first, in the order they happened."""
        return list(self.transcript.items)

    @property
    def original_input(self) -> list[JSONObject]:
        return [item.raw for item in self.transcript.items[: self.input_count]]

    @property
    def given_input(self) -> str | list[JSONObject]:
        """The input as it was given, a text or items; those of a session first."""
        if self.transcript.view is not None:
            return list(self.transcript.view.base)
        given = [*self.history, *self.original_input]
        if self.input_is_text and len(given) == 1:
            text = given[0].get("content")
            return text if isinstance(text, str) else given
        return given

    @property
    def new_items(self) -> list[RunItem]:
        """The items since the input; of a handoff's, what its filter left."""
        listed = self.transcript.listed
        if listed is not None:
            return list(listed)
        return self.transcript.items[self.input_count :]

    @property
    def input_guardrail_results(self) -> list[Any]:
        return list(self.guardrails.input)

    @property
    def output_guardrail_results(self) -> list[Any]:
        return list(self.guardrails.output)

    @property
    def tool_input_guardrail_results(self) -> list[Any]:
        return list(self.guardrails.tool_input)

    @property
    def tool_output_guardrail_results(self) -> list[Any]:
        return list(self.guardrails.tool_output)

    @property
    def model_responses(self) -> list[ModelResponse]:
        """The model's answers, oldest first."""
        return responses.responses_of(self)

    @property
    def tool_use_tracker(self) -> ToolUse:
        """How often which tool was called."""
        return ToolUse(self.get_tool_use_tracker_snapshot())

    def get_tool_use_tracker_snapshot(self) -> dict[str, list[str]]:
        """Return the tools each agent has called, by agent name, repeats kept."""
        if self._tools_used is not None:
            return {name: list(used) for name, used in self._tools_used.items()}
        return self.transcript.tools_used()

    def set_tool_use_tracker_snapshot(self, snapshot: Mapping[str, Any]) -> None:
        """Say which tools count as called, instead of those of the items."""
        self._tools_used = {name: list(used) for name, used in snapshot.items()}
        self.transcript.tool_users = {name for name, used in snapshot.items() if used}

    def set_reasoning_item_id_policy(
        self, policy: ReasoningItemIdPolicy | None
    ) -> None:
        """Send reasoning items back with their ids (`preserve`, None) or without."""
        self.transcript.set_reasoning_ids(policy)

    def set_trace(self, trace: Trace | None) -> None:
        """Remember the trace the run belongs to; it goes on in it when resumed."""
        self.trace_state = trace.state() if trace is not None else None

    def model_input(self) -> list[JSONObject]:
        """Return what the model reads next: a list of the caller's own."""
        return self.transcript.reading()

    def get_interruptions(self) -> list[ToolApprovalItem]:
        """Return the calls that wait for a person, at any depth.

        Changing an item changes nothing in the run.
        """
        return list(self._interruptions())

    def _interruptions(self) -> Iterator[ToolApprovalItem]:
        for open_call in self.open.values():
            if open_call.nested is not None:
                yield from open_call.nested._interruptions()
            elif self.verdict_on(open_call) is None and open_call.waits:
                yield self.approval_item(open_call.call)

    def approval_item(self, call: Call) -> ToolApprovalItem:
        """Return the item that stands for `call`, one of this state's own."""
        return self.approval_item_of(self._calls[call.key], call)

    def approval_item_of(self, item: RunItem, call: Call) -> ToolApprovalItem:
        """Return the item that stands for `call`, which `item` asks for."""
        return ToolApprovalItem(
            self.current_agent,
            copy.deepcopy(item.raw),
            call=call,
            path=(*self.path, call.tool),
            tool_origin=getattr(item, "tool_origin", None),
        )

    # Input while it goes on

    def add_input(self, input: str | Sequence[JSONObject]) -> None:
        """Add messages that the model reads after the outputs of its open calls.

        Raises UserError when the run has ended, may end with an open call's output, or
        has no turn left to read them in.
        """
        if self.is_done or self.answer is not None:
            raise UserError("The run has ended; start a new one with its result.")
        if self.max_turns is not None and self.turn >= self.max_turns:
            raise UserError("The run has no turn left; resume it with more max_turns.")
        if self.open and self.current_agent.tool_use_behavior != "run_llm_again":
            raise UserError(
                "The run may end with the output of a call, as "
                f"{self.current_agent.name!r} says in tool_use_behavior; add the input "
                "to a run after it."
            )
        self.pending_input.extend(input_items(input))

    def clear_pending_input(self) -> None:
        self.pending_input.clear()

    def take_pending_input(self) -> list[JSONObject]:
        taken, self.pending_input = self.pending_input, []
        return taken

    # Steps: what the loop does to it

    def begin_after(
        self, history: Sequence[JSONObject], given: Sequence[JSONObject]
    ) -> None:
        """Let the model read `history` before `given`, the input as it is now."""
        agent = self.root_agent
        self.transcript = Transcript(history)
        for raw in given:
            self.transcript.begin(InputItem(agent, raw))
        self.input_is_text = False
        self.input_count = len(self.transcript.items)

    def add(self, item: RunItem) -> LogEntry:
        """Append an item and return its log row."""
        self._append(item)
        return self.entry(item)

    def _append(self, item: RunItem) -> None:
        if item.call_key:
            self._calls.setdefault(item.call_key, item)
        self.transcript.add(item)

    def entry(self, item: RunItem) -> LogEntry:
        """Return an item's log row."""
        return self.log_entry("item", item.to_entry(), item.call_key)

    def log_entry(self, kind: str, payload: JSONObject, call_key: str = "") -> LogEntry:
        return LogEntry(kind=kind, payload=payload, call_key=call_key, frame=self.frame)

    def add_response(self, response: ModelResponse, items: int) -> LogEntry:
        """Count the model's answer, whose `items` items were just added."""
        self.turn += 1
        self.last_response_id = response.response_id
        record = {
            "turn": self.turn,
            "response_id": response.response_id,
            "at": len(self.transcript.items) - items,
            "items": items,
            "usage": response.usage.totals(),
        }
        if response.request_id:
            record["request_id"] = response.request_id
        self.responses.append(record)
        return self.log_entry("response", record)

    def open_calls(self, calls: Sequence[Call]) -> None:
        """Take in the calls of an answer, all or none.

        Raises ModelBehaviorError when an id is missing or too long.
        """
        for call in calls:
            if not _can_be_kept(call.call_id):
                raise ModelBehaviorError(
                    f"The model called {call.tool} without a call id that can be kept."
                )
        for call in calls:
            self.open[call.key] = OpenCall(call=call)

    def call_item(self, key: str) -> RunItem | None:
        """Return the item that asked for the call `key`, open or not."""
        return self._calls.get(key)

    def close_call(self, call: Call, item: RunItem) -> LogEntry:
        """Put the call's output in its place."""
        del self.open[call.key]
        return self.add(item)

    def put_in_order(self, start: int, items: Sequence[RunItem]) -> LogEntry:
        """Read the items from index `start` on in this order; return its log row."""
        self.transcript.reorder(start, items)
        keys = [item.call_key for item in items]
        return self.log_entry("order", {"start": start, "keys": keys})

    def show(self, view: View) -> LogEntry:
        """Let the model read `view` from here on; return its log row."""
        self.transcript.show(view)
        return self.log_entry("view", serialize.view_of(self))

    def finish(self, final_output: Any) -> None:
        self.is_done = True
        self.final_output = final_output
        self.answer = None

    # Storing

    def bind(self, context: RunContextWrapper[TContext]) -> None:
        """Make `context` this run's own."""
        self._context = context
        context._state = self

    def set_context(self, value: TContext) -> None:
        """Put `value` in the place of the application's own context, at any depth."""
        self._context.context = value
        for open_call in self.open.values():
            if open_call.nested is not None:
                open_call.nested.set_context(value)

    def remember_serializers(self, serializer: Any, deserializer: Any) -> None:
        """Write the context with `serializer`; read what is stored with the other."""
        self.context_serializer = serializer or self.context_serializer
        if deserializer is not None and isinstance(self.context.context, Mapping):
            stored = dict(self.context.context)
            as_text = set(stored) == {SERIALIZED_TEXT}
            given = stored[SERIALIZED_TEXT] if as_text else stored
            self.set_context(deserializer(given))

    def copy(self, parent: RunState[Any] | None = None) -> RunState[TContext]:
        """Return a state of its own: decisions on one say nothing to the other."""
        twin = RunState.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.parent = parent
        usage = parent.usage if parent else serialize.copy_of(self.usage)
        twin.bind(dataclasses.replace(self._context, usage=usage))
        twin.open = {}
        for key, open_call in self.open.items():
            nested = open_call.nested and open_call.nested.copy(twin)
            twin.open[key] = dataclasses.replace(open_call, nested=nested)
        for name in ("sticky", "responses", "pending_input"):
            setattr(twin, name, list(getattr(self, name)))
        twin.transcript = self.transcript.copy()
        twin.guardrails = self.guardrails.copy()
        twin.server = self.server and dataclasses.replace(self.server)
        twin._calls = dict(self._calls)
        return twin

    def head(self, **options: Any) -> JSONObject:
        """Return the state without its items, as plain JSON."""
        return serialize.head_of(self, **options)

    def to_json(
        self,
        *,
        context_serializer: Any = None,
        strict_context: bool = False,
        include_tracing_api_key: bool = False,
    ) -> JSONObject:
        """Return the state as plain JSON, each item once.

        A context that is no mapping is written through `context_serializer` (gives a
        mapping); without one a dataclass is written as its fields and anything else
        as {}, both with a warning, or UserError when `strict_context`. The trace's API
        key is left out unless `include_tracing_api_key`.
        """
        return serialize.to_json(
            self,
            context_serializer=context_serializer or self.context_serializer,
            strict_context=strict_context,
            include_tracing_api_key=include_tracing_api_key,
        )

    def to_string(self, **options: Any) -> str:
        """Return `to_json` as text, indented by 2."""
        return serialize.to_string(self, **options)

    @staticmethod
    def from_json(
        initial_agent: Agent[Any] | Mapping[str, Any] | str,
        state_json: Mapping[str, Any] | str | None = None,
        *,
        context_override: Any = None,
        context_deserializer: Any = None,
        strict_context: bool = False,
        renames: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Awaitable[RunState[Any]]:
        """Read what `to_json` wrote; `initial_agent` is the run's root agent.

        The agent may be left out when `set_agent_registry` has said where agents are
        found by name. `renames` declares what has another name by now:
        `{"agents": {old: new}, "tools": {old: new}}`. With `strict_context` a context
        that was no mapping must be given back, or a `context_deserializer`.
        Raises RunStateVersionError on a newer schema, InvalidRunState on what is no
        state, UserError when the agent or a tool of an open call has changed.
        """
        return restore.from_json(
            RunState,
            initial_agent,
            state_json,
            context_override=context_override,
            context_deserializer=context_deserializer,
            strict_context=strict_context,
            renames=renames,
        )

    @staticmethod
    def from_string(
        initial_agent: Agent[Any] | str,
        state_string: str | None = None,
        **options: Any,
    ) -> Awaitable[RunState[Any]]:
        """Read what `to_string` wrote, as `from_json` does."""
        return RunState.from_json(initial_agent, state_string, **options)

    def restore_item(self, item: RunItem) -> None:
        """Append a stored item, as it was when it was new."""
        if (
            isinstance(item, InputItem)
            and len(self.transcript.items) < self.input_count
        ):
            self.transcript.begin(item)
            return
        self._append(item)
