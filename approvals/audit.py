"""The audit trail: a hash chain a run and one a Rule, in the caller's transaction."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

from django.utils import timezone

from runs import codec
from runs.statements import execute, insert

from .models import AuditEntry

START = "0" * 64
_LAST = (
    f"SELECT seq, hash FROM {AuditEntry._meta.db_table} "  # noqa: S608  our own table
    "WHERE chain = %s ORDER BY seq DESC LIMIT 1"
)


def append(
    run_id: UUID, *, actor: str, action: str, about: UUID, payload: dict[str, Any]
) -> None:
    """Add a link to the run's chain. The caller has locked the run's row."""
    append_to(f"run:{run_id}", actor=actor, action=action, about=about, payload=payload)


def append_to(
    chain: str, *, actor: str, action: str, about: UUID, payload: dict[str, Any]
) -> None:
    """Add a link to a chain. The caller has locked the row that the chain is of."""
    seq, previous = execute(_LAST, [chain]).fetchone() or (0, START)
    entry = AuditEntry(
        chain=chain,
        seq=seq + 1,
        actor=codec.storable(actor)[:200],
        action=action,
        object_id=str(about),
        payload=codec.dumps(payload),
        previous_hash=previous,
        created_at=timezone.now(),
    )
    entry.hash = link_hash(entry)
    insert(entry)


def link_hash(entry: AuditEntry) -> str:
    """Return the SHA-256, in hex, of what the entry says and what came before it."""
    said = [
        entry.chain,
        entry.seq,
        entry.actor,
        entry.action,
        entry.object_id,
        entry.payload,
        entry.previous_hash,
        entry.created_at.isoformat(),
    ]
    return hashlib.sha256(codec.dumps(said).encode()).hexdigest()


def broken_link(run_id: UUID) -> AuditEntry | None:
    """Return the first entry of the run's chain that does not fit, or None."""
    return broken_link_of(f"run:{run_id}")


def broken_link_of(chain: str) -> AuditEntry | None:
    """Return the first entry of a chain that does not fit, or None."""
    previous, seq = START, 1
    for entry in AuditEntry.objects.filter(chain=chain).order_by("seq"):
        fits = entry.seq == seq and entry.previous_hash == previous
        if not fits or entry.hash != link_hash(entry):
            return entry
        previous, seq = entry.hash, seq + 1
    return None
