"""Reading the queue costs the same however much was decided or waits."""

from __future__ import annotations

import pytest
from django.utils import timezone

from approvals import queries
from approvals.queue import ORDER, Asked, View, waiting
from tests import servers
from tests.factories import ada


@pytest.mark.django_db
@pytest.mark.skipif(
    servers.ON_POSTGRESQL, reason="it chooses no index for a table without rows"
)
def test_each_half_of_the_queue_has_an_index_of_its_own() -> None:
    reviewer = ada()

    asked = Asked(view=View.ALL)
    pending = waiting(reviewer, asked, timezone.now()).order_by(*ORDER)[:5].explain()
    decided = queries.decided_requests(reviewer)[:5].explain()

    assert "USING INDEX request_queue" in pending
    assert "USING INDEX request_decided" in decided
    assert "TEMP B-TREE" not in pending + decided
