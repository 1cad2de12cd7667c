"""Readers for settings from the environment; each fails with the fix in its message."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from django.core.management.utils import get_random_secret_key

LEAST_POOL = 8
_BOOLEANS = {"true": True, "false": False}


def text(name: str, default: str) -> str:
    return os.environ.get(name) or default


def boolean(name: str, default: bool) -> bool:
    value = text(name, str(default).lower())
    if value not in _BOOLEANS:
        raise ImproperlyConfigured(
            f"{name}={value!r} is not a boolean; use 'true' or 'false'."
        )
    return _BOOLEANS[value]


def number(name: str, default: float) -> float:
    value = text(name, str(default))
    try:
        return float(value)
    except ValueError:
        raise ImproperlyConfigured(
            f"{name}={value!r} is not a number; use digits, as {default}."
        ) from None


def words(name: str, default: str) -> list[str]:
    """Return a comma-separated list."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def postgresql(name: str, *, pool: dict[str, Any]) -> dict[str, Any] | None:
    """Return the database at a `postgresql://` address, or None where none is given.

    Connections come from a pool of `pool`'s size and never outlive their request.
    """
    address = os.environ.get(name, "")
    if not address:
        return None
    if not address.startswith(("postgresql://", "postgres://")):
        raise ImproperlyConfigured(
            f"{name} must begin with postgresql://; leave it empty for SQLite."
        )
    found: dict[str, Any] = {**dj_database_url.parse(address, conn_max_age=0)}
    found["OPTIONS"] = {**found.get("OPTIONS", {}), "pool": pool}
    return found


def pool_size(name: str, default: int) -> int:
    """Return how many connections a process may hold: a runner alone keeps seven."""
    size = int(number(name, default))
    if size < LEAST_POOL:
        raise ImproperlyConfigured(
            f"{name}={size} is too small: the threads of a runner keep seven "
            f"connections, and pages need some; use {LEAST_POOL} or more."
        )
    return size


def secret_key(data_dir: Path) -> str:
    """Return PLACET_SECRET_KEY, else a key made once and kept in `data_dir`.

    Kept, because a new key signs everyone out.
    """
    if given := os.environ.get("PLACET_SECRET_KEY"):
        return given
    kept = data_dir / "secret_key"
    if not kept.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        # Whole before it has its name: of two processes that start, one makes the key.
        made = data_dir / f".secret_key-{os.getpid()}"
        made.touch(mode=0o600)
        made.write_text(get_random_secret_key())
        with contextlib.suppress(FileExistsError):
            kept.hardlink_to(made)
        made.unlink()
    return kept.read_text().strip()
