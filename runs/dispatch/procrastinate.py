"""Wake-ups between processes: jobs in PostgreSQL, put there by the same transaction.

A job only says "look at run X" to whatever runs in the process that takes it. It may be
lost or doubled: the run's own row says what there is to do. One runner is told of it by
the commit itself; the job is for when that one does not hear, and for later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
from django.db import OperationalError
from procrastinate import App, JobContext, PsycopgConnector
from procrastinate.contrib.django import app, connector_params
from procrastinate.exceptions import ConnectorException
from psycopg_pool import AsyncConnectionPool

from ..engine.cancel import cancel_all
from . import embedded
from .announcements import announce, receive

logger = logging.getLogger(__name__)

QUEUE = "runs"
# How late what was not heard of may be, and what falls due.
POLL_S = 1.0
# Jobs are done at once. More than one, so that the next is taken while one is deleted.
AT_ONCE = 8
HEARTBEAT_S = 5.0
STALLED_S = 20.0
RETRY_S = 1.0
CONNECT_S = 5.0
MOST_CONNECTIONS = 2  # and one more that hears what is announced, and no pool has
APPLICATION_NAME = "placet jobs"


@app.task(name="runs.look_at", queue=QUEUE)
async def look_at(run_id: str) -> None:
    """Tell the runner of this process."""
    embedded.tell(UUID(run_id))


@app.periodic(cron="* * * * * */5", periodic_id="runs")
@app.task(name="runs.recover_jobs", queue=QUEUE, pass_context=True)
async def recover_jobs(context: JobContext, timestamp: int) -> None:
    """Give the jobs of a process that has died to another one."""
    manager = context.app.job_manager
    for job in await manager.get_stalled_jobs(
        queue=QUEUE, seconds_since_heartbeat=STALLED_S
    ):
        await manager.retry_job(job)


def wake(run_id: UUID, at: datetime | None = None) -> None:
    try:
        look_at.configure(schedule_at=at).defer(run_id=str(run_id))
    except ConnectorException as error:
        # What has lost its database is not what is wrong with a run.
        raise OperationalError("A wake-up could not be stored.") from error
    if at is None:
        announce(run_id)
    embedded.wake(run_id, at)  # this very process need not wait for the commit's word


async def hear(name: str, stop: asyncio.Event) -> None:
    """Hear what is announced to the runner of this name, and do jobs, until `stop`.

    Connections that are lost, and a database that restarts, are waited for. A job whose
    process dies is done by another: looking twice does no harm.
    """
    async with asyncio.TaskGroup() as both:
        both.create_task(_until(stop, _do_jobs))
        both.create_task(_until(stop, partial(_hear, name)))


async def _until(stop: asyncio.Event, hear: Callable[[], Awaitable[None]]) -> None:
    """Hear until `stop` is set, anew whenever it fails or ends by itself."""
    while not stop.is_set():
        try:
            await _once(stop, hear)
        except (psycopg.Error, ConnectorException, TimeoutError):
            logger.warning(
                "The database tells of no wake-ups; it is asked again.", exc_info=True
            )
        except Exception:
            logger.exception("Hearing of wake-ups broke; it begins anew.")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RETRY_S):
                await stop.wait()


async def _once(stop: asyncio.Event, hear: Callable[[], Awaitable[None]]) -> None:
    hearing = asyncio.ensure_future(hear())
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({hearing, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel_all([hearing, stopped])
    if hearing.done() and not hearing.cancelled():
        hearing.result()


async def _hear(name: str) -> None:
    await receive(name, _parameters(), embedded.tell)


async def _do_jobs() -> None:
    """Do jobs until cancelled; the one in hand is finished first."""
    async with connected() as jobs:
        await jobs.run_worker_async(
            queues=[QUEUE],
            concurrency=AT_ONCE,
            listen_notify=False,  # what is wanted at once is announced to one runner
            fetch_job_polling_interval=POLL_S,
            update_heartbeat_interval=HEARTBEAT_S,
            stalled_worker_timeout=STALLED_S,
            delete_jobs="always",
            install_signal_handlers=False,
        )


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[App]:
    """Give the app on connections of this loop's own; Django's belong to threads."""
    async with AsyncConnectionPool(
        kwargs=_parameters(),
        min_size=1,
        max_size=MOST_CONNECTIONS,
        timeout=CONNECT_S,
        check=AsyncConnectionPool.check_connection,
        open=False,
    ) as pool:
        await pool.wait(CONNECT_S)
        connector = PsycopgConnector()
        await connector.open_async(pool)
        yield app.with_connector(connector)


def _parameters() -> dict[str, Any]:
    """Return Django's connection parameters, for commits that need not last.

    A mark that a power cut takes away is a job done twice. The jobs themselves are put
    there by the decision's own commit, on Django's connection.
    """
    given = connector_params()
    options = f"{given.get('options', '')} -c synchronous_commit=off"
    return {**given, "options": options, "application_name": APPLICATION_NAME}
