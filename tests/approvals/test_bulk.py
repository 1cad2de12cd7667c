"""Many at once: each by its own digest, none by surprise, and no Rule made."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from approvals import services
from approvals.models import ApprovalRequest, Decision, RequestStatus, Rule, Vote
from approvals.services import bulk
from approvals.views import bulk as bulk_page
from tests.factories import ada, bob, eve, make_user, start
from tests.test_pages import make_request, signed_in

pytestmark = pytest.mark.django_db

BULK = "/queue/bulk/"


def requests(count: int, **more: Any) -> list[ApprovalRequest]:
    run = start()
    return [
        make_request(run, key=f"c{n}", summary=f"Call {n}", digest=f"{n:064x}", **more)
        for n in range(count)
    ]


def picked(cards: list[ApprovalRequest], verdict: str = "approve") -> dict[str, Any]:
    """What the table posts when all of its rows stay ticked."""
    digests = {f"digest-{card.pk}": card.digest for card in cards}
    return {"pick": [str(card.pk) for card in cards], "verdict": verdict, **digests}


def heading(html: str) -> str:
    found = re.search(r"<h1>(.*?)</h1>", html)
    assert found
    return found[1]


def status_of(card: ApprovalRequest) -> str:
    card.refresh_from_db()
    return card.status


def test_of_forty_three_were_decided_by_others_and_the_rest_is_done() -> None:
    reviewer, other = ada(), make_user("dan", "reviewers")
    cards = requests(40)
    sent = picked(cards)
    for card in cards[5:8]:
        services.decide(card.pk, verdict="reject", by=other, digest_seen=card.digest)

    html = signed_in(reviewer).post(BULK, sent).content.decode()

    assert heading(html) == "37 done, 3 were already decided"
    assert html.count("This request is already rejected") == 3
    by_ada = Decision.objects.filter(actor=reviewer, verdict="approve")
    told = dict(by_ada.values_list("request", "digest"))
    kept = cards[:5] + cards[8:]
    assert told == {card.pk: card.digest for card in kept}
    assert not Rule.objects.exists()


def test_the_table_shows_every_selected_call_with_its_digest() -> None:
    reviewer = ada()
    cards = requests(2, arguments='{"order_id": "<b>1042</b>"}')
    own = make_request(start(requester=reviewer), summary="Own")
    client = signed_in(reviewer)
    pick = [str(card.pk) for card in (*cards, own)]

    html = client.get(BULK, {"pick": pick}).content.decode()

    assert heading(html) == "Decide 2 calls"
    for card in cards:
        assert f'name="digest-{card.pk}" value="{card.digest}"' in html
        assert f'name="pick" value="{card.pk}" checked' in html
    assert f'value="{own.pk}"' not in html
    assert "You started this run; someone else must decide." in html
    assert "&lt;b&gt;1042&lt;/b&gt;" in html
    assert not Decision.objects.exists()


def test_a_rejection_of_many_gives_each_model_the_reason() -> None:
    cards = requests(2)

    sent = picked(cards, "reject") | {"reason": "Not today."}
    signed_in(ada()).post(BULK, sent)

    reasons = Decision.objects.values_list("reason", flat=True)
    assert [*reasons] == ["Not today."] * 2
    assert [status_of(card) for card in cards] == ["rejected"] * 2


def test_each_is_held_to_its_own_digest() -> None:
    first, second = requests(2)
    sent = picked([first, second])
    sent[f"digest-{first.pk}"] = second.digest
    del sent[f"digest-{second.pk}"]

    html = signed_in(ada()).post(BULK, sent).content.decode()

    assert heading(html) == "0 done, 2 not decided"
    assert html.count("look at it again") == 2
    assert not Decision.objects.exists()


def test_warnings_are_acknowledged_one_by_one() -> None:
    first, second = requests(2, warnings=1)
    sent = picked([first, second]) | {f"ack-{first.pk}": "on"}

    html = signed_in(ada()).post(BULK, sent).content.decode()

    assert heading(html) == "1 done, 1 not decided"
    assert (status_of(first), status_of(second)) == ("approved", "pending")
    signed_in(make_user("dan", "reviewers")).post(BULK, picked([second], "reject"))
    assert status_of(second) == "rejected"


def test_one_vote_of_two_is_one_vote() -> None:
    [card] = requests(1, votes_needed=2, risk="critical")

    html = signed_in(ada()).post(BULK, picked([card])).content.decode()

    assert "1 of 2 votes" in html
    assert status_of(card) == RequestStatus.PENDING
    assert Vote.objects.count() == 1


def test_ones_own_calls_are_not_decided_by_naming_them() -> None:
    reviewer = ada()
    own = make_request(start(requester=reviewer))

    html = signed_in(reviewer).post(BULK, picked([own])).content.decode()

    assert heading(html) == "0 done, 1 not decided"
    assert status_of(own) == "pending"


@pytest.mark.parametrize("kind", ["reconcile", "upgrade"])
def test_what_asks_for_more_than_yes_or_no_is_decided_alone(kind: str) -> None:
    [card] = requests(1, kind=kind)
    client = signed_in(ada())

    table = client.get(BULK, {"pick": str(card.pk)}).content.decode()
    html = client.post(BULK, picked([card])).content.decode()

    assert "decide it on its own page" in table
    assert "decide it on its own page" in html
    assert status_of(card) == "pending"


@pytest.mark.parametrize("verdict", ["", "answer", "always", "on"])
def test_what_is_no_verdict_decides_nothing_and_keeps_what_was_typed(
    verdict: str,
) -> None:
    [card] = requests(1, warnings=1)
    sent = picked([card], verdict) | {"reason": "Typed.", f"ack-{card.pk}": "on"}

    response = signed_in(ada()).post(BULK, sent)
    html = response.content.decode()

    assert response.status_code == 422
    assert "Typed.</textarea>" in html
    assert f'name="ack-{card.pk}" value="on" checked' in html
    assert status_of(card) == "pending"


def test_always_is_not_heard_here() -> None:
    [card] = requests(1)

    signed_in(ada()).post(BULK, picked([card]) | {"always": "on"})

    assert status_of(card) == "approved"
    assert not Rule.objects.exists()


def test_no_more_than_a_hundred_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("approvals.views.bulk.MOST", 2)
    cards, client = requests(3), signed_in(ada())

    table = client.get(BULK, {"pick": [str(card.pk) for card in cards]})
    response = client.post(BULK, picked(cards))

    assert "These are the first 2 of what you selected" in table.content.decode()
    assert response.status_code == 422
    assert not Decision.objects.exists()


def test_strangers_and_forged_posts_decide_nothing() -> None:
    [card], reviewer = requests(1), ada()
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(reviewer)

    assert signed_in(eve()).post(BULK, picked([card])).status_code == 404
    assert strict.post(BULK, picked([card])).status_code == 403
    assert signed_in(reviewer).get(BULK, {"pick": "nonsense"}).status_code == 404
    watching = signed_in(bob()).post(BULK, picked([card])).content.decode()
    assert heading(watching) == "0 done, 1 not decided"
    assert status_of(card) == "pending"


def test_the_table_costs_the_same_with_more_rows(
    django_assert_num_queries: Any,
) -> None:
    cards, client = requests(4), signed_in(ada())
    with CaptureQueriesContext(connection) as one:
        client.get(BULK, {"pick": [str(cards[0].pk)]})

    with django_assert_num_queries(len(one)):
        client.get(BULK, {"pick": [str(card.pk) for card in cards]})


def test_a_digest_no_database_can_hold_is_a_stale_one() -> None:
    first, second = requests(2)
    posted = picked([first, second]) | {f"digest-{first.pk}": "\0"}

    response = signed_in(ada()).post(BULK, posted)

    assert response.status_code == 200
    assert (status_of(first), status_of(second)) == ("pending", "approved")


def test_one_that_the_database_refuses_keeps_no_other_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = requests(2)

    def busy(pk: Any, **said: Any) -> ApprovalRequest:
        if pk == first.pk:
            raise OperationalError("canceling statement due to lock timeout")
        return services.decide(pk, **said)

    monkeypatch.setattr(bulk, "decide", busy)

    response = signed_in(ada()).post(BULK, picked([first, second]))

    assert response.status_code == 200
    assert bulk.NOT_NOW in response.content.decode()
    assert (status_of(first), status_of(second)) == ("pending", "approved")


def test_what_the_table_does_not_show_whole_is_not_approved_in_it() -> None:
    short, long = requests(2)
    values = {f"key{n}": n for n in range(bulk_page.MOST_ROWS + 1)}
    long.call = json.dumps({"arguments": json.dumps(values)})
    long.save()
    client = signed_in(ada())

    table = client.get(BULK, {"pick": [str(short.pk), str(long.pk)]}).content.decode()
    approved = client.post(BULK, picked([short, long])).content.decode()

    assert table.count("too long to be approved here") == 1
    assert f"key{bulk_page.MOST_ROWS - 1}<" in table
    assert f"key{bulk_page.MOST_ROWS}<" not in table
    assert "1 done, 1 not decided" in heading(approved)
    assert bulk.TOO_LONG in approved
    assert (status_of(short), status_of(long)) == ("approved", "pending")
    client.post(BULK, picked([long], "reject"))
    assert status_of(long) == "rejected"
