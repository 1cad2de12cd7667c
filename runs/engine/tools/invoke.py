"""Running a tool's body, so that whatever it does ends as an outcome.

A body may raise, exit, cancel itself, take too long or not end at all; none of this
reaches the run but as text for the model, or as the one error that ends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from ..callbacks import called
from ..calls import Outcome, OutcomeKind
from ..cancel import cancel_all, is_leaked_cancel
from ..context import ToolContext
from ..errors import AgentsException, RunInterrupted, ToolTimeoutError, UserError
from ..loop.error_texts import error_text
from .function_tool import PythonBody
from .tool import (
    FunctionTool,
    InvalidToolArguments,
    ToolErrorFunction,
    default_tool_error_function,
)

STOPPED = "The run was stopped before this call ended; nobody saw how it ended."


class ToolFailed(UserError):
    """A tool without a failure_error_function raised."""

    @property
    def to_raise(self) -> AgentsException:
        """What the run ends with: an error of the engine's from inside, or this one."""
        cause = self.__cause__
        return cause if isinstance(cause, AgentsException) else self


async def invoke(
    tool: FunctionTool,
    context: ToolContext[Any],
    arguments: str,
    *,
    stopping: asyncio.Event,
) -> tuple[Outcome, Any]:
    """Return how the call ended, and what the body gave or, failing, the model's text.

    `stopping` is set when the run is told to stop: a cancellation then leaves the
    outcome unknown. Raises ToolFailed when the run is to end with this call, and what
    interrupts a run inside it.
    """
    try:
        value = tool.typed(await _body(tool, context, arguments))
        return Outcome(kind=OutcomeKind.SUCCEEDED, output=tool.encode(value)), value
    except asyncio.CancelledError as error:
        if is_leaked_cancel():
            return await failure_of(tool, context, RuntimeError(_named(error)))
        if not stopping.is_set():
            raise
        return Outcome(kind=OutcomeKind.UNKNOWN, output=STOPPED), STOPPED
    except RunInterrupted:
        raise
    except _Late as late:
        return await _lateness(tool, context, late.error)
    except Exception as error:
        return await failure_of(tool, context, error)


async def invoke_function_tool(
    *, function_tool: FunctionTool, context: ToolContext[Any], arguments: str
) -> Any:
    """Return what the tool gives, within its timeout.

    Raises ToolTimeoutError when its `timeout_behavior` says so, and what the tool
    raises when it has no `failure_error_function`.
    """
    try:
        body = function_tool.on_invoke_tool(context, arguments)
        return await _within(function_tool, body)
    except _Late as late:
        if function_tool.timeout_behavior == "raise_exception":
            raise late.error from None
        return await _lateness_text(function_tool, context, late.error)


class _Late(Exception):
    """The body did not end in time; unlike a TimeoutError of the body's own."""

    def __init__(self, error: ToolTimeoutError) -> None:
        super().__init__()
        self.error = error


async def _body(tool: FunctionTool, context: ToolContext[Any], arguments: str) -> Any:
    body = tool.on_invoke_tool
    run = body.run if isinstance(body, PythonBody) else body
    return await _within(tool, run(context, arguments))


async def _within(tool: FunctionTool, work: Awaitable[Any]) -> Any:
    """Return what `work` gives. Raises _Late when it takes longer than the tool may.

    A task of its own bounds also what would not be cancelled: that is left behind.
    """
    if tool.timeout_seconds is None:
        return await _contained(work)
    task = asyncio.ensure_future(_contained(work))
    try:
        in_time, _ = await asyncio.wait({task}, timeout=tool.timeout_seconds)
    finally:
        await cancel_all({task})
    if task in in_time or _has_result(task):
        return task.result()
    raise _Late(ToolTimeoutError(tool.name, tool.timeout_seconds))


def _has_result(task: asyncio.Future[Any]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


async def _contained(work: Awaitable[Any]) -> Any:
    try:
        return await work
    except (Exception, asyncio.CancelledError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        # Out of a task an exit would end the loop, and every other run with it.
        raise RuntimeError(_named(error)) from error


async def failure_of(
    tool: FunctionTool, context: ToolContext[Any], error: Exception
) -> tuple[Outcome, str]:
    """Return what the model is told of it. Raises ToolFailed when the run is to end."""
    invalid = isinstance(error, InvalidToolArguments)
    if tool.failure_error_function is not None:
        text = await _told(tool, tool.failure_error_function, context, error)
        if tool.failure_error_function is default_tool_error_function and not invalid:
            text = await error_text(
                context.run_config,
                context,
                kind="tool_exception",
                tool_name=tool.name,
                call_id=context.tool_call_id,
                default=text,
                error=error,
            )
    elif invalid:  # the model's mistake, and it can mend it
        text = str(error)
    else:
        raise ToolFailed(f"Tool {tool.name!r} failed: {_named(error)}") from error
    kind = OutcomeKind.INVALID if invalid else OutcomeKind.FAILED
    return Outcome(kind=kind, output=text), text


async def _lateness(
    tool: FunctionTool, context: ToolContext[Any], error: ToolTimeoutError
) -> tuple[Outcome, str]:
    if tool.timeout_behavior == "raise_exception":
        raise ToolFailed(str(error)) from error
    text = await _lateness_text(tool, context, error)
    return Outcome(kind=OutcomeKind.FAILED, output=text), text


async def _lateness_text(
    tool: FunctionTool, context: ToolContext[Any], error: ToolTimeoutError
) -> str:
    if tool.timeout_error_function is not None:
        return await _told(tool, tool.timeout_error_function, context, error)
    return (
        f"{tool.name} did not end within {tool.timeout_seconds:g} seconds; "
        "it may or may not have had its effect."
    )


async def _told(
    tool: FunctionTool,
    tell: ToolErrorFunction,
    context: ToolContext[Any],
    error: Exception,
) -> str:
    try:
        what = f"The failure function of {tool.name!r}"
        return str(await called(what, tell, context, error))
    except Exception as second:
        raise ToolFailed(
            f"Tool {tool.name!r} failed ({_named(error)}), and so did the function "
            f"that says so: {_named(second)}"
        ) from second


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
