"""What an application answers in a run's stead when the run cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypedDict, get_args

from .callbacks import called, takes
from .context import RunContextWrapper, TContext
from .digest import JSONObject
from .errors import AgentsException, UserError

if TYPE_CHECKING:
    from .agent import Agent
    from .items import RunItem
    from .models.interface import ModelResponse

RunErrorHandlerKind: TypeAlias = Literal[
    "max_turns", "model_refusal", "invalid_final_output"
]
KINDS: tuple[RunErrorHandlerKind, ...] = get_args(RunErrorHandlerKind)
_RESULT_KEYS = {"final_output", "include_in_history"}


@dataclass
class RunErrorData:
    """The run as it stood when it failed."""

    input: str | list[JSONObject]
    """What the run was given."""
    new_items: list[RunItem]
    history: list[JSONObject]
    """The input and the output, as a model would read them."""
    output: list[JSONObject]
    """`new_items` as a model would read them."""
    raw_responses: list[ModelResponse]
    last_agent: Agent[Any]


@dataclass
class RunErrorHandlerInput(Generic[TContext]):
    """What a handler is told."""

    error: AgentsException
    """MaxTurnsExceeded, ModelRefusalError, or ModelBehaviorError for an output."""
    context: RunContextWrapper[TContext]
    run_data: RunErrorData


@dataclass
class RunErrorHandlerResult:
    """What the run ends with instead of its error."""

    final_output: Any
    include_in_history: bool = True
    """True adds the output to the run's items as the agent's message."""


RunErrorHandler: TypeAlias = (
    Callable[[RunErrorHandlerInput[TContext]], Any]
    | Callable[[RunContextWrapper[TContext], AgentsException], Any]
)
"""Sync or async callable of a RunErrorHandlerInput, or of (context, error).

It gives a RunErrorHandlerResult, a dict of that form, or the final output itself; None
lets the error out.
"""


class RunErrorHandlers(TypedDict, Generic[TContext], total=False):
    """The handlers of a run, by the kind of failure."""

    max_turns: RunErrorHandler[TContext]
    model_refusal: RunErrorHandler[TContext]
    invalid_final_output: RunErrorHandler[TContext]


def checked_handlers(handlers: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the handlers that are set.

    Raises UserError for an unknown kind and for a handler that cannot be called with
    one argument or with two: before a run starts is the time to learn of it.
    """
    found = {kind: made for kind, made in (handlers or {}).items() if made is not None}
    for kind, handler in found.items():
        if kind not in KINDS:
            raise UserError(
                f"There is no error handler {kind!r}; the kinds are {', '.join(KINDS)}."
            )
        if not callable(handler) or not (takes(handler, 1) or takes(handler, 2)):
            raise UserError(
                f"The error handler {kind!r} is {handler!r}; it must take one argument "
                "(a RunErrorHandlerInput) or two (context and error)."
            )
    return found


async def handle(
    handlers: Mapping[str, Any] | None,
    kind: RunErrorHandlerKind,
    data: RunErrorHandlerInput[Any],
) -> RunErrorHandlerResult | None:
    """Return what the handler for `kind` gives; None lets the error out.

    Raises what the handler raises, and UserError as `checked_handlers` does or for a
    dict with `final_output` and keys that are none of a result's.
    """
    handler = checked_handlers(handlers).get(kind)
    if handler is None:
        return None
    args = (data,) if takes(handler, 1) else (data.context, data.error)
    return _result(await called(f"The error handler {kind!r}", handler, *args))


def _result(given: Any) -> RunErrorHandlerResult | None:
    if given is None or isinstance(given, RunErrorHandlerResult):
        return given
    if not isinstance(given, dict) or "final_output" not in given:
        return RunErrorHandlerResult(final_output=given)
    if unknown := given.keys() - _RESULT_KEYS:
        raise UserError(
            f"An error handler's result has the keys {sorted(map(str, unknown))}; "
            "beside final_output only include_in_history is known."
        )
    return RunErrorHandlerResult(**given)
