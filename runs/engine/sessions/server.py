"""The client of sessions that a server keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openai import AsyncOpenAI

RETRIES = 2
"""How often the shared client may ask again; what a model's turn needs is not ours."""


def session_client(given: AsyncOpenAI | None) -> AsyncOpenAI:
    """Return `given`, or the running loop's own. Raises UserError without a key."""
    if given is not None:
        return given
    # Here, because a run's configuration names sessions, and models read that.
    from ..models.client import shared_client

    return shared_client().with_options(max_retries=RETRIES)
