"""Builders of calls that can be edited, and of what is posted about them."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.test import Client

from approvals.models import ApprovalRequest
from approvals.services import edit
from runs.engine import Call, Review
from runs.models import Run
from runs.services.lease import Lease
from tests.runs.test_steps import make_call, proposed
from tests.shop.agents import refund

ARGUMENTS = '{"order_id": "1042", "amount_eur": 480.00}'
LESS = '{"order_id": "1042", "amount_eur": 48.00}'
WHY = "They asked for one lamp."


def editable(arguments: str = ARGUMENTS, **changes: Any) -> Call:
    review: dict[str, Any] = {"risk": "high", "summary": refund.review.summary}
    review |= changes.pop("review", {})
    return make_call(
        arguments,
        schema_hash=refund.schema_hash,
        parameters=refund.params_json_schema,
        review=Review(**review),
        **changes,
    )


def asked(call: Call | None = None) -> tuple[Run, Lease, ApprovalRequest]:
    return proposed(call or editable())


def edited(
    request: ApprovalRequest, by: User, arguments: str = LESS, **more: Any
) -> ApprovalRequest:
    given = {"reason": WHY, "digest_seen": request.digest, **more}
    return edit(request.pk, arguments=arguments, by=by, **given)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def fields(request: ApprovalRequest, **changes: str) -> dict[str, str]:
    """What the edit form posts, with another amount."""
    posted = {
        "digest": request.digest,
        "arg-order_id": "1042",
        "arg-amount_eur": "48.00",
        "reason": WHY,
    }
    return posted | changes
