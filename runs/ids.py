"""Ids of rows: UUIDs that sort by the time they were made (RFC 9562, version 7)."""

from __future__ import annotations

from uuid import UUID

import uuid6


def new_id() -> UUID:
    """Return a fresh version 7 UUID."""
    return UUID(int=uuid6.uuid7().int)
