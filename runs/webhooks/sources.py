"""Secrets of webhook sources: made here, shown once, rotated without a gap."""

from __future__ import annotations

import base64
import secrets

from django.db.models import F

from ..models import WebhookSource
from ..transactions import write
from .signature import SECRET_PREFIX


def make_secret() -> str:
    """Return a fresh secret: `whsec_` and 32 random bytes in base64."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


@write
def rotate(source: WebhookSource) -> str:
    """Give `source` a fresh secret and return it.

    The one before stays valid until `clear_previous`; the one before that ends now.
    """
    fresh = make_secret()
    WebhookSource.objects.filter(pk=source.pk).update(
        previous_secret=F("secret"), secret=fresh
    )
    source.refresh_from_db(fields=("secret", "previous_secret"))
    return fresh


@write
def clear_previous(source: WebhookSource) -> None:
    """End the secret from before the last rotation."""
    WebhookSource.objects.filter(pk=source.pk).update(previous_secret="")
    source.previous_secret = ""


def valid_secrets(source: WebhookSource) -> list[str]:
    return [secret for secret in (source.secret, source.previous_secret) if secret]
