"""The agents of the benchmarks; none of them asks a network."""

from __future__ import annotations

import asyncio
from typing import Any

from runs.engine import Agent, Review, ToolContext, function_tool
from runs.registry import register

from . import effects, marks
from .model import Paced

WORKING_TURNS = 8
HALF_BODY_S = 0.25


async def _happen(ctx: ToolContext[Any], tool: str, step: int) -> str:
    """Take half a second, with the effect in the middle: a kill may fall around it."""
    await asyncio.sleep(HALF_BODY_S)
    run = ctx.context["run"]
    effects.record(
        effects.Effect(run=run, step=step, tool=tool, key=ctx.idempotency_key)
    )
    await asyncio.sleep(HALF_BODY_S)
    return f"Done: {step}."


@function_tool(review=Review(risk="low", idempotent=True))
async def note(ctx: ToolContext[Any], step: int) -> str:
    """Note something; noting it twice with the same key is noting it once."""
    return await _happen(ctx, "note", step)


@function_tool
async def pay(ctx: ToolContext[Any], step: int) -> str:
    """Pay something; twice is too much."""
    return await _happen(ctx, "pay", step)


@function_tool
async def look(step: int) -> str:
    """Look at something."""
    await asyncio.sleep(HALF_BODY_S)
    return f"Saw {step}."


@function_tool(needs_approval=True)
async def refund(ctx: ToolContext[Any], step: int) -> str:
    """Refund something; takes no time but that of saying when."""
    marks.mark(ctx.context["run"])
    return f"Done: {step}."


register(
    Agent(
        name="Worker",
        instructions="Note and pay by turns.",
        tools=[note, pay],
        model=Paced(tools=("note", "pay"), turns=WORKING_TURNS, think_s=(0.8, 1.2)),
    ),
    key="working",
)
register(
    Agent(
        name="Watcher",
        instructions="Look at things.",
        tools=[look],
        model=Paced(tools=("look",), turns=1_000_000, think_s=(4.25, 5.25)),
    ),
    key="watching",
)
register(
    Agent(
        name="Answerer",
        instructions="Answer at once.",
        model=Paced(tools=(), turns=0, think_s=(0.02, 0.06)),
    ),
    key="answering",
)
register(
    Agent(
        name="Asker",
        instructions="Refund once.",
        tools=[refund],
        model=Paced(tools=("refund",), turns=1, think_s=(0, 0)),
    ),
    key="asking",
)
