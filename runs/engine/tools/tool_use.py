"""Whether what the tools of a turn gave is already the run's final output."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, TypedDict

from ..callbacks import called
from ..context import RunContextWrapper, TContext
from ..errors import UserError


class NamedTool(Protocol):
    @property
    def name(self) -> str: ...


class ToolResult(Protocol):
    """What is read of a FunctionToolResult."""

    @property
    def tool(self) -> NamedTool: ...

    @property
    def output(self) -> Any: ...


@dataclass
class ToolsToFinalOutputResult:
    """What a tool_use_behavior function decides."""

    is_final_output: bool
    """False lets the model read the outputs and go on."""
    final_output: Any | None = None


class StopAtTools(TypedDict):
    """Ends the run with the output of the first of these tools that was called."""

    stop_at_tool_names: list[str]


# A function is given FunctionToolResults; Any, so that it may say so in its signature.
ToolsToFinalOutputFunction: TypeAlias = Callable[
    [RunContextWrapper[TContext], list[Any]],
    ToolsToFinalOutputResult | Awaitable[ToolsToFinalOutputResult],
]
ToolUseBehavior: TypeAlias = (
    Literal["run_llm_again", "stop_on_first_tool"]
    | StopAtTools
    | ToolsToFinalOutputFunction[TContext]
)


async def final_output_of(
    behavior: ToolUseBehavior[Any],
    context: RunContextWrapper[Any],
    results: Sequence[ToolResult],
) -> ToolsToFinalOutputResult:
    """Return whether `results`, of one turn and in its order, end the run.

    No results never do, and then a callable `behavior` is not asked. Raises UserError
    for a behavior of another form, and for a callable that gives something else.
    """
    if not results or behavior == "run_llm_again":
        return ToolsToFinalOutputResult(is_final_output=False)
    if behavior == "stop_on_first_tool":
        return ToolsToFinalOutputResult(True, results[0].output)
    if isinstance(behavior, dict):
        return _at_names(_names(behavior), results)
    if not callable(behavior):
        raise UserError(
            f"tool_use_behavior is {behavior!r}; use 'run_llm_again', "
            "'stop_on_first_tool', {'stop_at_tool_names': […]} or a callable."
        )
    return await _asked(behavior, context, results)


def _names(behavior: StopAtTools) -> list[str]:
    names = behavior.get("stop_at_tool_names")
    if len(behavior) != 1 or not isinstance(names, list | tuple | set | frozenset):
        raise UserError(
            f"tool_use_behavior is {behavior!r}; as a dict it has one key, "
            "'stop_at_tool_names', with a list of tool names."
        )
    return list(names)


def _at_names(
    names: Sequence[str], results: Sequence[ToolResult]
) -> ToolsToFinalOutputResult:
    for result in results:
        qualified = getattr(result.tool, "qualified_name", result.tool.name)
        if result.tool.name in names or qualified in names:
            return ToolsToFinalOutputResult(True, result.output)
    return ToolsToFinalOutputResult(is_final_output=False)


async def _asked(
    behavior: ToolsToFinalOutputFunction[Any],
    context: RunContextWrapper[Any],
    results: Sequence[ToolResult],
) -> ToolsToFinalOutputResult:
    decided = await called("tool_use_behavior", behavior, context, list(results))
    if not isinstance(decided, ToolsToFinalOutputResult):
        raise UserError(
            f"tool_use_behavior returned {type(decided).__name__}; "
            "it must return a ToolsToFinalOutputResult."
        )
    return decided
