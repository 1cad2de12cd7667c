"""Settling the calls of an answer: those that may run do, the others wait.

Ungated calls run at once, side by side. A gated one starts when the gate says so, also
while its siblings run; the model is asked again only when every call has its output.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from ..callbacks import called, contained
from ..calls import (
    Call,
    CallKind,
    Claim,
    ClaimStatus,
    OpenCall,
    Outcome,
    OutcomeKind,
    Verdict,
    VerdictKind,
)
from ..cancel import cancel_all
from ..digest import JSONObject
from ..errors import ClaimRefused, RunInterrupted, RunStopped
from ..events import ItemEventName, RunItemStreamEvent
from ..hosted.hosted_tools import MCPToolApprovalRequest
from ..items import MCPApprovalResponseItem, RunItem, ToolCallOutputItem, typed_item
from ..state.edits import told_of_edit
from ..tools.tool import FunctionTool, tools_by_name
from .drive import Drive
from .error_texts import error_text
from .local_calls import output_for, run_local
from .run_tool import NO_VALUE, CallEnded, output_raw, run_tool
from .take import hosted_server

DEFAULT_REJECTION = "A reviewer rejected this call; it was not run."
ANSWERED_PREFIX = "Answered by a person instead of running the tool: "
ENDED = "A reviewer stopped the run; this call was not run."

RunFrame = Callable[[Drive, FunctionTool, OpenCall], Awaitable[CallEnded | None]]


@dataclass
class _Settling:
    run: Drive
    run_frame: RunFrame
    tasks: dict[asyncio.Task[None], str] = field(default_factory=dict)
    failures: list[BaseException] = field(default_factory=list)
    rested: set[str] = field(default_factory=set)
    """Agents used as tools that were asked to pause."""

    def start_ready(self) -> None:
        started = {*self.tasks.values(), *self.rested}
        for open_call in self.run.state.calls_ready():
            if self._is_full():
                return
            if open_call.call.key not in started:
                what = f"Code around the call of {open_call.call.tool!r}"
                settling = contained(what, _settle(self.run, open_call, self.run_frame))
                self.tasks[asyncio.create_task(settling)] = open_call.call.key

    def _is_full(self) -> bool:
        how = self.run.config.tool_execution
        limit = how.max_function_tool_concurrency if how else None
        return limit is not None and len(self.tasks) >= limit

    def collect(self) -> None:
        for task in [task for task in self.tasks if task.done()]:
            key = self.tasks.pop(task)
            if self.run.control.pause_after_turn:
                self.rested.add(key)
            if not task.cancelled() and (error := task.exception()):
                self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Start nothing more; what runs may still end."""
        self.failures.append(error)
        if isinstance(error, RunStopped):
            self.run.control.stopping.set()

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to start."""
        control = self.run.control
        stopped = control.stopping.is_set() or control.reviewer_stopped
        return bool(self.failures or stopped or self.run.state.stop_reason)

    async def look_up(self) -> None:
        """Take in what has been decided by now."""
        try:
            await _apply_verdicts(self.run)
        except RunInterrupted as error:
            self.fail(error)


async def settle_calls(run: Drive, run_frame: RunFrame) -> None:
    """Return when every open call is settled or waits for a person.

    A call that fails the run lets its running siblings end first: cutting them off
    would leave effects nobody saw. Handoffs are left open: they come last.
    """
    if run.state.only_handoffs():
        return
    settling = _Settling(run, run_frame)
    before, keys = len(run.state.transcript.items), list(run.state.open)
    try:
        while True:
            seen = run.ports.gate.version()
            await settling.look_up()
            if not settling.is_over:
                settling.start_ready()
            if not settling.tasks:
                break
            await _wait_for_news(settling, seen)
    finally:
        await cancel_all(set(settling.tasks))
    await _put_in_order(run, before, keys)
    if settling.failures:
        raise settling.failures[0]
    if run.control.stopping.is_set():
        raise RunStopped("The run was stopped.")
    if run.state.stop_reason:
        await _close_unrun(run)


async def _put_in_order(run: Drive, start: int, keys: list[str]) -> None:
    """Let the model read the outputs in the order of their calls.

    Each was stored the moment it was there; what came of one stretch is read in an
    order that does not depend on which tool was quicker.
    """
    items = run.state.transcript.items[start:]
    in_order = sorted(items, key=lambda item: keys.index(item.call_key))
    if in_order != items:
        async with run.storing() as entries:
            entries.append(run.state.put_in_order(start, in_order))


async def _wait_for_news(settling: _Settling, seen: int) -> None:
    """Wait until a call has ended, more may be decided, or the run is stopped."""
    run, tasks = settling.run, set(settling.tasks)
    stopping = run.control.stopping
    if stopping.is_set():
        _, late = await asyncio.wait(tasks, timeout=run.control.stop_grace_s)
        await cancel_all(late)
        settling.collect()
        settling.tasks.clear()  # what would not end even so
        return
    # Only a call that waits can have been decided about.
    waits = any(call.waits for _, call in run.state.open_calls_below())
    changed = {asyncio.ensure_future(run.ports.gate.changed(seen))} if waits else set()
    try:
        await asyncio.wait(
            {*tasks, *changed, stopping.told()}, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        await cancel_all(changed)
    settling.collect()


async def _apply_verdicts(run: Drive) -> None:
    if run.resumed:
        for _, open_call in run.state.open_calls_below():
            open_call.held = False  # the journal is to say so anew
    asked = [
        open_call.call
        for _, open_call in run.state.open_calls_below()
        if open_call.nested is None
        and (open_call.waits or (run.resumed and open_call.verdict is None))
        and (run.resumed or not _is_still_held(run, open_call))
    ]
    run.resumed = False
    if not asked:
        return
    found = await run.journal(run.ports.gate.verdicts(asked))
    for key, verdict in found.items():
        run.state.record_verdict(key, verdict)


def _is_still_held(run: Drive, open_call: OpenCall) -> bool:
    """Say whether a call may not start yet, and nothing has been heard since."""
    return open_call.held and open_call.held_at == run.ports.gate.version()


async def _settle(run: Drive, open_call: OpenCall, run_frame: RunFrame) -> None:
    """Bring one call to its output and store it, or leave it open."""
    call = open_call.call
    if (call.gated or open_call.verdict) and not open_call.resolved:
        open_call.resolved = True
        item = run.state.approval_item(call)
        await run.announce(RunItemStreamEvent("approval_resolved", item))
    ended = await _ended(run, open_call, run_frame)
    if ended is not None:
        await _close(run, call, ended)
        if ended.failure is not None:
            raise ended.failure


async def _close(run: Drive, call: Call, ended: CallEnded) -> None:
    """Store how a call ended, in the place of the call."""
    item, name = _output_item(run, call, ended)
    async with run.control.writing:
        entries = [
            run.state.log_entry("guardrail", said, call.key)
            for said in ended.guardrails
        ]
        entries.append(run.state.close_call(call, item))
        if ended.stops:
            run.control.reviewer_stopped = True
            run.state.stop_reason = f"A reviewer rejected {call.tool} and stopped here."
        await run.journal(
            run.ports.journal.record(run.state.root, call, ended.outcome, entries)
        )
    await run.emit(RunItemStreamEvent(name, item))


def _output_item(
    run: Drive, call: Call, ended: CallEnded
) -> tuple[RunItem, ItemEventName]:
    agent, outcome = run.state.current_agent, ended.outcome
    if call.kind is CallKind.HOSTED_MCP:
        said = _mcp_response(call, outcome)
        item = MCPApprovalResponseItem(agent, said, call_key=call.key)
        return item, "mcp_approval_response"
    value = outcome.output if ended.value is NO_VALUE else ended.value
    output = ToolCallOutputItem(
        agent,
        _raw_output(run, call, ended),
        value,
        call_key=call.key,
        outcome=outcome.kind,
        custom_data=ended.custom_data,
        asked=run.state.call_item(call.key),
    )
    return output, "tool_output"


def _mcp_response(call: Call, outcome: Outcome) -> JSONObject:
    allowed = outcome.kind is OutcomeKind.SUCCEEDED
    raw: JSONObject = {
        "type": "mcp_approval_response",
        "approval_request_id": call.call_id,
        "approve": allowed,
    }
    if not allowed and outcome.output:
        raw["reason"] = outcome.output
    return raw


def _raw_output(run: Drive, call: Call, ended: CallEnded) -> JSONObject:
    asked, raw = call_raw(run, call), ended.item
    if raw is None and call.kind is CallKind.LOCAL:
        raw = output_for(run, asked, ended.outcome)
    if raw is None:
        raw = output_raw(call, ended.outcome)
    caller = asked.get("caller")
    return {**raw, "caller": caller} if caller else raw


async def _ended(
    run: Drive, open_call: OpenCall, run_frame: RunFrame
) -> CallEnded | None:
    """Return how the call ended; None leaves it open."""
    verdict = open_call.verdict
    if verdict is not None and verdict.kind is VerdictKind.ANSWER:
        words = ANSWERED_PREFIX if verdict.note is None else verdict.note
        text = f"{words}{verdict.message or ''}"
        return CallEnded(outcome=Outcome(kind=OutcomeKind.ANSWERED, output=text))
    if verdict is not None and verdict.kind is VerdictKind.REJECT:
        text = await _rejection_text(run, open_call.call, verdict)
        outcome = Outcome(kind=OutcomeKind.REJECTED, output=text)
        return CallEnded(outcome=outcome, stops=verdict.stop)
    if open_call.gone:
        return await _end_without_tool(run, open_call)
    return await _run_once(run, open_call, run_frame)


async def _end_without_tool(run: Drive, open_call: OpenCall) -> CallEnded | None:
    """End a call whose tool is another one by now, or none.

    One that had started may have happened: what became of it is asked first.
    """
    call, kind = open_call.call, OutcomeKind.INVALID
    if open_call.started:
        claim = await _claimed(run, open_call, call.under(open_call.verdict))
        if claim is None:
            return None
        if claim.outcome is not None:
            return CallEnded(outcome=claim.outcome)
        kind = OutcomeKind.UNKNOWN
    _, fault = await _tool_of(run, call)
    text = fault or _has_changed(call)
    return CallEnded(outcome=Outcome(kind=kind, output=text))


async def _rejection_text(run: Drive, call: Call, verdict: Verdict) -> str:
    if verdict.message:
        return verdict.message
    if call.kind is CallKind.HOSTED_MCP:
        return ""
    return await _formatted(run, call, "approval_rejected", DEFAULT_REJECTION)


async def _formatted(run: Drive, call: Call, kind: Any, default: str) -> str:
    return await error_text(
        run.config,
        run.state.context,
        kind=kind,
        tool_name=call.tool,
        call_id=call.call_id,
        default=default,
    )


async def _run_once(
    run: Drive, open_call: OpenCall, run_frame: RunFrame
) -> CallEnded | None:
    """Claim the call, then run its body."""
    call = open_call.call
    if call.kind is CallKind.HOSTED_MCP:
        return await _allow_hosted(run, open_call)
    tool: FunctionTool | None = None
    if call.kind is not CallKind.LOCAL:
        tool, fault = await _tool_of(run, call)
        if tool is None:
            return CallEnded(outcome=Outcome(kind=OutcomeKind.INVALID, output=fault))
    # Made once: what is claimed is what runs, whatever is said meanwhile.
    running = call.under(open_call.verdict)
    note = open_call.verdict.note if open_call.verdict else None
    claim = await _claimed(run, open_call, running)
    if claim is None:
        return None
    if claim.outcome is not None:
        return CallEnded(outcome=claim.outcome)
    if tool is None:
        raw = call_raw(run, call)
        return await run_local(run, call, raw, claim.idempotency_key)
    ended: CallEnded | None
    if tool.agent_tool is not None:
        ended = await run_frame(run, tool, open_call)
    else:
        ended = await run_tool(run, tool, running, claim.idempotency_key)
    if ended is None or running.override is None:
        return ended
    return ended.told(note or told_of_edit(running.runs))


async def _claimed(run: Drive, open_call: OpenCall, call: Call) -> Claim | None:
    """Return the claim by which the call starts, or has ended; None leaves it open.

    `call` is that of `open_call` as it is to run.
    """
    if not call.is_claimed or open_call.nested is not None:
        return Claim(status=ClaimStatus.GRANTED)
    heard = run.ports.gate.version()
    claim = await run.journal(run.ports.journal.claim(run.state.root, call))
    done = claim.status is ClaimStatus.DONE and claim.outcome is not None
    if claim.status is ClaimStatus.GRANTED:
        _check_granted(claim, call)
    if done or claim.status is ClaimStatus.GRANTED:
        return claim
    open_call.verdict = None
    open_call.in_doubt = claim.status is ClaimStatus.IN_DOUBT
    open_call.held = claim.status is ClaimStatus.HELD
    open_call.held_at = heard
    return None


def _check_granted(claim: Claim, call: Call) -> None:
    """Raise ClaimRefused when what was granted is not what is about to run."""
    if claim.digest not in ("", call.runs_digest):
        raise ClaimRefused(
            f"What was claimed is not the call of {call.tool} that was about to start; "
            "it was not run."
        )


async def _tool_of(run: Drive, call: Call) -> tuple[FunctionTool | None, str]:
    """Return the tool a call is of, or what the model is told instead."""
    state = run.state
    found = await state.current_agent.get_all_tools(state.context)
    tools = tools_by_name(found)
    tool = tools.get(state.renamed_tools.get(call.tool, call.tool))
    if tool is None:
        names = ", ".join(tools) or "none"
        text = f"There is no tool named {call.tool!r}. The tools are: {names}."
        return None, await _formatted(run, call, "tool_not_found", text)
    if not _is_the_tool_called(tool, call):
        return None, _has_changed(call)
    return tool, ""


def _has_changed(call: Call) -> str:
    return f"{call.tool} has changed since it was called; call it again."


def _is_the_tool_called(tool: FunctionTool, call: Call) -> bool:
    """Say whether the tool of that name is, by now, still the one the call is of."""
    same = tool.schema_hash_as(call.tool) == call.schema_hash
    return same and (call.gated or tool.needs_approval is not True)


async def _allow_hosted(run: Drive, open_call: OpenCall) -> CallEnded | None:
    """Let the model's server call a tool there: a person said so, or the program."""
    call = open_call.call
    if not call.gated:
        return await _asked_program(run, call)
    claim = await _claimed(run, open_call, call.under(open_call.verdict))
    if claim is None:
        return None
    allowed = Outcome(kind=OutcomeKind.SUCCEEDED, output="")
    return CallEnded(outcome=claim.outcome or allowed)


async def _asked_program(run: Drive, call: Call) -> CallEnded:
    state = run.state
    raw = call_raw(run, call)
    tools = await state.current_agent.get_all_tools(state.context)
    server = hosted_server(tools, raw)
    if server is None or server.on_approval_request is None:
        refused = "The server is no longer offered."
        return CallEnded(outcome=Outcome(kind=OutcomeKind.REJECTED, output=refused))
    request = MCPToolApprovalRequest(ctx_wrapper=state.context, data=typed_item(raw))
    said = await called("on_approval_request", server.on_approval_request, request)
    allowed = said["approve"] is True
    kind = OutcomeKind.SUCCEEDED if allowed else OutcomeKind.REJECTED
    reason = "" if allowed else str(said.get("reason") or "")
    return CallEnded(outcome=Outcome(kind=kind, output=reason))


def call_raw(run: Drive, call: Call) -> JSONObject:
    """Return the item that asked for `call`, as the model's server wrote it."""
    item = run.state.call_item(call.key)
    return item.raw if item else {}


async def _close_unrun(run: Drive) -> None:
    """End the run that a reviewer stopped: what is still open does not run."""
    for open_call in list(run.state.open.values()):
        outcome = Outcome(kind=OutcomeKind.REJECTED, output=ENDED)
        await _close(run, open_call.call, CallEnded(outcome=outcome))
    async with run.storing():
        run.state.finish(None)
