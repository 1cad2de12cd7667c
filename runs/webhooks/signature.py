"""Signatures by the Standard Webhooks spec.

Checked here and not by the spec's reference library, which fails on a body that is not
UTF-8, reads the timestamp as a float, and lets one malformed signature spoil the good
one beside it. The tests sign with that library.
Source: https://www.standardwebhooks.com, "Verifying webhook authenticity".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

TOLERANCE = timedelta(minutes=5)
SECRET_PREFIX = "whsec_"  # noqa: S105  the prefix of every secret is none itself

_TIMESTAMP = re.compile(r"[0-9]{1,11}")


class SignatureRefused(Exception):
    """A delivery is not signed by the source, or not now; str() says what to do."""


def verify(
    body: bytes, headers: Mapping[str, str], *, secrets: Iterable[str], now: datetime
) -> str:
    """Return the delivery's webhook id.

    One signature of any of `secrets` over `body` is enough, so a sender may rotate.
    Raises SignatureRefused when there is none, or its timestamp is too far from `now`.
    """
    webhook_id = _header(headers, "webhook-id")
    timestamp = _header(headers, "webhook-timestamp")
    given = _header(headers, "webhook-signature").encode().split(b" ")
    _check_age(timestamp, now)
    signed = b".".join((webhook_id.encode(), timestamp.encode(), body))
    for secret in secrets:
        expected = _sign(secret, signed)
        if any(hmac.compare_digest(expected, signature) for signature in given):
            return webhook_id
    raise SignatureRefused(
        "No signature matches; sign `id.timestamp.body` with the source's secret."
    )


def is_secret(text: str) -> bool:
    """Say whether `text` is a secret of the spec: 24 to 64 bytes in base64."""
    try:
        return text.startswith(SECRET_PREFIX) and 24 <= len(_key(text)) <= 64
    except binascii.Error:
        return False


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name, "")
    if not value:
        raise SignatureRefused(f"The header {name} is missing; every delivery has it.")
    return value


def _check_age(timestamp: str, now: datetime) -> None:
    if not _TIMESTAMP.fullmatch(timestamp):
        raise SignatureRefused("webhook-timestamp must be whole seconds since 1970.")
    if abs(datetime.fromtimestamp(int(timestamp), UTC) - now) > TOLERANCE:
        raise SignatureRefused(
            "webhook-timestamp is more than 5 minutes from now; check the sender's "
            "clock, and sign anew for each attempt."
        )


def _sign(secret: str, signed: bytes) -> bytes:
    digest = hmac.digest(_key(secret), signed, hashlib.sha256)
    return b"v1," + base64.b64encode(digest)


def _key(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
