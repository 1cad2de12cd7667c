"""An agent used as a tool: a run of its own, within the call that uses it.

Its state is nested in the open call, so that it pauses, is stored and goes on with the
run around it. A frame is never claimed twice: it goes on where it stood.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

from ..callbacks import called
from ..calls import Call, OpenCall, Outcome, OutcomeKind
from ..cancel import cancel_all
from ..config import DEFAULT_MAX_TURNS
from ..context import RunContextWrapper
from ..errors import RunInterrupted, UserError
from ..events import AgentToolStreamEvent, StreamEvent
from ..result import RunResult
from ..state.run_state import RunState
from ..state.server import ServerConversation
from ..tools.agent_tool import AgentTool, AgentToolInvocation
from ..tools.invoke import failure_of
from ..tools.tool import FunctionTool, InvalidToolArguments
from ..tools.tool_outputs import encode_output
from .drive import Drive, Emit, emit_nothing
from .run_tool import CallEnded
from .spans import tool_span
from .tool_contexts import tool_context

logger = logging.getLogger(__name__)

STOPPED = "A reviewer stopped the run inside this call."


async def run_frame(
    run: Drive, tool: FunctionTool, open_call: OpenCall
) -> CallEnded | None:
    """Return how the inner run ended; None when it waits, or was asked to pause."""
    how, call = tool.agent_tool, open_call.call
    if how is None:
        raise UserError(f"{tool.name} is no agent.")
    context = tool_context(run, call)
    try:
        with tool_span(run, call) as span:
            if open_call.nested is None:
                await run.own_hooks.tool_start(context, run.state.current_agent, tool)
                nested = await _opened(run, how, open_call)
                async with run.storing() as entries:
                    open_call.nested = nested
                    entries += [nested.entry(item) for item in nested.all_items]
            nested = open_call.nested
            async with _stream_to(how, call, nested) as emit:
                await run.go(_stretch(run, how, nested, emit))
            if not nested.is_done:
                return None
            if nested.stop_reason:
                outcome = Outcome(kind=OutcomeKind.REJECTED, output=STOPPED)
                return CallEnded(outcome=outcome, stops=True)
            value = await how.output_of(RunResult(nested, invocation=_invocation(call)))
            await run.own_hooks.tool_end(context, run.state.current_agent, tool, value)
            outcome = Outcome(kind=OutcomeKind.SUCCEEDED, output=encode_output(value))
            span.ended(outcome)
            return CallEnded(outcome=outcome, value=value)
    except RunInterrupted:
        raise
    except InvalidToolArguments as error:
        return CallEnded(outcome=Outcome(kind=OutcomeKind.INVALID, output=str(error)))
    except Exception as error:
        if tool.failure_error_function is None:
            failed = Outcome(kind=OutcomeKind.FAILED, output=str(error))
            return CallEnded(outcome=failed, failure=error)
        outcome, text = await failure_of(tool, context, error)
        return CallEnded(outcome=outcome, value=text)


async def _opened(run: Drive, how: AgentTool, open_call: OpenCall) -> RunState[Any]:
    """Return the state of the inner run, before its first step."""
    outer, call = run.state, open_call.call
    edited = open_call.verdict.arguments if open_call.verdict else None
    params = how.parsed(call.tool, call.arguments if edited is None else edited)
    context = RunContextWrapper(
        context=outer.context.context,
        usage=outer.usage,
        tool_input=params if how.is_structured else None,
    )
    return RunState(
        context,
        await how.input_for(params),
        how.agent,
        how.max_turns or DEFAULT_MAX_TURNS,
        parent=outer,
        frame=call.key,
        server=ServerConversation.of(
            how.conversation_id, how.previous_response_id, False
        ),
    )


def _stretch(
    run: Drive, how: AgentTool, nested: RunState[Any], emit: Emit | None
) -> Drive:
    return run.inner(
        nested,
        config=how.run_config or run.config,
        hooks=how.hooks,
        session=how.session,
        streamed=emit is not None,
        emit=emit or emit_nothing,
    )


def _invocation(call: Call) -> AgentToolInvocation:
    return AgentToolInvocation(
        tool_name=call.tool, tool_call_id=call.call_id, tool_arguments=call.arguments
    )


@contextlib.asynccontextmanager
async def _stream_to(
    how: AgentTool, call: Call, nested: RunState[Any]
) -> AsyncIterator[Emit | None]:
    """Give the inner run a way to tell `on_stream` of its events; None without one.

    The listener runs beside it. What the listener raises is logged: it only looks on.
    """
    if how.on_stream is None:
        yield None
        return
    waiting: asyncio.Queue[StreamEvent | None] = asyncio.Queue()

    async def emit(event: StreamEvent) -> None:
        limit = how.max_pending_events
        if limit is not None and waiting.qsize() >= limit:
            await asyncio.sleep(0)  # one more chance for a listener that keeps up
            if waiting.qsize() >= limit:
                raise UserError(
                    f"More than {limit} events of {nested.root_agent.name!r} wait for "
                    "on_stream; make it faster, or raise on_stream_max_pending_events."
                )
        waiting.put_nowait(event)

    listener = asyncio.create_task(_listen(how, call, nested, waiting))
    try:
        yield emit
        waiting.put_nowait(None)
        await listener
    finally:
        await cancel_all({listener})


async def _listen(
    how: AgentTool,
    call: Call,
    nested: RunState[Any],
    waiting: asyncio.Queue[StreamEvent | None],
) -> None:
    agent, tool_call = nested.current_agent, _tool_call(nested, call)
    while (event := await waiting.get()) is not None:
        if event.type == "agent_updated_stream_event":
            agent = event.new_agent
        told = AgentToolStreamEvent(event=event, agent=agent, tool_call=tool_call)
        try:
            await called("on_stream", how.on_stream or _nobody, told)
        except Exception:
            logger.exception("An on_stream callback failed")


def _tool_call(nested: RunState[Any], call: Call) -> Any:
    item = nested.parent.call_item(call.key) if nested.parent else None
    return item.raw_item if item else None


async def _nobody(event: object) -> None:
    return None
