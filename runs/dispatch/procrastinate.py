"""Wake-ups between processes: jobs in PostgreSQL, put there by the same transaction.

A job only says "look at run X" to whatever runs in the process that takes it. It is
done at once and may be lost or doubled: the run's own row says what there is to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import datetime
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

logger = logging.getLogger(__name__)

QUEUE = "runs"
# Jobs are announced; looking finds those that fell due, and those never heard of.
POLL_S = 1.0
# Jobs are done at once. More than one, so that the next is taken while one is deleted.
AT_ONCE = 8
HEARTBEAT_S = 5.0
STALLED_S = 20.0
RETRY_S = 1.0
CONNECT_S = 5.0
MOST_CONNECTIONS = 2  # and one more that hears what is announced
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
    embedded.wake(run_id, at)  # this very process need not wait for the job


async def listen_for_jobs(stop: asyncio.Event) -> None:
    """Do the jobs of other processes until `stop` is set.

    Connections that are lost, and a database that restarts, are waited for. A job whose
    process dies is done by another: looking twice does no harm.
    """
    while not stop.is_set():
        try:
            await _work(stop)
        except (psycopg.Error, ConnectorException):
            logger.warning(
                "The database gives no jobs; it is asked again.", exc_info=True
            )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RETRY_S):
                await stop.wait()


async def _work(stop: asyncio.Event) -> None:
    """Do jobs until `stop` is set, or until that fails or ends by itself."""
    working, stopped = asyncio.create_task(do_jobs()), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel_all([working, stopped])
    if working.done() and not working.cancelled():
        working.result()


async def do_jobs(queue: str = QUEUE) -> None:
    """Do the jobs of a queue until cancelled; the one in hand is finished first."""
    async with _connected() as jobs:
        await jobs.run_worker_async(
            queues=[queue],
            concurrency=AT_ONCE,
            fetch_job_polling_interval=POLL_S,
            update_heartbeat_interval=HEARTBEAT_S,
            stalled_worker_timeout=STALLED_S,
            delete_jobs="always",
            install_signal_handlers=False,
        )


@contextlib.asynccontextmanager
async def _connected() -> AsyncIterator[App]:
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
