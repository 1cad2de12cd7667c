from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from django.test import Client
from django.utils import timezone
from standardwebhooks import Webhook

from runs.models import WebhookSource
from runs.webhooks.sources import make_secret


def make_source(**changes: Any) -> WebhookSource:
    fields: dict[str, Any] = {
        "slug": "shop",
        "name": "Shop",
        "agent_key": "support",
        "template": "Order {{ body.order.id }} came in.",
        "secret": make_secret(),
        "created_at": timezone.now(),
    }
    return WebhookSource.objects.create(**fields | changes)


def signed(
    body: bytes,
    *,
    secret: str,
    webhook_id: str = "msg_1",
    at: datetime | None = None,
    age: timedelta = timedelta(0),
) -> dict[str, str]:
    """Return the headers of a delivery, signed by the spec's reference library."""
    sent = (at or datetime.now(UTC)) - age
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(sent.timestamp())),
        "webhook-signature": Webhook(secret).sign(webhook_id, sent, body.decode()),
    }


def deliver(
    client: Client,
    source: WebhookSource,
    body: Any,
    *,
    headers: dict[str, str] | None = None,
    slug: str | None = None,
    **signing: Any,
) -> tuple[int, dict[str, Any]]:
    """Post `body` (JSON unless bytes) as the source's sender; return the answer."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    if headers is None:
        headers = signed(raw, secret=signing.pop("secret", source.secret), **signing)
    response = client.post(
        f"/webhooks/{slug or source.slug}/",
        raw,
        content_type="application/json",
        headers=headers,
    )
    return response.status_code, response.json()
