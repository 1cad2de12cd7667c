"""Example agents: a shop's support, operations, one that only reads, a front desk.

The front desk uses Support as a tool and hands over to Ops. All think with a scripted
model, or with a real one where OPENAI_API_KEY is set.
"""

from __future__ import annotations

import json
import os
from typing import Any

from asgiref.sync import sync_to_async

from runs.engine import Agent, Model, Review, RunContextWrapper, ToolContext
from runs.engine import function_tool as tool
from runs.registry import register

from . import world
from .model import DemoModel

SMALL_REFUND_EUR = 50


def chosen_model() -> Model | str | None:
    """Return the scripted model, or the name of the real one (None: the default)."""
    if os.environ.get("OPENAI_API_KEY"):
        return os.environ.get("PLACET_MODEL") or None
    return DemoModel()


def refund_needs_person(
    ctx: RunContextWrapper[Any], arguments: dict[str, Any], call_id: str
) -> bool:
    """Small refunds go through; an amount that is none fails, and so asks a person."""
    return not 0 < float(arguments["amount_eur"]) < SMALL_REFUND_EUR


@tool(review=Review(risk="low", idempotent=True))
async def lookup_order(order_id: str) -> str:
    """Look an order up: goods, customer, status, total and what was refunded.

    Args:
        order_id: The order's number, as 1042.
    """
    facts = await sync_to_async(world.order_facts)(order_id)
    return json.dumps(facts) if facts else f"There is no order {order_id}."


@tool(
    needs_approval=refund_needs_person,
    review=Review(risk="high", summary="Refund {amount_eur} EUR for order {order_id}"),
)
async def refund(ctx: ToolContext[Any], order_id: str, amount_eur: float) -> str:
    """Pay money back to the customer of an order.

    Args:
        order_id: The order's number.
        amount_eur: How much, in euros; at most what the order has left.
    """
    return await sync_to_async(world.refund)(
        order_id, amount_eur, key=ctx.idempotency_key
    )


@tool(needs_approval=True, review=Review(summary="E-mail {to}: {subject}"))
async def send_email(ctx: ToolContext[Any], to: str, subject: str, body: str) -> str:
    """Send an e-mail to a customer.

    Args:
        to: The address.
        subject: One line.
        body: The text.
    """
    detail = f"{subject}\n\n{body}"
    await sync_to_async(world.record)(
        "send_email", to, key=ctx.idempotency_key, detail=detail
    )
    return f"Sent to {to}: {subject}."


@tool(review=Review(risk="low", idempotent=True))
async def list_workers() -> str:
    """List the workers and how each is doing."""
    return json.dumps(await sync_to_async(world.workers)())


@tool(needs_approval=True, review=Review(summary="Restart worker {worker}"))
async def restart_worker(ctx: ToolContext[Any], worker: str) -> str:
    """Restart a worker; the jobs it has taken are lost.

    Args:
        worker: Its name, as eu-3.
    """
    if worker not in world.WORKERS:
        raise ValueError(f"There is no worker {worker}.")
    await sync_to_async(world.record)("restart_worker", worker, key=ctx.idempotency_key)
    return f"Restarted {worker}; it took 3 seconds."


@tool(
    needs_approval=True,
    review=Review(risk="critical", summary="Delete the branch {branch}"),
)
async def delete_branch(ctx: ToolContext[Any], branch: str) -> str:
    """Delete a branch of the repository, with all that is only on it.

    Args:
        branch: Its whole name.
    """
    if branch not in await sync_to_async(world.branches)():
        raise ValueError(f"There is no branch {branch}.")
    await sync_to_async(world.record)("delete_branch", branch, key=ctx.idempotency_key)
    return f"Deleted the branch {branch}."


@tool(review=Review(risk="low", idempotent=True))
async def search_handbook(query: str) -> str:
    """Find pages of Placet's handbook; gives their titles.

    Args:
        query: One word.
    """
    word = query.casefold()
    return json.dumps(
        [
            title
            for title, text in world.HANDBOOK.items()
            if word in f"{title} {text}".casefold()
        ]
    )


@tool(review=Review(risk="low", idempotent=True))
async def read_page(title: str) -> str:
    """Read a page of Placet's handbook.

    Args:
        title: The page's title, as a search gave it.
    """
    return world.HANDBOOK.get(title, f"The handbook has no page {title!r}.")


support = Agent[Any](
    name="Support",
    instructions=(
        "You help the customers of a shop. Look an order up before you refund it. "
        "Ask when the order or the amount is not clear. When a call is rejected, "
        "say so and follow the reviewer's reason; never call it done."
    ),
    tools=[lookup_order, refund, send_email],
    model=chosen_model(),
)
ops = Agent[Any](
    name="Ops",
    handoff_description="Knows the workers and the branches.",
    instructions=(
        "You run servers and a repository. List the workers before you restart "
        "one. Delete a branch only when it is named."
    ),
    tools=[list_workers, restart_worker, delete_branch],
    model=chosen_model(),
)
register(
    support,
    key="support",
    description="Looks up orders, pays money back, writes to customers.",
)
register(ops, key="ops", description="Restarts workers and deletes branches.")
register(
    Agent(
        name="Front desk",
        instructions=(
            "You take in whatever comes. Let Support settle what is about customers "
            "and orders, with all you were told of it, and say what came of it. Then "
            "hand over to Ops what is about workers or branches."
        ),
        tools=[
            support.as_tool(
                "settle_case",
                "Let Support settle a customer's case: look up, pay back, write.",
            )
        ],
        handoffs=[ops],
        model=chosen_model(),
    ),
    key="desk",
    description="Asks Support about customers, hands servers over to Ops.",
)
register(
    Agent(
        name="Research",
        instructions=(
            "You answer questions about Placet from its handbook, and quote it. Search "
            "and read several pages at once."
        ),
        tools=[search_handbook, read_page],
        model=chosen_model(),
    ),
    key="research",
    description="Answers questions about Placet; asks nobody's leave.",
)
