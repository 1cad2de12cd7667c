"""The world the demo's tools look at and act on: a shop, some servers, a handbook.

What is given stands here; what tools have done to it are rows of Effect.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TypedDict

from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from .models import Effect


class Order(TypedDict):
    customer: str
    email: str
    goods: str
    status: str
    total_eur: str


ORDERS: dict[str, Order] = {
    "1042": {
        "customer": "Grace Hopper",
        "email": "grace@example.com",
        "goods": "espresso machine",
        "status": "delivered, reported broken",
        "total_eur": "480.00",
    },
    "1043": {
        "customer": "Alan Turing",
        "email": "alan@example.com",
        "goods": "running shoes",
        "status": "returned",
        "total_eur": "129.90",
    },
    "1044": {
        "customer": "Ada Byron",
        "email": "byron@example.com",
        "goods": "tea kettle",
        "status": "delivered",
        "total_eur": "39.00",
    },
    "1045": {
        "customer": "Edsger Dijkstra",
        "email": "edsger@example.com",
        "goods": "fountain pen",
        "status": "on its way",
        "total_eur": "75.50",
    },
}

WORKERS = {
    "eu-1": "healthy",
    "eu-2": "healthy",
    "eu-3": "stuck for 14 minutes",
    "us-1": "healthy",
    "us-2": "stuck for 2 minutes",
}

BRANCHES = ("main", "release-1.4", "spike-login", "fix-typo")

HANDBOOK = {
    "Approvals": (
        "A gated call waits until a person approves exactly this call. Silence is not "
        "consent: no timeout, crash or missing answer ever approves."
    ),
    "Digests": (
        "Each request shows a digest of the tool, the agent and the arguments. It is "
        "compared when someone decides and again right before the call runs, so what "
        "was reviewed is exactly what runs."
    ),
    "Claims": (
        "Before a tool runs, its call is claimed in the database, so nothing runs "
        "twice. When a process dies in between, a person is asked what happened."
    ),
    "Restarts": (
        "Every step is stored in one transaction. After a crash each run goes on where "
        "it stood, or waits for the decision it waited for."
    ),
    "Rules": (
        "Approving always, for a run, makes a rule. Each use of a rule is recorded "
        "like a decision by a person; critical tools are always asked about."
    ),
    "Webhooks": (
        "Other systems start runs by signed webhooks. The same delivery sent again "
        "gives the same run and starts nothing."
    ),
}


def order_facts(order_id: str) -> dict[str, str] | None:
    """Return an order with what was refunded so far; None when there is none."""
    if order_id not in ORDERS:
        return None
    refunded = _refunded(order_id)
    order = ORDERS[order_id]
    return {
        "order_id": order_id,
        "customer": order["customer"],
        "email": order["email"],
        "goods": order["goods"],
        "status": order["status"],
        "total_eur": order["total_eur"],
        "refunded_eur": f"{refunded:.2f}",
    }


def refund(order_id: str, amount_eur: float, *, key: str) -> str:
    """Pay money back. Raises ValueError when the order does not hold that much."""
    amount = Decimal(str(amount_eur)).quantize(Decimal("0.01"))
    with transaction.atomic():
        facts = order_facts(order_id)
        if facts is None:
            raise ValueError(f"There is no order {order_id}.")
        left = Decimal(facts["total_eur"]) - Decimal(facts["refunded_eur"])
        if not 0 < amount <= left:
            raise ValueError(f"Order {order_id} has {left:.2f} EUR left to refund.")
        effect = record("refund", order_id, key=key, amount_eur=amount)
    return f"Refunded {amount:.2f} EUR for order {order_id}, receipt R-{effect.pk}."


def workers() -> dict[str, str]:
    """Return each worker's state; a restart healed it."""
    restarted = set(
        Effect.objects.filter(tool="restart_worker").values_list("subject", flat=True)
    )
    return {
        name: "healthy, restarted" if name in restarted else state
        for name, state in WORKERS.items()
    }


def branches() -> list[str]:
    """Return the branches that are left."""
    deleted = set(
        Effect.objects.filter(tool="delete_branch").values_list("subject", flat=True)
    )
    return [name for name in BRANCHES if name not in deleted]


def record(
    tool: str,
    subject: str,
    *,
    key: str,
    detail: str = "",
    amount_eur: Decimal | None = None,
) -> Effect:
    return Effect.objects.create(
        tool=tool,
        subject=subject,
        detail=detail,
        amount_eur=amount_eur,
        idempotency_key=key,
        created_at=timezone.now(),
    )


def _refunded(order_id: str) -> Decimal:
    refunds = Effect.objects.filter(tool="refund", subject=order_id)
    return refunds.aggregate(sum=Sum("amount_eur"))["sum"] or Decimal(0)
