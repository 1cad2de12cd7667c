"""Calls like another: what was decided on them, and those that wait side by side."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from approvals import similar
from approvals.models import ApprovalRequest, Decision, RequestStatus
from approvals.services import decide
from tests.factories import ada, bob, eve, start
from tests.test_pages import HTMX, make_request, signed_in

pytestmark = pytest.mark.django_db


def asked(by: User | None = None, **arguments: Any) -> ApprovalRequest:
    """A waiting refund of a run of its own."""
    run = start(requester=by)
    text = json.dumps(arguments)
    return make_request(run, arguments=text)


def shown(parts: Any) -> str:
    return "".join(part.text for part in parts)


def page_of(card: ApprovalRequest, user: User, query: str = "") -> str:
    url = f"/requests/{card.pk}/similar/{query}"
    return signed_in(user).get(url).content.decode()


def test_shared_arguments_stand_once_and_others_are_columns() -> None:
    reviewer = ada()
    for amount in (10, 11, 12):
        card = asked(order_id="1042", amount_eur=amount)

    table = similar.table(card, reviewer)

    shared = [(shown(path), shown(value)) for path, value in table.constant]
    assert shared == [("order_id", "1042")]
    assert [shown(path) for path in table.columns] == ["amount_eur"]
    cells = [[shown(cell.value) for cell in line.cells] for line in table.lines]
    assert cells == [["12"], ["11"], ["10"]]


def test_a_number_far_from_the_median_stands_out() -> None:
    reviewer = ada()
    for amount in (40, 42, 45, 41, 9000):
        card = asked(amount_eur=amount)

    table = similar.table(card, reviewer)

    odd = {shown(line.cells[0].value): line.cells[0].why_odd for line in table.lines}
    assert odd.pop("9000") == "far from the median 42"
    assert set(odd.values()) == {""}


def test_a_value_that_one_call_alone_has_stands_out() -> None:
    reviewer = ada()
    for to in ("a@x.example", *["b@x.example"] * 5):
        card = asked(to=to)

    table = similar.table(card, reviewer)

    odd = [shown(c.value) for line in table.lines for c in line.cells if c.why_odd]
    assert odd == ["a@x.example"]


def test_another_schema_or_tool_is_not_alike() -> None:
    reviewer = ada()
    card = asked(amount_eur=1)
    ApprovalRequest.objects.filter(pk=asked(amount_eur=2).pk).update(schema_hash="1")
    ApprovalRequest.objects.filter(pk=asked(amount_eur=3).pk).update(tool="pay")

    assert [line.card for line in similar.table(card, reviewer).lines] == [card]
    assert similar.around(card, reviewer).pending == 0


def test_who_may_see_nothing_finds_no_table() -> None:
    owner, card = eve(), asked(amount_eur=1)
    mine = asked(owner, amount_eur=2)

    assert signed_in(owner).get(f"/requests/{card.pk}/similar/").status_code == 404
    assert [line.card for line in similar.table(mine, owner).lines] == [mine]


def test_ones_own_are_found_behind_those_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(similar, "PAGE_SIZE", 2)
    owner = eve()
    own = [asked(owner, amount_eur=n) for n in range(2)]
    for n in range(3):
        asked(amount_eur=n)

    table = similar.table(own[0], owner)

    assert {line.card for line in table.lines} == set(own)
    assert table.older is None
    assert similar.around(own[0], owner).pending == 1


@pytest.mark.parametrize("htmx", [True, False])
def test_a_row_is_decided_by_its_own_digest(htmx: bool) -> None:
    reviewer = ada()
    card, other = asked(amount_eur=1), asked(amount_eur=2)
    page = page_of(card, reviewer)
    digests = re.findall(r'name="digest" value="(\w+)"', page)
    assert len(digests) == 2
    path = f"/requests/{card.pk}/similar/"
    fields = {"verdict": "approve", "digest": other.digest, "view": "line"}

    answer = signed_in(reviewer).post(
        f"/requests/{other.pk}/decide/",
        {**fields, "next": path},
        headers=HTMX if htmx else {},
    )

    other.refresh_from_db()
    card.refresh_from_db()
    assert (other.status, card.status) == ("approved", "pending")
    if htmx:
        assert f'id="verdict-{other.pk}"' in answer.content.decode()
        assert "Approved" in answer.content.decode()
        assert "<section" not in answer.content.decode()
    else:
        assert answer.headers["location"] == path


def test_a_row_that_was_decided_meanwhile_says_so() -> None:
    reviewer, other = ada(), asked(amount_eur=2)
    decide(other.pk, verdict="reject", by=reviewer, digest_seen=other.digest)

    answer = signed_in(reviewer).post(
        f"/requests/{other.pk}/decide/",
        {"verdict": "approve", "digest": other.digest, "view": "line"},
        headers=HTMX,
    )

    assert answer.status_code == 409
    assert "Rejected" in answer.content.decode()
    assert Decision.objects.get().verdict == "reject"


def test_a_row_with_warnings_is_approved_on_its_page_only() -> None:
    reviewer, card = ada(), asked(amount_eur=2)
    ApprovalRequest.objects.update(warnings=2)

    page = page_of(card, reviewer)
    answer = signed_in(reviewer).post(
        f"/requests/{card.pk}/decide/",
        {"verdict": "approve", "digest": card.digest, "view": "line"},
        headers=HTMX,
    )

    assert 'value="approve"' not in page
    assert "2 display warnings" in page
    assert answer.status_code == 422
    assert not Decision.objects.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        {"note": "x" * 200},
        {f"a{at}": at for at in range(60)},
        {"list": [{"at": at} for at in range(60)]},
        {"to.name": "ada", "to": {"name": "eve"}},
    ],
)
def test_a_row_that_does_not_show_all_is_approved_on_its_page_only(
    arguments: dict[str, Any],
) -> None:
    reviewer = ada()
    card = asked(**arguments)

    [line] = similar.table(card, reviewer).lines

    assert line.may_decide
    assert not line.may_approve
    assert 'value="approve"' not in page_of(card, reviewer)


def test_what_differs_beyond_the_columns_is_approved_on_its_page_only() -> None:
    reviewer = ada()
    for more in (0, 1):
        values: dict[str, Any] = {
            f"a{at}": at + more for at in range(similar.COLUMNS + 1)
        }
        card = asked(**values)

    table = similar.table(card, reviewer)

    assert table.hidden == 1
    assert not any(line.may_approve for line in table.lines)


def test_who_may_not_decide_a_row_has_no_buttons_for_it() -> None:
    starter = bob()
    card = asked(starter, amount_eur=2)

    page = page_of(card, starter)

    assert 'name="verdict"' not in page
    assert "Not yours to decide" in page


def test_a_hundred_are_shown_and_the_rest_is_a_page_further() -> None:
    reviewer, card = ada(), asked(amount_eur=0)
    run = start()
    rows = [ApprovalRequest.objects.get(pk=card.pk) for _ in range(101)]
    for at, row in enumerate(rows):
        row.pk = ApprovalRequest._meta.pk.get_default()
        row.run, row.call_key = run, f"c{at}"
    ApprovalRequest.objects.bulk_create(rows)

    first = similar.table(card, reviewer)
    second = similar.table(card, reviewer, before=first.older)

    assert len(first.lines) == similar.PAGE_SIZE
    assert len(second.lines) == 2
    assert second.older is None
    assert page_of(card, reviewer, "?before=x").count("does not exist") == 1


def test_what_was_decided_on_calls_like_it_is_counted_and_linked() -> None:
    reviewer = ada()
    for amount in range(7):
        other = asked(amount_eur=amount)
        verdict = "approve" if amount % 2 else "reject"
        decide(other.pk, verdict=verdict, by=reviewer, digest_seen=other.digest)
    card = asked(amount_eur=9)

    alike = similar.around(card, reviewer)
    page = signed_in(reviewer).get(card.get_absolute_url()).content.decode()

    assert len(alike.last) == similar.LAST
    assert alike.counts == [(RequestStatus.APPROVED, 3), (RequestStatus.REJECTED, 4)]
    assert "3 approved, 4 rejected" in page
    assert other.get_absolute_url() in page
    assert "by ada" in page


def test_pages_ask_the_database_as_often_for_many_calls_as_for_one() -> None:
    reviewer, client = ada(), None
    card = asked(bob(), amount_eur=1)
    client = signed_in(reviewer)
    counts: list[tuple[int, int]] = []
    client.get(card.get_absolute_url())

    for more in (0, 2, 9):
        for at in range(more):
            asked(amount_eur=at)
            other = asked(amount_eur=at)
            decide(other.pk, verdict="approve", by=reviewer, digest_seen=other.digest)
        with CaptureQueriesContext(
            connection,
        ) as on_page:
            client.get(card.get_absolute_url())
        with CaptureQueriesContext(connection) as on_table:
            client.get(f"/requests/{card.pk}/similar/")
        counts.append((len(on_page), len(on_table)))

    assert counts[1] == counts[2]
    assert counts[0][0] <= counts[1][0]


def test_a_tiny_number_makes_no_long_text() -> None:
    reviewer = ada()
    for text in ("1e-900000", "1e-900000", "5"):
        card = make_request(start(), arguments=f'{{"amount_eur": {text}}}')

    table = similar.table(card, reviewer)

    assert all(len(line.cells[0].why_odd) < 100 for line in table.lines)
