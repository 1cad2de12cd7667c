"""Reading the queue costs the same however much was decided or waits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from approvals import queries, queue, similar
from approvals.models.requests import QUEUE_ORDER
from approvals.queue import Asked, View, waiting
from tests import servers
from tests.admin.factories import make_request
from tests.factories import ada, start

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(
        servers.ON_POSTGRESQL, reason="it chooses no index for a table without rows"
    ),
]
REQUESTS = '"approvals_approvalrequest"'


def plans(read: Callable[[], object]) -> list[str]:
    """Return how SQLite goes about each query on requests that `read` makes."""
    with CaptureQueriesContext(
        connection,
    ) as made:
        read()
    asked = [query["sql"] for query in made if f"FROM {REQUESTS}" in query["sql"]]
    found = []
    with connection.cursor() as cursor:
        for sql in asked:
            cursor.execute(f"EXPLAIN QUERY PLAN {sql.replace('%', '%%')}")
            found.append("\n".join(row[3] for row in cursor.fetchall()))
    return found


def test_each_half_of_the_queue_has_an_index_of_its_own() -> None:
    reviewer = ada()

    asked = Asked(view=View.ALL)
    rows = waiting(reviewer, asked, timezone.now()).order_by(*QUEUE_ORDER)
    pending = rows[:5].explain()
    decided = queries.decided_requests(reviewer)[:5].explain()

    assert "USING INDEX request_queue" in pending
    assert "USING INDEX request_decided" in decided
    assert "TEMP B-TREE" not in pending + decided


def test_what_is_counted_is_counted_in_small_indexes() -> None:
    reviewer = ada()

    [views] = plans(lambda: queue.counts(reviewer, timezone.now()))
    [everything] = plans(lambda: queries.pending_count(reviewer))

    assert "INDEX request_queue\n" in views
    assert "INDEX request_queue_high" in views
    assert "INDEX request_alike" not in views
    assert "INDEX request_queue" in everything


def test_calls_alike_are_found_in_an_index_the_newest_first() -> None:
    reviewer, card = ada(), make_request(start())

    decided, pending = plans(lambda: similar.around(card, reviewer))[:2]
    table = plans(lambda: similar.table(card, reviewer))[0]

    known = "(tool=? AND schema_hash=? AND kind=?)"
    assert f"INDEX request_alike_decided {known}" in decided
    assert f"INDEX request_alike_pending {known}" in pending
    assert f"INDEX request_alike_pending {known}" in table
    assert "TEMP B-TREE" not in decided + pending + table
