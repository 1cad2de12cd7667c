"""Checks on what a run is given and on what it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, overload

from .callbacks import called
from .cancel import cancel_all
from .context import RunContextWrapper, TContext
from .digest import JSONObject
from .errors import (
    AgentsException,
    InputGuardrailTripwireTriggered,
    OutputGuardrailTripwireTriggered,
    UserError,
)

if TYPE_CHECKING:
    from .agent import Agent


@dataclass
class GuardrailFunctionOutput:
    """What a guardrail found."""

    output_info: Any
    """Whatever the guardrail wants to tell about its checks."""
    tripwire_triggered: bool
    """True ends the run."""


InputGuardrailFunction: TypeAlias = Callable[
    [RunContextWrapper[TContext], "Agent[Any]", str | list[JSONObject]],
    GuardrailFunctionOutput | Awaitable[GuardrailFunctionOutput],
]
OutputGuardrailFunction: TypeAlias = Callable[
    [RunContextWrapper[TContext], "Agent[Any]", Any],
    GuardrailFunctionOutput | Awaitable[GuardrailFunctionOutput],
]


@dataclass
class InputGuardrailResult:
    """What an input guardrail gave."""

    guardrail: InputGuardrail[Any]
    output: GuardrailFunctionOutput


@dataclass
class OutputGuardrailResult:
    """What an output guardrail gave."""

    guardrail: OutputGuardrail[Any]
    agent_output: Any
    """The final output it checked."""
    agent: Agent[Any]
    output: GuardrailFunctionOutput


@dataclass
class InputGuardrail(Generic[TContext]):
    """A check of a run's input; its tripwire: InputGuardrailTripwireTriggered."""

    guardrail_function: InputGuardrailFunction[TContext]
    """Sync or async callable of (context, agent, input)."""
    name: str | None = None
    """Shown in traces; None means the function's name."""
    run_in_parallel: bool = True
    """True checks while the agent already works, False before it starts."""

    def get_name(self) -> str:
        return _name_of(self.name, self.guardrail_function)

    async def run(
        self,
        agent: Agent[Any],
        input: str | list[JSONObject],
        context: RunContextWrapper[TContext],
    ) -> InputGuardrailResult:
        """Check `input`. Raises what the function raises, UserError for no verdict."""
        output = await _verdict(self, context, agent, input)
        return InputGuardrailResult(guardrail=self, output=output)


@dataclass
class OutputGuardrail(Generic[TContext]):
    """A check of a final output; its tripwire: OutputGuardrailTripwireTriggered."""

    guardrail_function: OutputGuardrailFunction[TContext]
    """Sync or async callable of (context, agent, final output)."""
    name: str | None = None
    """Shown in traces; None means the function's name."""

    def get_name(self) -> str:
        return _name_of(self.name, self.guardrail_function)

    async def run(
        self,
        context: RunContextWrapper[TContext],
        agent: Agent[Any],
        agent_output: Any,
    ) -> OutputGuardrailResult:
        """Check `agent_output`. Raises as InputGuardrail.run does."""
        output = await _verdict(self, context, agent, agent_output)
        return OutputGuardrailResult(
            guardrail=self, agent_output=agent_output, agent=agent, output=output
        )


@overload
def input_guardrail(
    func: InputGuardrailFunction[TContext],
) -> InputGuardrail[TContext]: ...


@overload
def input_guardrail(
    *, name: str | None = None, run_in_parallel: bool = True
) -> Callable[[InputGuardrailFunction[TContext]], InputGuardrail[TContext]]: ...


def input_guardrail(
    func: InputGuardrailFunction[TContext] | None = None,
    *,
    name: str | None = None,
    run_in_parallel: bool = True,
) -> (
    InputGuardrail[TContext]
    | Callable[[InputGuardrailFunction[TContext]], InputGuardrail[TContext]]
):
    """Make an InputGuardrail of a function; works bare and with options."""

    def make(function: InputGuardrailFunction[TContext]) -> InputGuardrail[TContext]:
        return InputGuardrail(function, _name_of(name, function), run_in_parallel)

    return make if func is None else make(func)


@overload
def output_guardrail(
    func: OutputGuardrailFunction[TContext],
) -> OutputGuardrail[TContext]: ...


@overload
def output_guardrail(
    *, name: str | None = None
) -> Callable[[OutputGuardrailFunction[TContext]], OutputGuardrail[TContext]]: ...


def output_guardrail(
    func: OutputGuardrailFunction[TContext] | None = None, *, name: str | None = None
) -> (
    OutputGuardrail[TContext]
    | Callable[[OutputGuardrailFunction[TContext]], OutputGuardrail[TContext]]
):
    """Make an OutputGuardrail of a function; works bare and with options."""

    def make(function: OutputGuardrailFunction[TContext]) -> OutputGuardrail[TContext]:
        return OutputGuardrail(function, _name_of(name, function))

    return make if func is None else make(func)


async def run_input_guardrails(
    guardrails: Sequence[InputGuardrail[Any]],
    agent: Agent[Any],
    input: str | list[JSONObject],
    context: RunContextWrapper[Any],
    gathered: list[InputGuardrailResult] | None = None,
) -> list[InputGuardrailResult]:
    """Run all at once and return their results, in the order they came.

    Each result is also put into `gathered` as it comes, the tripping one included, so
    that the caller has those of a run that failed. The first tripwire raises
    InputGuardrailTripwireTriggered, a guardrail that raises lets its error out; either
    way the others are cancelled and waited for.
    """
    checks = [guardrail.run(agent, input, context) for guardrail in guardrails]
    return await _all(checks, gathered, InputGuardrailTripwireTriggered)


async def run_output_guardrails(
    guardrails: Sequence[OutputGuardrail[Any]],
    agent: Agent[Any],
    agent_output: Any,
    context: RunContextWrapper[Any],
    gathered: list[OutputGuardrailResult] | None = None,
) -> list[OutputGuardrailResult]:
    """Check a final output as `run_input_guardrails` checks an input."""
    checks = [guardrail.run(context, agent, agent_output) for guardrail in guardrails]
    return await _all(checks, gathered, OutputGuardrailTripwireTriggered)


Result = TypeVar("Result", InputGuardrailResult, OutputGuardrailResult)


async def _all(
    checks: Sequence[Coroutine[Any, Any, Result]],
    gathered: list[Result] | None,
    refusal: Callable[[Result], AgentsException],
) -> list[Result]:
    results: list[Result] = []
    tasks = [asyncio.create_task(check) for check in checks]
    try:
        for ended in asyncio.as_completed(tasks):
            result = await ended
            results.append(result)
            if gathered is not None:
                gathered.append(result)
            if result.output.tripwire_triggered:
                raise refusal(result)
    except BaseException:
        # Also when we are cancelled ourselves: no check outlives this call.
        await cancel_all(tasks)
        raise
    return results


async def _verdict(
    guardrail: InputGuardrail[Any] | OutputGuardrail[Any], *args: Any
) -> GuardrailFunctionOutput:
    function = guardrail.guardrail_function
    if not callable(function):
        raise UserError(
            f"A guardrail's function must be callable; {function!r} is not."
        )
    name = guardrail.get_name()
    output = await called(f"The guardrail {name!r}", function, *args)
    if not isinstance(output, GuardrailFunctionOutput):
        raise UserError(
            f"The guardrail {name!r} returned {type(output).__name__}; "
            "it must return a GuardrailFunctionOutput."
        )
    return output


def _name_of(name: str | None, function: Callable[..., Any]) -> str:
    return name or str(getattr(function, "__name__", type(function).__name__))
