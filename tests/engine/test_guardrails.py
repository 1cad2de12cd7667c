"""Guardrails by themselves: verdicts, tripwires, and that no check is left behind."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest

from runs.engine import Agent, UserError
from runs.engine.context import RunContextWrapper
from runs.engine.errors import (
    InputGuardrailTripwireTriggered,
    OutputGuardrailTripwireTriggered,
)
from runs.engine.guardrails import (
    GuardrailFunctionOutput,
    InputGuardrail,
    InputGuardrailResult,
    OutputGuardrail,
    OutputGuardrailResult,
    input_guardrail,
    output_guardrail,
    run_input_guardrails,
    run_output_guardrails,
)

AGENT: Agent[Any] = Agent(name="A")
CONTEXT: RunContextWrapper[Any] = RunContextWrapper(context=None)
FINE = GuardrailFunctionOutput(output_info="fine", tripwire_triggered=False)
BAD = GuardrailFunctionOutput(output_info="bad", tripwire_triggered=True)


def gives(output: Any, name: str = "gives") -> InputGuardrail[Any]:
    return InputGuardrail(lambda ctx, agent, given: output, name)


class Endless:
    """A guardrail that waits until it is cancelled."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.cancelled = False
        self.guardrail: InputGuardrail[Any] = InputGuardrail(self.check, "endless")

    async def check(self, *_: Any) -> GuardrailFunctionOutput:
        self.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return FINE


def left_over() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


def test_input_guardrail_bare_takes_the_function_and_its_name() -> None:
    @input_guardrail
    def polite(ctx: Any, agent: Any, given: Any) -> GuardrailFunctionOutput:
        return FINE

    assert isinstance(polite, InputGuardrail)
    assert (polite.name, polite.get_name(), polite.run_in_parallel) == (
        "polite",
        "polite",
        True,
    )


def test_input_guardrail_takes_options() -> None:
    @input_guardrail(name="manners", run_in_parallel=False)
    async def polite(ctx: Any, agent: Any, given: Any) -> GuardrailFunctionOutput:
        return FINE

    assert (polite.get_name(), polite.run_in_parallel) == ("manners", False)


def test_output_guardrail_works_bare_and_with_a_name() -> None:
    def short(ctx: Any, agent: Any, output: Any) -> GuardrailFunctionOutput:
        return FINE

    assert output_guardrail(short).get_name() == "short"
    assert output_guardrail(name="brief")(short).get_name() == "brief"


def test_get_name_of_a_callable_without_one_is_its_class() -> None:
    check = functools.partial(lambda *_: FINE)

    assert InputGuardrail(check).get_name() == "partial"
    assert OutputGuardrail(check).get_name() == "partial"


async def test_input_guardrail_run_gives_its_function_all_it_was_given() -> None:
    seen: list[Any] = []

    async def check(*given: Any) -> GuardrailFunctionOutput:
        seen.extend(given)
        return FINE

    guardrail: InputGuardrail[Any] = InputGuardrail(check)
    result = await guardrail.run(AGENT, "hello", CONTEXT)

    assert seen == [CONTEXT, AGENT, "hello"]
    assert result == InputGuardrailResult(guardrail=guardrail, output=FINE)


async def test_output_guardrail_run_names_agent_and_output() -> None:
    guardrail: OutputGuardrail[Any] = OutputGuardrail(lambda *_: FINE)

    result = await guardrail.run(CONTEXT, AGENT, {"a": 1})

    assert result == OutputGuardrailResult(
        guardrail=guardrail, agent_output={"a": 1}, agent=AGENT, output=FINE
    )


@pytest.mark.parametrize("given", [None, True, {"tripwire_triggered": False}])
async def test_guardrail_without_a_verdict_does_not_let_the_run_pass(
    given: Any,
) -> None:
    with pytest.raises(UserError, match="must return a GuardrailFunctionOutput"):
        await gives(given).run(AGENT, "hello", CONTEXT)


async def test_guardrail_that_cannot_be_called_is_named() -> None:
    guardrail: InputGuardrail[Any] = InputGuardrail("no function")  # type: ignore[arg-type]

    with pytest.raises(UserError, match="'no function' is not"):
        await guardrail.run(AGENT, "hello", CONTEXT)


async def test_run_input_guardrails_runs_all_at_once() -> None:
    arrived = asyncio.Barrier(2)

    async def check(*_: Any) -> GuardrailFunctionOutput:
        await asyncio.wait_for(arrived.wait(), timeout=60)
        return FINE

    both = [InputGuardrail[Any](check, "a"), InputGuardrail[Any](check, "b")]
    results = await run_input_guardrails(both, AGENT, "hello", CONTEXT)

    assert {result.guardrail.get_name() for result in results} == {"a", "b"}


async def test_run_input_guardrails_without_any_gives_nothing() -> None:
    assert await run_input_guardrails([], AGENT, "hello", CONTEXT) == []


async def test_tripwire_ends_the_others_and_tells_what_came_before() -> None:
    endless = Endless()
    gathered: list[InputGuardrailResult] = []

    async def trips(*_: Any) -> GuardrailFunctionOutput:
        await endless.started.wait()
        return BAD

    guardrails = [gives(FINE), endless.guardrail, InputGuardrail[Any](trips, "trips")]
    with pytest.raises(InputGuardrailTripwireTriggered) as caught:
        await run_input_guardrails(guardrails, AGENT, "hello", CONTEXT, gathered)

    assert caught.value.guardrail_result.guardrail.get_name() == "trips"
    assert caught.value.guardrail_result.output == BAD
    assert [result.output for result in gathered] == [FINE, BAD]
    assert endless.cancelled
    assert left_over() == set()


async def test_guardrail_that_raises_fails_with_that_error_and_ends_the_others() -> (
    None
):
    endless = Endless()

    async def breaks(*_: Any) -> GuardrailFunctionOutput:
        await endless.started.wait()
        raise LookupError("no list of words")

    guardrails = [endless.guardrail, InputGuardrail[Any](breaks)]
    with pytest.raises(LookupError, match="no list of words"):
        await run_input_guardrails(guardrails, AGENT, "hello", CONTEXT)

    assert endless.cancelled
    assert left_over() == set()


async def test_cancelling_the_run_ends_its_guardrails() -> None:
    endless = Endless()
    checking = asyncio.create_task(
        run_input_guardrails([endless.guardrail], AGENT, "hello", CONTEXT)
    )
    await endless.started.wait()

    checking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await checking

    assert endless.cancelled
    assert left_over() == set()


@pytest.mark.parametrize("raised", [SystemExit(3), asyncio.CancelledError()])
async def test_guardrail_can_neither_end_the_worker_nor_stop_the_run(
    raised: BaseException,
) -> None:
    def leaves(*_: Any) -> GuardrailFunctionOutput:
        raise raised

    with pytest.raises(UserError, match="The guardrail 'leaves'"):
        await run_input_guardrails([InputGuardrail(leaves)], AGENT, "hello", CONTEXT)


async def test_output_tripwire_names_the_guardrail_and_the_output() -> None:
    guardrail: OutputGuardrail[Any] = OutputGuardrail(lambda *_: BAD, "secrets")

    with pytest.raises(OutputGuardrailTripwireTriggered, match="secrets") as caught:
        await run_output_guardrails([guardrail], AGENT, "the key is 7", CONTEXT)

    assert caught.value.guardrail_result.agent_output == "the key is 7"


async def test_run_output_guardrails_gives_all_results() -> None:
    guardrail: OutputGuardrail[Any] = OutputGuardrail(lambda *_: FINE)

    results = await run_output_guardrails([guardrail] * 2, AGENT, "fine", CONTEXT)

    assert [result.output for result in results] == [FINE, FINE]
