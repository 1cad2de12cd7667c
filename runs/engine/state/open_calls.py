"""The open calls of a run, and the rules of what is decided about them.

A decision holds for one call; a standing one for every call of one agent's tool in the
run. The call's own goes before the standing one, and of two standing ones the later.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..calls import (
    Call,
    CallKind,
    OpenCall,
    Risk,
    StickyVerdict,
    Verdict,
    VerdictKind,
)
from ..errors import UserError
from ..items import ToolApprovalItem
from ..tools.tool import FunctionTool, tools_by_name
from .edits import checked_arguments

if TYPE_CHECKING:
    from ..agent import Agent
    from .run_state import RunState


class OpenCalls:
    """One agent's calls that have no output yet, and its place among the agents.

    An agent used as a tool is nested in a call of its `parent`, whose key is its
    `frame`; the root agent has neither.
    """

    def __init__(
        self, agent: Agent[Any], parent: RunState[Any] | None, frame: str
    ) -> None:
        self.parent = parent
        self.frame = frame
        self.root_agent = agent
        self.current_agent = agent
        self.open: dict[str, OpenCall] = {}
        self.sticky: list[StickyVerdict] = []
        """Standing verdicts, oldest first."""
        self.renamed_tools: Mapping[str, str] = {}
        """New names of tools by the names that stored calls have for them."""
        self._started: set[str] = set()

    @property
    def agent_path(self) -> str:
        """Agent names from the root down, joined by ` / `."""
        name = self.agent_key
        return f"{self.parent.agent_path} / {name}" if self.parent else name

    @property
    def agent_key(self) -> str:
        """The name of the agent whose turn it is; `name#2` for a second one of it."""
        if self.current_agent is self.root_agent:
            return self.root_agent.name
        return self.root_agent.agents().key_of(self.current_agent)

    @property
    def path(self) -> tuple[str, ...]:
        """Agents and tools by turns, from the root agent to the current one."""
        if self.parent is None:
            return (self.current_agent.name,)
        tool = self.parent.open[self.frame].call.tool
        return (*self.parent.path, tool, self.current_agent.name)

    # Finding calls

    def find_open(self, key: str) -> tuple[OpenCalls, OpenCall] | None:
        """Return the open call `key`, at any depth, with the state it belongs to."""
        if open_call := self.open.get(key):
            return self, open_call
        for outer in self.open.values():
            if outer.nested is not None and (found := outer.nested.find_open(key)):
                return found
        return None

    def open_calls_below(self) -> Iterator[tuple[OpenCalls, OpenCall]]:
        """Yield every open call, those of nested agents too, with its own state."""
        for open_call in list(self.open.values()):
            yield self, open_call
            if open_call.nested is not None:
                yield from open_call.nested.open_calls_below()

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
        return [
            open_call
            for open_call in self.open.values()
            if not open_call.waits and not _hands_over(open_call)
        ]

    def only_handoffs(self) -> bool:
        """Say whether all calls are settled but those that hand over."""
        return all(map(_hands_over, self.open.values()))

    def can_go_on(self) -> bool:
        """Say whether there is a step to take without a person."""
        return self.only_handoffs() or bool(self.calls_ready())

    # What holds

    def verdict_on(self, open_call: OpenCall) -> Verdict | None:
        """Return the verdict that holds for a call: its own, else the standing one."""
        if open_call.verdict is not None or open_call.in_doubt:
            return open_call.verdict
        if not open_call.call.gated:
            return None
        for sticky in reversed(self.sticky):
            if sticky.covers(open_call.call):
                return sticky.verdict
        return None

    # Deciding

    def approve(
        self,
        approval_item: ToolApprovalItem,
        always_approve: bool = False,
        *,
        arguments: str | Mapping[str, Any] | None = None,
    ) -> None:
        """Let the call run when the run goes on.

        `always_approve` also covers every other call of this agent's tool, pending or
        later in the run; a decision on a single call goes before it. `arguments` run
        instead of those the model wrote, and the model is told so; they are checked
        against the tool's schema first (UserError) and cover this one call only.
        """
        found = self._pending(approval_item)
        if found is None:
            return
        owner, open_call = found
        text = None
        if arguments is not None:
            tool = owner.tool_named(open_call.call.tool)
            text = checked_arguments(tool, open_call.call, arguments)
        verdict = Verdict(kind=VerdictKind.APPROVE, arguments=text)
        owner._decide(open_call, verdict, always=always_approve)

    def reject(
        self,
        approval_item: ToolApprovalItem,
        always_reject: bool = False,
        *,
        rejection_message: str | None = None,
        stop: bool = False,
    ) -> None:
        """Keep the call from running; the model is told `rejection_message`.

        With `stop` the run ends there, without another word of the model.
        """
        if found := self._pending(approval_item):
            verdict = Verdict(
                kind=VerdictKind.REJECT, message=rejection_message, stop=stop
            )
            found[0]._decide(found[1], verdict, always=always_reject)

    def respond(self, approval_item: ToolApprovalItem, output: str) -> None:
        """Give the call's output in a person's words, without running it."""
        if found := self._pending(approval_item):
            verdict = Verdict(kind=VerdictKind.ANSWER, message=output)
            found[0]._decide(found[1], verdict, always=False)

    def record_verdict(self, key: str, verdict: Verdict) -> None:
        """Note what was decided about the call `key`, if it is open."""
        if found := self.find_open(key):
            open_call = found[1]
            open_call.verdict = verdict
            open_call.in_doubt = open_call.held = False

    def forget_verdicts(self) -> None:
        """Hold no open call decided or in doubt: whoever goes on asks anew."""
        for _, open_call in self.open_calls_below():
            open_call.verdict = open_call.held_at = None
            open_call.in_doubt = open_call.held = open_call.resolved = False

    def decided(self, tool_name: str, call_id: str) -> bool | None:
        """Return whether the open call was approved; None while it is undecided."""
        verdict = self._verdict_of(tool_name, call_id)
        return None if verdict is None else verdict.kind is VerdictKind.APPROVE

    def rejection_message(self, tool_name: str, call_id: str) -> str | None:
        """Return what the open call's rejection tells the model, if it is rejected."""
        verdict = self._verdict_of(tool_name, call_id)
        rejected = verdict is not None and verdict.kind is VerdictKind.REJECT
        return verdict.message if verdict and rejected else None

    def _verdict_of(self, tool_name: str, call_id: str) -> Verdict | None:
        for owner, open_call in self.open_calls_below():
            if (open_call.call.tool, open_call.call.call_id) == (tool_name, call_id):
                return owner.verdict_on(open_call)
        for sticky in reversed(self.sticky):
            if (sticky.agent_path, sticky.tool) == (self.agent_path, tool_name):
                return sticky.verdict
        return None

    def tool_named(self, called: str) -> FunctionTool | None:
        """Return the function tool that a call of `called` is of, by its name now."""
        name = self.renamed_tools.get(called, called)
        return tools_by_name(self.current_agent.tools).get(name)

    def _pending(self, item: ToolApprovalItem) -> tuple[OpenCalls, OpenCall] | None:
        """Return the open call that `item` stands for; None when it is open no more."""
        if not isinstance(item, ToolApprovalItem):
            raise TypeError(
                f"{item!r} is no approval item; use one of get_interruptions()."
            )
        found = self.find_open(item.call_key)
        if found is None or found[1].call.digest != item.call.digest:
            return None
        return found

    def _decide(self, open_call: OpenCall, verdict: Verdict, *, always: bool) -> None:
        call = open_call.call
        if always and call.review.risk == Risk.CRITICAL:
            raise UserError(
                f"{call.tool} is critical: each of its calls is decided on its own; "
                "leave the always_ argument out."
            )
        open_call.verdict = verdict
        open_call.in_doubt = open_call.held = False
        if always:
            standing = dataclasses.replace(
                verdict, arguments=None, digest=None, note=None, stop=False
            )
            self.sticky.append(
                StickyVerdict(
                    agent_path=call.agent_path,
                    tool=call.tool,
                    schema_hash=call.schema_hash,
                    verdict=standing,
                )
            )


def _hands_over(open_call: OpenCall) -> bool:
    return open_call.call.kind is CallKind.HANDOFF and not open_call.gone
