"""Settling the calls of an answer: those that may run do, the others wait.

Ungated calls run at once, side by side. A gated one starts when the gate says so, also
while its siblings run; the model is asked again only when every call has its output.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from .calls import (
    Call,
    ClaimStatus,
    OpenCall,
    Outcome,
    OutcomeKind,
    Verdict,
    VerdictKind,
)
from .cancel import cancel_all, is_leaked_cancel
from .config import ToolErrorFormatterArgs
from .context import ToolContext
from .drive import Drive
from .errors import RunInterrupted, RunStopped, UserError
from .events import RunItemStreamEvent
from .items import ToolCallOutputItem
from .tools import FunctionTool, InvalidToolArguments, settled

DEFAULT_REJECTION = "A reviewer rejected this call; it was not run."
ANSWERED_PREFIX = "Answered by a person instead of running the tool: "
STOPPED = "The run was stopped before this call ended; nobody saw how it ended."


class ToolFailed(UserError):
    """A tool without a failure_error_function raised."""


@dataclass
class _Settling:
    run: Drive
    tasks: dict[asyncio.Task[None], str] = field(default_factory=dict)
    failures: list[BaseException] = field(default_factory=list)

    def start_ready(self) -> None:
        started = set(self.tasks.values())
        for open_call in self.run.state.calls_ready():
            if open_call.call.key not in started:
                task = asyncio.create_task(_settle(self.run, open_call))
                self.tasks[task] = open_call.call.key

    def collect(self) -> None:
        for task in [task for task in self.tasks if task.done()]:
            del self.tasks[task]
            if not task.cancelled() and (error := task.exception()):
                self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Start nothing more; what runs may still end."""
        self.failures.append(error)
        if isinstance(error, RunStopped):
            self.run.stopping.set()

    async def look_up(self) -> None:
        """Take in what has been decided by now."""
        try:
            await _apply_verdicts(self.run)
        except RunInterrupted as error:
            self.fail(error)


async def settle_calls(run: Drive) -> None:
    """Return when every open call is settled or waits for a person.

    A call that fails the run lets its running siblings end first: cutting them off
    would leave effects nobody saw.
    """
    if not run.state.open:
        return
    settling = _Settling(run)
    try:
        await settling.look_up()
        while True:
            if not settling.failures and not run.stopping.is_set():
                settling.start_ready()
            if not settling.tasks:
                break
            await _wait_for_news(settling)
    finally:
        await cancel_all(set(settling.tasks))
    if settling.failures:
        raise settling.failures[0]
    if run.stopping.is_set():
        raise RunStopped("The run was stopped.")


async def _wait_for_news(settling: _Settling) -> None:
    """Wait until a call has ended, more may be decided, or the run is stopped."""
    run, tasks = settling.run, set(settling.tasks)
    if run.stopping.is_set():
        _, late = await asyncio.wait(tasks, timeout=run.stop_grace_s)
        await cancel_all(late)
        settling.collect()
        settling.tasks.clear()  # what would not end even so
        return
    changed = asyncio.ensure_future(run.ports.gate.changed())
    stopped = asyncio.ensure_future(run.stopping.wait())
    try:
        await asyncio.wait(
            {*tasks, changed, stopped}, return_when=asyncio.FIRST_COMPLETED
        )
        if changed.done():
            await settling.look_up()
    finally:
        await cancel_all({changed, stopped})
    settling.collect()


async def _apply_verdicts(run: Drive) -> None:
    asked = [
        open_call.call
        for open_call in run.state.open.values()
        if open_call.waits or (run.resumed and open_call.verdict is None)
    ]
    run.resumed = False
    if not asked:
        return
    for key, verdict in (await run.ports.gate.verdicts(asked)).items():
        run.state.record_verdict(key, verdict)


async def _settle(run: Drive, open_call: OpenCall) -> None:
    """Bring one call to its output and store it, or leave it open."""
    call, failure = open_call.call, None
    if call.gated or open_call.verdict:
        item = run.state.approval_item(call)
        await run.emit(RunItemStreamEvent("approval_resolved", item))
    try:
        outcome, value = await _outcome(run, open_call)
    except ToolFailed as error:
        outcome, value, failure = _failed(error), None, error
    if outcome is None:
        return
    output = ToolCallOutputItem(
        agent=run.state.current_agent,
        raw={
            "type": "function_call_output",
            "call_id": call.call_id,
            "output": outcome.output,
        },
        call_key=call.key,
        outcome=outcome.kind,
        output=outcome.output if value is None else value,
    )
    async with run.writing:
        entry = run.state.close_call(call, output)
        await run.ports.journal.record(run.state, call, outcome, [entry])
    await run.emit(RunItemStreamEvent("tool_output", output))
    if failure is not None:
        raise failure


async def _outcome(run: Drive, open_call: OpenCall) -> tuple[Outcome | None, Any]:
    """Return how the call ended and what its body returned; None leaves it open."""
    verdict = open_call.verdict
    if verdict is not None and verdict.kind is VerdictKind.ANSWER:
        text = f"{ANSWERED_PREFIX}{verdict.message or ''}"
        return Outcome(kind=OutcomeKind.ANSWERED, output=text), None
    if verdict is not None and verdict.kind is VerdictKind.REJECT:
        text = await _rejection_text(run, open_call, verdict)
        return Outcome(kind=OutcomeKind.REJECTED, output=text), None
    return await _run_once(run, open_call)


async def _rejection_text(run: Drive, open_call: OpenCall, verdict: Verdict) -> str:
    if verdict.message:
        return verdict.message
    formatter = run.config.tool_error_formatter
    if formatter is None:
        return DEFAULT_REJECTION
    text = formatter(
        ToolErrorFormatterArgs(
            kind="approval_rejected",
            tool_name=open_call.call.tool,
            call_id=open_call.call.call_id,
            default_message=DEFAULT_REJECTION,
        )
    )
    return str(await settled(text) or DEFAULT_REJECTION)


async def _run_once(run: Drive, open_call: OpenCall) -> tuple[Outcome | None, Any]:
    """Claim the call, then run its body."""
    call = open_call.call
    tools = await run.state.current_agent.get_all_tools(run.state.context)
    tool = next((tool for tool in tools if tool.name == call.tool), None)
    if tool is not None and not _is_the_tool_called(tool, call):
        text = f"{call.tool} has changed since it was called; call it again."
        return Outcome(kind=OutcomeKind.INVALID, output=text), None
    if tool is None:
        names = ", ".join(tool.name for tool in tools) or "none"
        text = f"There is no tool named {call.tool!r}. The tools are: {names}."
        return Outcome(kind=OutcomeKind.INVALID, output=text), None
    idempotency_key = f"{run.state.run_id}:{call.key}"
    if call.is_claimed:
        claim = await run.ports.journal.claim(run.state, call)
        if claim.status is ClaimStatus.DONE:
            return claim.outcome, None
        if claim.status is not ClaimStatus.GRANTED:
            open_call.verdict = None
            open_call.in_doubt = claim.status is ClaimStatus.IN_DOUBT
            open_call.held = claim.status is ClaimStatus.HELD
            return None, None
        idempotency_key = claim.idempotency_key
    return await _invoke(run, tool, open_call, idempotency_key)


def _is_the_tool_called(tool: FunctionTool, call: Call) -> bool:
    """Say whether the tool of that name is, by now, still the one the call is of."""
    asks_now = tool.needs_approval is True
    return tool.schema_hash == call.schema_hash and (call.gated or not asks_now)


async def _invoke(
    run: Drive, tool: FunctionTool, open_call: OpenCall, idempotency_key: str
) -> tuple[Outcome, Any]:
    call, state = open_call.call, run.state
    context = ToolContext(
        context=state.context.context,
        usage=state.usage,
        _state=state,
        tool_name=call.tool,
        tool_call_id=call.call_id,
        tool_arguments=call.arguments,
        idempotency_key=idempotency_key,
        agent=state.current_agent,
    )
    deadline = asyncio.timeout(tool.timeout)
    try:
        async with deadline:
            value = await tool.on_invoke_tool(context, call.arguments)
        return Outcome(kind=OutcomeKind.SUCCEEDED, output=_text(value)), value
    except InvalidToolArguments as error:
        return Outcome(kind=OutcomeKind.INVALID, output=str(error)), None
    except asyncio.CancelledError as error:
        if is_leaked_cancel():
            return await _failure(tool, context, error), None
        if not run.stopping.is_set():
            raise
        return Outcome(kind=OutcomeKind.UNKNOWN, output=STOPPED), None
    except (Exception, SystemExit) as error:
        if deadline.expired():
            return Outcome(kind=OutcomeKind.FAILED, output=_late(tool)), None
        return await _failure(tool, context, error), None


async def _failure(
    tool: FunctionTool, context: ToolContext[Any], error: BaseException
) -> Outcome:
    """Return what the model is told of it. Raises ToolFailed when the run is to end."""
    if tool.failure_error_function is None:
        raise ToolFailed(
            f"Tool {tool.name!r} failed: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(error, Exception):
        error = RuntimeError(f"{type(error).__name__} {error}".strip())
    text = str(await settled(tool.failure_error_function(context, error)))
    return Outcome(kind=OutcomeKind.FAILED, output=text)


def _late(tool: FunctionTool) -> str:
    return (
        f"{tool.name} did not end within {tool.timeout:g} seconds; "
        "it may or may not have had its effect."
    )


def _failed(error: ToolFailed) -> Outcome:
    return Outcome(kind=OutcomeKind.FAILED, output=str(error))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)
