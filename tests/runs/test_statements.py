"""Statements that are written once: what they give is what the ORM gives."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, models, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from approvals.models import ApprovalRequest, AuditEntry, Decision, Vote
from runs.models import Run, RunEvent, ToolExecution
from runs.statements import Change, Pairs, Rows, Update, execute, insert
from tests.factories import ada, say, start

from .test_steps import make_call, proposed

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 26, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    "model", [Run, RunEvent, ToolExecution, ApprovalRequest, Decision, AuditEntry, User]
)
def test_rows_are_what_the_orm_reads(model: type[models.Model]) -> None:
    proposed(make_call())

    read = Rows(model, "ORDER BY id")()

    known = list(model._default_manager.order_by("pk"))
    fields = [field.attname for field in model._meta.concrete_fields]
    assert [_values(row, fields) for row in read] == [
        _values(row, fields) for row in known
    ]


def test_rows_take_ids_times_and_any_number_of_keys() -> None:
    runs = sorted((start() for _ in range(3)), key=lambda run: run.pk)
    some = Rows(Run, "WHERE created_at < %s AND id IN ({keys}) ORDER BY id")

    found = some(datetime(2100, 1, 1, tzinfo=UTC), keys=[run.pk for run in runs[:2]])

    assert found == runs[:2]
    assert some(datetime(2000, 1, 1, tzinfo=UTC), keys=[runs[0].pk]) == []


def test_pairs_are_rows_and_what_is_joined_to_them_or_none() -> None:
    (_, _, decided), (_, _, open_one) = proposed(make_call()), proposed(make_call())
    say("approve", decided, ada())
    requests = f"{ApprovalRequest._meta.db_table}.id"
    both = Pairs(
        ApprovalRequest,
        Decision,
        f"LEFT JOIN {Decision._meta.db_table} ON request_id = {requests} "
        f"WHERE {requests} IN ({{keys}}) ORDER BY {requests}",
    )

    pairs = both(keys=[decided.pk, open_one.pk])

    fields = [field.attname for field in Decision._meta.concrete_fields]
    [decision] = Decision.objects.all()
    assert [request.pk for request, _ in pairs] == [decided.pk, open_one.pk]
    assert pairs[0][1] is not None
    assert _values(pairs[0][1], fields) == _values(decision, fields)
    assert pairs[1][1] is None


def test_a_row_that_is_not_there_is_the_models_own_error() -> None:
    missing = uuid4()

    with pytest.raises(Run.DoesNotExist, match=str(missing)):
        Rows(Run, "WHERE id = %s").get(missing)


def test_an_inserted_row_knows_its_key_and_is_read_as_it_was() -> None:
    _, _, request = proposed(make_call())
    vote = Vote(
        request=request,
        voter=User.objects.create_user("cora"),
        verdict="approve",
        reason="é\u2028",
        digest_seen=request.digest,
        created_at=NOW,
    )

    insert(vote)

    stored = Vote.objects.get(pk=vote.pk)
    assert (stored.request_id, stored.reason, stored.created_at) == (
        request.pk,
        "é\u2028",
        NOW,
    )


def test_what_the_database_refuses_is_djangos_error() -> None:
    _, _, request = proposed(make_call())
    twice = ApprovalRequest.objects.get(pk=request.pk)

    with pytest.raises(IntegrityError), transaction.atomic():
        insert(twice)

    assert ApprovalRequest.objects.count() == 1


def test_nothing_runs_in_a_transaction_that_has_failed() -> None:
    with transaction.atomic():
        transaction.set_rollback(True)
        with pytest.raises(transaction.TransactionManagementError):
            execute("SELECT 1")


def test_whoever_counts_statements_sees_them() -> None:
    with CaptureQueriesContext(connection) as seen:
        execute("SELECT 1")

    assert len(seen) == 1


def test_an_update_is_built_once_and_takes_its_values_each_time() -> None:
    first, second = start(), start()
    built: list[UUID] = []

    def renamed(run_id: UUID, error: str, turn: int, now: datetime) -> Change:
        built.append(run_id)
        rows = Run.objects.filter(pk=run_id, turn__lt=turn, updated_at__lt=now)
        return rows, {"error": error, "turn": F("turn") + turn}

    rename = Update(renamed)
    later = datetime(2100, 1, 1, tzinfo=UTC)

    assert rename(run_id=first.pk, error="one", turn=3, now=later) == 1
    assert rename(run_id=second.pk, error="two", turn=4, now=later) == 1
    assert rename(run_id=second.pk, error="three", turn=4, now=later) == 0
    assert rename(run_id=first.pk, error="four", turn=9, now=first.created_at) == 0
    told = Run.objects.order_by("turn").values_list("error", "turn")
    assert list(told) == [("one", 3), ("two", 4)]
    assert len(built) == 1


def test_an_update_must_hold_all_its_values() -> None:
    forgetful = Update(lambda run_id, other: (Run.objects.all(), {"error": "x"}))

    with pytest.raises(ValueError, match="does not hold"):
        forgetful(run_id=uuid4(), other=1)


def _values(row: models.Model, fields: list[str]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in fields}
