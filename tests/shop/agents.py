"""Agents of a made-up shop, for tests: their tools keep a journal of effects.

The model is whatever a test sets: `shop.use(model)`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from runs.engine import (
    Agent,
    Model,
    ModelResponse,
    Review,
    RunContextWrapper,
    TResponseStreamEvent,
    function_tool,
)
from runs.registry import register


class Effects(list[str]):
    """What the tools have done to the world, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.release: dict[str, asyncio.Event] = {}

    def hold(self, name: str) -> asyncio.Event:
        """Make the tool `name` wait, once it has started, until the event is set."""
        return self.release.setdefault(name, asyncio.Event())

    async def happen(self, name: str, what: str) -> None:
        self.append(what)
        if name in self.release:
            await self.release[name].wait()


effects = Effects()


class ChosenModel(Model):
    """Passes every request on to the model of the current test."""

    chosen: Model

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        return await self.chosen.get_response(*args, **kwargs)

    async def stream_response(
        self, *args: Any, **kwargs: Any
    ) -> AsyncIterator[TResponseStreamEvent]:
        async for event in self.chosen.stream_response(*args, **kwargs):
            yield event


class Cast(Model):
    """Asks, for each agent, the model of its part: the parts by instructions."""

    def __init__(self, parts: Mapping[str, Model]) -> None:
        self.parts = parts

    async def get_response(
        self, system_instructions: str | None, *args: Any, **kwargs: Any
    ) -> ModelResponse:
        part = self.parts[system_instructions or ""]
        return await part.get_response(system_instructions, *args, **kwargs)

    async def stream_response(
        self, system_instructions: str | None, *args: Any, **kwargs: Any
    ) -> AsyncIterator[TResponseStreamEvent]:
        part = self.parts[system_instructions or ""]
        async for event in part.stream_response(system_instructions, *args, **kwargs):
            yield event


model = ChosenModel()


def use(chosen: Model) -> None:
    model.chosen = chosen


@function_tool(
    needs_approval=True,
    review=Review(risk="high", summary="Refund €{amount_eur} to order {order_id}"),
)
async def refund(order_id: str, amount_eur: float) -> str:
    """Pay money back.

    Args:
        order_id: The order's number.
        amount_eur: How much, in euros.
    """
    await effects.happen("refund", f"refund {order_id} {amount_eur:g}")
    return f"Refunded {amount_eur:g} EUR to order {order_id}."


@function_tool
async def ship(order_id: str) -> str:
    """Send an order on its way."""
    await effects.happen("ship", f"ship {order_id}")
    return f"Order {order_id} is on its way."


@function_tool(review=Review(idempotent=True))
async def look_up(order_id: str) -> str:
    """Look an order up."""
    await effects.happen("look_up", f"look_up {order_id}")
    return f"Order {order_id}: one lamp."


@function_tool(needs_approval=True, review=Review(idempotent=True))
async def set_price(ctx: RunContextWrapper[Any], article: str, eur: int) -> str:
    """Set an article's price."""
    await effects.happen("set_price", f"set_price {article} {eur}")
    return f"{article} costs {eur} EUR."


@function_tool(needs_approval=True, review=Review(risk="critical", approvals=2))
async def close_shop() -> str:
    """Close the shop for good."""
    await effects.happen("close_shop", "close_shop")
    return "Closed."


@function_tool(needs_approval=True, review=Review(reviewers="finance"))
async def pay_out(amount_eur: int) -> str:
    """Pay out to the bank."""
    await effects.happen("pay_out", f"pay_out {amount_eur}")
    return "Paid."


def agent(name: str, tools: list[Any], **options: Any) -> Agent[Any]:
    """Return an agent whose instructions are its name."""
    return Agent(name=name, instructions=name, tools=tools, model=model, **options)


# A manager, who uses a clerk as a tool, who uses a driver as a tool.
driver = agent("Driver", [ship, refund])
clerk = agent(
    "Clerk",
    [
        look_up,
        ship,
        refund,
        set_price,
        driver.as_tool("drive", "Let the driver do it."),
    ],
)
manager = agent(
    "Manager",
    [
        clerk.as_tool("delegate", "Let the clerk do it."),
        clerk.as_tool("entrust", "Let the clerk, if it may.", needs_approval=True),
        refund,
    ],
)
register(manager, key="manager")

register(
    Agent(
        name="Shop",
        instructions="You keep a shop.",
        tools=[refund, ship, look_up, set_price, close_shop, pay_out],
        model=model,
    ),
    key="shop",
    title="Shop",
    description="Keeps a shop.",
)
