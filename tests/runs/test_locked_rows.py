"""Whoever writes many runs in one commit waits for no other who does so.

Two that wait for each other's rows would cost a second, and one of them its work.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from runs.models import Run, RunStatus
from runs.services import lease as leases
from runs.services.log import lock
from tests.factories import DEADLINE_S, start

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]


@contextmanager
def being_written(run: Run) -> Iterator[None]:
    """Hold the run's row locked, as a writer does until its commit."""
    locked, written = threading.Event(), threading.Event()

    def write() -> None:
        with transaction.atomic():
            lock(run.pk)
            locked.set()
            written.wait(DEADLINE_S)
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    assert locked.wait(DEADLINE_S)
    try:
        yield
    finally:
        written.set()
        writer.join(DEADLINE_S)


@contextmanager
def impatient() -> Iterator[None]:
    """Fail what waits for a row, instead of waiting."""
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '100ms'")
        yield
        cursor.execute("RESET lock_timeout")


def test_a_lease_is_renewed_past_a_row_that_is_being_written() -> None:
    busy, free = start(), start()
    for run in (busy, free):
        assert leases.take(run.pk, "us")
    soon = timezone.now() + timedelta(seconds=1)
    Run.objects.update(lease_expires_at=soon)

    with being_written(busy), impatient():
        left = leases.renew("us", [busy.pk, free.pk])

    assert left == [busy.pk]
    assert list(Run.objects.filter(lease_expires_at__gt=soon)) == [free]
    assert leases.renew("us", left) == []
    assert Run.objects.filter(lease_expires_at__gt=soon).count() == 2


def test_a_run_that_is_being_written_is_not_waited_for_but_taken_later() -> None:
    run = start()

    with being_written(run), impatient():
        assert leases.take(run.pk, "us") is None

    assert leases.take(run.pk, "us")
    assert Run.objects.get(pk=run.pk).status == RunStatus.RUNNING
