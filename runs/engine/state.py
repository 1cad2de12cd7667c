"""RunState: everything a run is, between two of its steps.

The items are the run's log, appended and never changed. The rest is the *head*: small,
whatever the run's length, because it holds only the calls that are still open.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic

from . import restore, serialize
from .calls import Call, OpenCall, StickyVerdict, Verdict, VerdictKind
from .config import DEFAULT_MAX_TURNS
from .context import RunContextWrapper, TContext
from .digest import JSONObject
from .errors import ModelBehaviorError, UserError
from .items import (
    InputItem,
    RunItem,
    ToolApprovalItem,
    ToolCallItem,
    ToolCallOutputItem,
    input_items,
)
from .ports import LogEntry
from .usage import Usage

if TYPE_CHECKING:
    from .agent import Agent
    from .models.interface import ModelResponse


MAX_CALL_ID = 500


class RunState(Generic[TContext]):
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
    ) -> None:
        """Begin a run. `history` is what the model reads before the input."""
        self.run_id = run_id or uuid.uuid4().hex
        self.root_agent = starting_agent
        self.current_agent = starting_agent
        self.turn = 0
        """Answers the model has given; a failed or unanswered call counts for none."""
        self.max_turns = max_turns
        self.is_done = False
        self.final_output: Any = None
        self.last_response_id: str | None = None
        self.history = tuple(history)
        self.pending_input: list[JSONObject] = []
        self.open: dict[str, OpenCall] = {}
        self.sticky: list[StickyVerdict] = []
        self.responses: list[JSONObject] = []
        """One record an answer: turn, response_id, items (how many), usage."""
        self._items: list[RunItem] = []
        self._model_input = list(self.history)
        self._calls: dict[str, str] = {}
        self._started: set[str] = set()
        self._raw_responses: dict[int, ModelResponse] = {}
        self.bind(context)
        for raw in input_items(original_input):
            self.add(InputItem(agent=starting_agent, raw=raw))
        self.input_count = len(self._items)
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
    def all_items(self) -> list[RunItem]:
        """Every item, the input first, in the order they happened."""
        return list(self._items)

    @property
    def original_input(self) -> list[JSONObject]:
        return [item.raw for item in self._items[: self.input_count]]

    @property
    def new_items(self) -> list[RunItem]:
        """The items since the input."""
        return self._items[self.input_count :]

    @property
    def model_responses(self) -> list[ModelResponse]:
        """The model's answers, oldest first."""
        return restore.responses_of(self, self._raw_responses)

    def model_input(self) -> list[JSONObject]:
        """Return what the model reads next: a list of the caller's own."""
        return list(self._model_input)

    def get_interruptions(self) -> list[ToolApprovalItem]:
        """Return the calls that wait for a person; changing them changes nothing."""
        return [
            self.approval_item(open_call.call)
            for open_call in self.open.values()
            if self.verdict_on(open_call) is None and open_call.waits
        ]

    def approval_item(self, call: Call) -> ToolApprovalItem:
        """Return the item that stands for `call` before a person."""
        raw = {
            "type": "function_call",
            "name": call.tool,
            "arguments": call.arguments,
            "call_id": call.call_id,
        }
        return ToolApprovalItem(
            agent=self.current_agent, raw=raw, call_key=call.key, call=call
        )

    # Decisions

    def approve(
        self, approval_item: ToolApprovalItem, always_approve: bool = False
    ) -> None:
        """Let the call run when the run goes on.

        `always_approve` also covers every other call of this agent's tool, pending or
        later in the run; a decision on a single call goes before it.
        """
        verdict = Verdict(kind=VerdictKind.APPROVE)
        self._decide(approval_item, verdict, always=always_approve)

    def reject(
        self,
        approval_item: ToolApprovalItem,
        always_reject: bool = False,
        *,
        rejection_message: str | None = None,
    ) -> None:
        """Keep the call from running; the model is told `rejection_message`."""
        verdict = Verdict(kind=VerdictKind.REJECT, message=rejection_message)
        self._decide(approval_item, verdict, always=always_reject)

    def respond(self, approval_item: ToolApprovalItem, output: str) -> None:
        """Give the call's output in a person's words, without running it."""
        verdict = Verdict(kind=VerdictKind.ANSWER, message=output)
        self._decide(approval_item, verdict, always=False)

    def record_verdict(self, key: str, verdict: Verdict) -> None:
        """Note what was decided about the call `key`, if it is open."""
        if open_call := self.open.get(key):
            open_call.verdict = verdict
            open_call.in_doubt = open_call.held = False

    def verdict_on(self, open_call: OpenCall) -> Verdict | None:
        """Return the verdict that holds for a call: its own, else the standing one."""
        if open_call.verdict is not None or open_call.in_doubt:
            return open_call.verdict
        if not open_call.call.gated:
            return None
        for sticky in reversed(self.sticky):
            if (sticky.agent_path, sticky.tool) == _sticky_key(open_call.call):
                return sticky.verdict
        return None

    def decided(self, tool_name: str, call_id: str) -> bool | None:
        """Return whether the open call was approved; None while it is undecided."""
        for open_call in self.open.values():
            if (open_call.call.tool, open_call.call.call_id) == (tool_name, call_id):
                verdict = self.verdict_on(open_call)
                return None if verdict is None else verdict.kind is VerdictKind.APPROVE
        return None

    def _decide(
        self, item: ToolApprovalItem, verdict: Verdict, *, always: bool
    ) -> None:
        if not isinstance(item, ToolApprovalItem):
            raise TypeError(
                f"{item!r} is no approval item; use one of get_interruptions()."
            )
        open_call = self.open.get(item.call_key)
        if open_call is None or open_call.call.digest != item.call.digest:
            return
        open_call.verdict = verdict
        if always:
            agent_path, tool = _sticky_key(open_call.call)
            self.sticky.append(
                StickyVerdict(agent_path=agent_path, tool=tool, verdict=verdict)
            )

    # Input while it goes on

    def add_input(self, given: str | Sequence[JSONObject]) -> None:
        """Add messages that the model reads after the outputs of its open calls.

        Raises UserError when the run has ended or has no turn left to read them in.
        """
        if self.is_done:
            raise UserError("The run has ended; start a new one with its result.")
        if self.max_turns is not None and self.turn >= self.max_turns:
            raise UserError("The run has no turn left; resume it with more max_turns.")
        self.pending_input.extend(input_items(given))

    def clear_pending_input(self) -> None:
        self.pending_input.clear()

    def take_pending_input(self) -> list[JSONObject]:
        taken, self.pending_input = self.pending_input, []
        return taken

    # Steps: what the loop does to it

    def add(self, item: RunItem) -> LogEntry:
        """Append an item and return its log row."""
        self._items.append(item)
        self._model_input.append(item.to_input_item())
        return self.entry(item)

    def entry(self, item: RunItem) -> LogEntry:
        """Return an item's log row."""
        return LogEntry(kind="item", payload=item.to_entry(), call_key=item.call_key)

    def add_response(self, response: ModelResponse, items: int) -> LogEntry:
        """Count the model's answer, whose `items` items were just added."""
        self.turn += 1
        self.usage.add(response.usage)
        self.last_response_id = response.response_id
        record = {
            "turn": self.turn,
            "response_id": response.response_id,
            "items": items,
            "usage": response.usage.totals(),
        }
        self._raw_responses[len(self.responses)] = response
        self.responses.append(record)
        return LogEntry(kind="response", payload=record)

    def open_calls(self, calls: Sequence[Call]) -> None:
        """Take in the calls of an answer, all or none.

        Raises ModelBehaviorError when an id is missing, too long or was used before.
        """
        ids = Counter(call.call_id for call in calls)
        for call in calls:
            if not 0 < len(call.call_id) <= MAX_CALL_ID or "\x00" in call.call_id:
                raise ModelBehaviorError(
                    f"The model called {call.tool} without a call id that can be kept."
                )
            if call.call_id in self._calls or ids[call.call_id] > 1:
                raise ModelBehaviorError(
                    f"The model used call id {call.call_id!r} again, for {call.tool}; "
                    "every call needs an id of its own."
                )
        for call in calls:
            self._calls[call.call_id] = call.key
            self.open[call.key] = OpenCall(call=call)

    def close_call(self, call: Call, item: ToolCallOutputItem) -> LogEntry:
        """Put the call's output in its place."""
        del self.open[call.key]
        return self.add(item)

    def finish(self, final_output: Any) -> None:
        self.is_done = True
        self.final_output = final_output

    def mark_started(self, call: Call) -> None:
        """Note that the call's body starts. Raises UserError when it did before."""
        if call.key in self._started:
            raise UserError(
                f"{call.tool} ({call.call_id}) was started from this state before and "
                "its outcome was not recorded; attach a journal to go on safely."
            )
        self._started.add(call.key)

    def calls_ready(self) -> list[OpenCall]:
        """Return open calls that need nothing more before they are dealt with."""
        for open_call in self.open.values():
            open_call.verdict = self.verdict_on(open_call)
        return [open_call for open_call in self.open.values() if not open_call.waits]

    # Storing

    def bind(self, context: RunContextWrapper[TContext]) -> None:
        """Make `context` this run's own."""
        self._context = context
        context._state = self

    def copy(self) -> RunState[TContext]:
        """Return a state of its own: decisions on one say nothing to the other."""
        twin = RunState.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.open = {
            key: dataclasses.replace(open_call) for key, open_call in self.open.items()
        }
        for name in ("sticky", "responses", "pending_input", "_items", "_model_input"):
            setattr(twin, name, list(getattr(self, name)))
        twin._calls = dict(self._calls)
        twin._raw_responses = dict(self._raw_responses)
        twin.bind(
            dataclasses.replace(self._context, usage=serialize.copy_of(self.usage))
        )
        return twin

    def head(self, **options: Any) -> JSONObject:
        """Return the state without its items, as plain JSON."""
        return serialize.head_of(self, **options)

    def to_json(
        self,
        *,
        context_serializer: Any = None,
        strict_context: bool = False,
    ) -> JSONObject:
        """Return the state as plain JSON, each item once.

        A context that is no mapping is written through `context_serializer` (gives a
        mapping); without one a dataclass is written as its fields and anything else
        as {}, both with a warning, or UserError when `strict_context`.
        """
        return serialize.to_json(
            self, context_serializer=context_serializer, strict_context=strict_context
        )

    def to_string(self, **options: Any) -> str:
        """Return `to_json` as text, indented by 2."""
        return serialize.to_string(self, **options)

    @staticmethod
    def from_json(
        initial_agent: Agent[Any],
        state_json: Mapping[str, Any] | str,
        *,
        context_override: Any = None,
        context_deserializer: Any = None,
    ) -> Awaitable[RunState[Any]]:
        """Read what `to_json` wrote; `initial_agent` is the run's root agent.

        Raises RunStateVersionError on a newer schema, InvalidRunState on what is no
        state, UserError when the agent or a tool of an open call has changed.
        """
        return restore.from_json(
            RunState,
            initial_agent,
            state_json,
            context_override=context_override,
            context_deserializer=context_deserializer,
        )

    @staticmethod
    def from_string(
        initial_agent: Agent[Any], state_string: str, **options: Any
    ) -> Awaitable[RunState[Any]]:
        """Read what `to_string` wrote, as `from_json` does."""
        return RunState.from_json(initial_agent, state_string, **options)

    def restore_item(self, item: RunItem) -> None:
        """Append a stored item, as `add` did when it was new."""
        if isinstance(item, ToolCallItem):
            self._calls[item.raw["call_id"]] = item.call_key
        self.add(item)


def _sticky_key(call: Call) -> tuple[str, str]:
    return call.agent_path, call.tool
