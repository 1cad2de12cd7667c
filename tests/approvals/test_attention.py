"""Claims, assignments, later and looks: seen by others, and in nobody's way."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from approvals import queue, services
from approvals.forms.attention import Later, moment
from approvals.models import ApprovalRequest, Attention, Look, Snooze
from approvals.queue import Asked, View
from tests.factories import ada, bob, eve, make_user, start
from tests.test_pages import HTMX, make_request, signed_in

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def url(card: ApprovalRequest, verb: str) -> str:
    return f"/requests/{card.pk}/{verb}/"


# Claim


def test_a_claim_is_told_to_others_and_keeps_nobody_from_deciding() -> None:
    card, first, second = make_request(start()), ada(), make_user("dan", "reviewers")

    services.claim(card.pk, by=first)
    page = signed_in(second).get(f"/requests/{card.pk}/").content.decode()
    services.decide(card.pk, verdict="approve", by=second, digest_seen=card.digest)

    assert "<b>ada</b> has claimed it" in page
    assert "You may decide it all the same." in page
    card.refresh_from_db()
    assert card.status == "approved"


def test_a_claim_expires_and_is_then_anothers() -> None:
    card, first, second = make_request(start()), ada(), make_user("dan", "reviewers")
    services.claim(card.pk, by=first)
    with pytest.raises(services.Taken):
        services.claim(card.pk, by=second)

    Attention.objects.update(claimed_until=timezone.now())
    services.claim(card.pk, by=second)

    assert Attention.objects.get().claimed_by == second


def test_a_claim_is_renewed_and_given_back_by_its_owner_alone() -> None:
    card, first, second = make_request(start()), ada(), make_user("dan", "reviewers")
    services.claim(card.pk, by=first)
    Attention.objects.update(claimed_until=timezone.now() + timedelta(seconds=1))

    services.claim(card.pk, by=first)
    services.release(card.pk, by=second)
    kept = Attention.objects.get()
    services.release(card.pk, by=first)

    assert kept.claimed_by == first
    assert kept.claimed_until is not None
    assert kept.claimed_until > timezone.now() + timedelta(minutes=4)
    assert Attention.objects.get().claimed_by is None


def test_a_lost_claim_is_a_409_with_how_things_stand() -> None:
    card = make_request(start())
    services.claim(card.pk, by=make_user("dan", "reviewers"))
    client = signed_in(ada())

    fragment = client.post(url(card, "claim"), headers=HTMX)
    page = client.post(url(card, "claim"))

    assert (fragment.status_code, page.status_code) == (409, 409)
    for response in (fragment, page):
        assert "dan has claimed this request." in response.content.decode()
    assert "dan has claimed" in unquote(fragment["Placet-Announce"])


# Who may


def test_who_may_not_decide_may_not_claim_nor_assign_and_is_told_why() -> None:
    asker = bob()
    card = make_request(start(requester=asker))
    client = signed_in(asker)

    page = client.get(f"/requests/{card.pk}/").content.decode()
    codes = [client.post(url(card, verb)).status_code for verb in ("claim", "assign")]

    assert "You started this run; someone else must decide." in page
    assert codes == [403, 403]
    assert not Attention.objects.filter(claimed_by=asker).exists()


@pytest.mark.parametrize("verb", ["claim", "assign", "later", "look", "attention"])
def test_strangers_find_nothing(verb: str) -> None:
    owner = eve()
    mine, others = make_request(start(requester=owner)), make_request(start())
    client = signed_in(owner)
    ask = client.get if verb == "attention" else client.post

    codes = [ask(url(card, verb)).status_code for card in (mine, others)]
    nowhere = ask(f"/requests/{uuid4()}/{verb}/").status_code

    assert [*codes, nowhere] == [404] * 3


@pytest.mark.parametrize("verb", ["claim", "assign", "later", "look"])
def test_nothing_is_done_by_get_or_without_a_token(verb: str) -> None:
    card, reviewer = make_request(start()), ada()
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(reviewer)

    assert signed_in(reviewer).get(url(card, verb)).status_code == 405
    assert strict.post(url(card, verb)).status_code == 403
    assert not Attention.objects.exists()
    assert not Look.objects.exists()


# Assign


def test_a_request_is_assigned_to_who_may_decide_it() -> None:
    asker, other = bob(), make_user("dan", "reviewers")
    card = make_request(start(requester=asker))
    client = signed_in(ada())

    page = client.get(f"/requests/{card.pk}/").content.decode()
    done = client.post(url(card, "assign"), {"to": "dan"}, headers=HTMX)
    nobody = client.post(url(card, "assign"), {"to": "bob"}, headers=HTMX)

    assert "<option>dan</option>" in page
    assert "<option>bob</option>" not in page
    assert "Assigned to <b>dan</b> by ada" in done.content.decode()
    assert nobody.status_code == 422
    found = queue.waiting(other, Asked(view=View.MINE), timezone.now())
    assert list(found) == [card]


def test_who_wrote_to_the_run_is_not_given_it() -> None:
    reviewer, other = ada(), make_user("dan", "reviewers")
    run = start()
    run.speakers.add(other)
    card = make_request(run)

    response = signed_in(reviewer).post(url(card, "assign"), {"to": "dan"})

    assert response.status_code == 403
    assert "dan may not decide this request." in response.content.decode()
    assert not Attention.objects.filter(assigned_to=other).exists()


def test_a_request_is_assigned_to_nobody_again() -> None:
    card, reviewer = make_request(start()), ada()
    services.assign(card.pk, to=reviewer, by=reviewer)

    signed_in(reviewer).post(url(card, "assign"), {"to": ""})

    assert Attention.objects.get().assigned_to is None


# Later


def test_what_is_put_off_is_put_off_for_one_person_and_comes_back() -> None:
    card, first, second = make_request(start()), ada(), make_user("dan", "reviewers")
    now, mine = timezone.now(), Asked(view=View.GROUPS)

    done = signed_in(first).post(url(card, "later"), {"until_when": "hour"})

    assert done.status_code == 302
    assert not queue.waiting(first, mine, now).exists()
    assert queue.waiting(second, mine, now).exists()
    assert queue.waiting(first, mine, now + 2 * HOUR).exists()
    assert queue.next_wake(first, now) == Snooze.objects.get().until


def test_what_is_due_soon_comes_back_before_its_time() -> None:
    now, reviewer = timezone.now(), ada()
    expires = now + 2 * HOUR
    card = make_request(start(), expires_at=expires)
    services.snooze(card.pk, until=now + timedelta(days=1), by=reviewer)
    mine = Asked(view=View.GROUPS)

    assert not queue.waiting(reviewer, mine, now).exists()
    assert queue.waiting(reviewer, mine, now + HOUR).exists()
    assert queue.next_wake(reviewer, now) == expires - HOUR
    # Another one, put off for longer and back sooner; and one that is back already.
    sooner = make_request(start(), expires_at=now + 90 * HOUR / 60)
    services.snooze(sooner.pk, until=now + timedelta(days=2), by=reviewer)
    assert queue.next_wake(reviewer, now) == now + HOUR / 2
    assert queue.next_wake(reviewer, now + 3 * HOUR / 4) == expires - HOUR


def test_what_was_put_off_is_had_back_at_once() -> None:
    card, reviewer = make_request(start()), ada()
    client = signed_in(reviewer)
    client.post(url(card, "later"), {"until_when": "week"})

    page = client.get(f"/requests/{card.pk}/").content.decode()
    client.post(url(card, "later"), {"until_when": "now"})

    assert "You have put it off until" in page
    assert not Snooze.objects.exists()


@pytest.mark.parametrize("sent", [{}, {"until_when": "never"}])
def test_a_time_that_is_not_offered_is_refused(sent: dict[str, str]) -> None:
    card = make_request(start())

    response = signed_in(ada()).post(url(card, "later"), sent, headers=HTMX)

    assert response.status_code == 422
    assert 'role="alert"' in response.content.decode()
    assert not Snooze.objects.exists()


def test_what_is_decided_is_not_put_off() -> None:
    card, reviewer = make_request(start()), ada()
    services.decide(card.pk, verdict="reject", by=reviewer, digest_seen=card.digest)

    response = signed_in(reviewer).post(url(card, "later"), {"until_when": "hour"})

    assert response.status_code == 409
    assert not Snooze.objects.exists()


@pytest.mark.parametrize(
    ("later", "at", "expected"),
    [
        (Later.HOUR, "2026-03-04 10:30", "2026-03-04 11:30"),
        (Later.EVENING, "2026-03-04 10:30", "2026-03-04 18:00"),
        (Later.EVENING, "2026-03-04 18:00", "2026-03-05 18:00"),
        (Later.MORNING, "2026-03-04 23:59", "2026-03-05 09:00"),
        (Later.WEEK, "2026-03-04 10:30", "2026-03-09 09:00"),
        (Later.WEEK, "2026-03-09 08:00", "2026-03-16 09:00"),
        (Later.MORNING, "2026-03-28 10:00", "2026-03-29 09:00"),  # summer time begins
    ],
)
def test_later_is_a_time_of_the_readers_day(
    later: Later, at: str, expected: str
) -> None:
    zone = ZoneInfo("Europe/Berlin")

    found = moment(later, datetime.fromisoformat(at).replace(tzinfo=zone))

    assert found == datetime.fromisoformat(expected).replace(tzinfo=zone)


# Looks


def test_a_look_is_seen_by_others_and_ends_by_itself() -> None:
    card, first, second = make_request(start()), ada(), make_user("dan", "reviewers")
    client = signed_in(first)

    def told() -> bool:
        page = signed_in(second).get(url(card, "attention")).content.decode()
        return "Open at ada." in page

    assert client.post(url(card, "look")).status_code == 204
    seen = told()
    own = client.get(url(card, "attention")).content.decode()
    Look.objects.update(seen_at=timezone.now() - timedelta(seconds=30))
    later = told()
    client.post(url(card, "look"))
    again = told()
    client.post(url(card, "look"), {"away": "on"})

    assert (seen, later, again, told()) == (True, False, True, False)
    assert "Open at" not in own


def test_a_look_writes_to_no_row_of_the_run_or_request() -> None:
    card, reviewer = make_request(start()), ada()
    before = ApprovalRequest.objects.values().get()

    with CaptureQueriesContext(connection) as asked:
        services.look(card.pk, by=reviewer)
        services.look(card.pk, by=reviewer)
        services.look_away(card.pk, by=reviewer)

    written = [q["sql"] for q in asked if q["sql"].startswith(("UPDATE", "INSERT"))]
    assert written
    assert all("approvals_look" in sql for sql in written)
    assert ApprovalRequest.objects.values().get() == before


def test_old_looks_are_cleared_away() -> None:
    reviewer = ada()
    for _ in range(3):
        services.look(make_request(start()).pk, by=reviewer)
    Look.objects.update(seen_at=timezone.now() - HOUR)

    services.look(make_request(start()).pk, by=reviewer)

    assert Look.objects.count() == 1


def test_the_bar_costs_the_same_for_many_people(
    django_assert_num_queries: Any,
) -> None:
    card, client = make_request(start()), signed_in(ada())
    services.look(card.pk, by=make_user("p0", "reviewers"))
    with CaptureQueriesContext(connection) as one:
        client.get(url(card, "attention"))
    for number in range(1, 4):
        services.look(card.pk, by=make_user(f"p{number}", "reviewers"))

    with django_assert_num_queries(len(one)):
        client.get(url(card, "attention"))
