"""Telling one runner of a run the moment a commit is made, over PostgreSQL's NOTIFY.

A convenience on top of the job of the same commit: who is not listening, or full, does
not hear of it, and the job or a sweep finds the run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import psycopg
from django.conf import settings
from django.utils import timezone
from psycopg import sql

from ..models import Run, Worker
from ..statements import execute

logger = logging.getLogger(__name__)

ASK_S, ANSWER_S = 5.0, 5.0
"""A connection that is silent for so long is asked whether it still is one, and has so
long to answer."""
# Whoever holds the run; where nobody does, of those who live always the same, which
# may have kept it since it held it.
_ANNOUNCE = f"""
    SELECT pg_notify(%s || name, %s) FROM (
        SELECT name FROM {Worker._meta.db_table}
        WHERE left_at IS NULL AND seen_at > %s
        ORDER BY name = (
            SELECT lease_owner FROM {Run._meta.db_table} WHERE id = %s
        ) DESC, hashtextextended(name || %s, 0)
        LIMIT 1
    ) AS runner
"""  # noqa: S608  names of our own tables
_CHANNEL = "placet_"


def announce(run_id: UUID) -> None:
    """Tell a runner of the run once this transaction commits."""
    since = timezone.now() - settings.PLACET_LEASE
    execute(_ANNOUNCE, [_CHANNEL, str(run_id), since, run_id, str(run_id)])


async def receive(
    name: str, parameters: Mapping[str, Any], told: Callable[[UUID], None]
) -> None:
    """Pass on what is announced to the runner of this name, until cancelled.

    Raises psycopg.Error when the connection, made with `parameters`, is lost, and
    TimeoutError when nobody answers on it.
    """
    async with asyncio.timeout(ANSWER_S):
        connecting = psycopg.AsyncConnection.connect(**parameters, autocommit=True)
        connection = await connecting
    async with connection:
        channel = sql.Identifier(_CHANNEL + name)
        await _ask(connection, sql.SQL("LISTEN {}").format(channel))
        while True:
            async for heard in connection.notifies(timeout=ASK_S):
                _pass_on(heard.payload, told)
            await _ask(connection, sql.SQL("SELECT 1"))


async def _ask(
    connection: psycopg.AsyncConnection[Any], what: sql.SQL | sql.Composed
) -> None:
    async with asyncio.timeout(ANSWER_S):
        await connection.execute(what)


def _pass_on(payload: str, told: Callable[[UUID], None]) -> None:
    try:
        run_id = UUID(payload)
    except ValueError:  # anyone who may connect can say anything
        logger.warning("What was announced is no run.", extra={"said": payload[:100]})
    else:
        told(run_id)
