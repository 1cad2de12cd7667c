"""The input guardrails of a run: before the first model call, or beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from ..callbacks import contained
from ..cancel import cancel_all
from ..guardrails import InputGuardrail, run_input_guardrails
from ..state.guardrail_log import result_to_json
from .drive import Drive
from .spans import guardrail_spans

T = TypeVar("T")

HEAD_START = 20
"""Rounds of the loop that a check has before the model is asked beside it."""


async def check_before(run: Drive) -> None:
    """Run the guardrails that the model must wait for."""
    await _check(run, [one for one in _guardrails(run) if not one.run_in_parallel])


async def check_beside(run: Drive, asked: Coroutine[Any, Any, T]) -> T:
    """Return what `asked` gives, once the other guardrails let the input pass.

    The answer is taken only then: no tool of it runs before. A tripwire cuts the model
    off.
    """
    guardrails = [one for one in _guardrails(run) if one.run_in_parallel]
    if not guardrails:
        return await asked
    checks = asyncio.ensure_future(_check(run, guardrails))
    answer = asyncio.ensure_future(contained("Code of the agent", _later(asked)))
    try:
        await asyncio.wait({checks, answer}, return_when=asyncio.FIRST_EXCEPTION)
        if checks.done():
            checks.result()
        return answer.result()
    finally:
        await cancel_all({checks, answer})


async def _later(asked: Coroutine[Any, Any, T]) -> T:
    """Return what `asked` gives; a check that says no at once saves it."""
    try:
        for _ in range(HEAD_START):
            await asyncio.sleep(0)
    except BaseException:
        asked.close()
        raise
    return await asked


def _guardrails(run: Drive) -> list[InputGuardrail[Any]]:
    if run.state.input_checked:
        return []
    agent = run.state.current_agent
    return [*agent.input_guardrails, *(run.config.input_guardrails or [])]


async def _check(run: Drive, guardrails: Sequence[InputGuardrail[Any]]) -> None:
    if not guardrails:
        return
    state = run.state
    gathered: list[Any] = []
    try:
        with guardrail_spans(guardrails, gathered):
            await run.unless_stopped(
                run_input_guardrails(
                    guardrails,
                    state.current_agent,
                    state.given_input,
                    state.context,
                    gathered,
                )
            )
    finally:
        async with run.storing() as entries:
            for result in gathered:
                state.guardrails.input.append(result)
                written = result_to_json("input", result)
                entries.append(state.log_entry("guardrail", written))
