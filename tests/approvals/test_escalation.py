"""What nobody decides goes to one more group, which may decide it too."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from approvals import audit, policies
from approvals.models import ApprovalRequest, AuditEntry, RequestStatus
from approvals.services import (
    AlreadyDecided,
    NotAllowed,
    decide,
    escalate,
    escalate_due,
    expire_due,
    undo,
)
from runs.engine import Agent, Review, function_tool
from runs.engine.state.definition import definition_of, differences
from runs.models import Run
from tests.approvals.test_races import approve, contest
from tests.factories import ada, make_user, pending, say, start
from tests.runs.test_steps import append, make_call, proposed, take

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
LATE = Review(reviewers="finance", escalate_after=HOUR, escalate_to="leads")


def asked(**changes: Any) -> ApprovalRequest:
    given = {
        "reviewers": "finance",
        "escalate_after": HOUR,
        "escalate_to": "leads",
        **changes,
    }
    _, _, request = proposed(make_call(review=Review(**given)))
    return request


def later(request: ApprovalRequest) -> ApprovalRequest:
    """The request an hour and a half after it was asked, having been escalated."""
    assert escalate_due(timezone.now() + 1.5 * HOUR) == 1
    request.refresh_from_db()
    return request


def lead(name: str = "lea") -> User:
    return make_user(name, "reviewers", "leads")


# What is declared


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"escalate_after": HOUR}, "go together"),
        ({"escalate_to": "leads"}, "go together"),
        ({"escalate_after": HOUR, "escalate_to": " "}, "go together"),
        ({"escalate_after": timedelta(0), "escalate_to": "leads"}, "longer than"),
        (
            {"escalate_after": HOUR, "escalate_to": "leads", "expires_after": HOUR},
            "before expires_after",
        ),
        (
            {"escalate_after": HOUR, "escalate_to": "leads", "reviewers": "leads"},
            "reviewers already",
        ),
    ],
)
def test_an_escalation_that_makes_no_sense_is_refused(
    wrong: dict[str, Any], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        Review(**wrong)


def agent(review: Review) -> Agent[Any]:
    @function_tool(needs_approval=True, review=review)
    def refund(order_id: str) -> str:
        return order_id

    return Agent(name="Shop", tools=[refund])


def test_a_person_is_asked_when_new_code_escalates_to_another_group() -> None:
    before, now = definition_of(agent(Review())), definition_of(agent(LATE))

    [found] = differences(before, now)

    assert found.asks
    assert found.now == "1 approval of finance, later also of leads, medium risk"
    review = before["agents"]["Shop"]["tools"]["refund"]["review"]
    assert set(review) == {"reviewers", "approvals", "risk", "idempotent"}


# Who may


def test_before_its_time_the_other_group_may_not() -> None:
    request, lea = asked(), lead()

    assert escalate_due(timezone.now() + HOUR / 2) == 0
    request.refresh_from_db()
    assert request.escalated_at is None
    assert not policies.decidable_by(lea).exists()
    with pytest.raises(NotAllowed, match="Only members of “finance” may"):
        say("approve", request, lea)


def test_after_it_both_groups_may() -> None:
    for name, groups in (("lea", ["leads"]), ("fin", ["finance"])):
        request = later(asked())
        person = make_user(name, "reviewers", *groups)

        assert policies.why_not_decide(person, request) is None
        say("approve", request, person)

        request.refresh_from_db()
        assert request.status == RequestStatus.APPROVED


def test_nobody_else_may_and_is_told_who() -> None:
    request = later(asked())

    with pytest.raises(NotAllowed, match="“finance” or “leads” may decide"):
        say("approve", request, ada())


@pytest.mark.parametrize("by", ["requester", "no right"])
def test_a_lead_is_bound_by_every_other_rule(by: str) -> None:
    request = asked()
    lea = make_user("lea", "leads") if by == "no right" else lead()
    if by == "requester":
        Run.objects.filter(pk=request.run_id).update(requester=lea)
    later(request)

    with pytest.raises(NotAllowed):
        say("approve", request, lea)


def test_who_it_waits_for_and_what_waits_for_them_is_one_rule() -> None:
    """Both ways to ask give the same, over people and requests of every kind."""
    people = [
        ada(),
        lead(),
        make_user("fin", "reviewers", "finance"),
        make_user("both", "reviewers", "finance", "leads"),
        make_user("norights", "leads", "finance"),
        make_user("gone", "reviewers", "leads", is_active=False),
        make_user("boss", "leads", is_superuser=True),
        make_user("given", "leads"),
    ]
    given = Permission.objects.get(codename=policies.DECIDE)
    people[-1].user_permissions.add(given)
    later(asked())
    asked()
    open_to_all = asked(reviewers="")
    Run.objects.filter(pk=open_to_all.run_id).update(requester=people[0])
    open_to_all.run.speakers.add(people[1])
    twice = asked(reviewers="", approvals=2)
    say("approve", twice, people[3])

    for request in ApprovalRequest.objects.select_related("run"):
        waits_for = {
            person.username
            for person in people
            if policies.decidable_by(person).filter(pk=request.pk).exists()
        }
        told = {person.username for person in policies.deciders_of(request)}
        by_reason = {
            person.username
            for person in people
            if person.is_active and policies.why_not_decide(person, request) is None
        }
        assert waits_for == told == by_reason
    assert {"lea", "given"} <= {
        person.username
        for person in policies.deciders_of(
            ApprovalRequest.objects.get(escalated_at__isnull=False)
        )
    }


# What it leaves


def test_the_request_stays_what_it_was() -> None:
    request = asked(approvals=2)
    fin = make_user("fin", "reviewers", "finance")
    say("approve", request, fin)
    digest = request.digest

    request = later(request)

    assert (request.digest, request.votes, request.status) == (digest, 1, "pending")
    assert request.escalate_at is None
    say("approve", request, lead())
    request.refresh_from_db()
    assert request.status == RequestStatus.APPROVED


def test_it_is_told_to_the_trail_and_to_the_run() -> None:
    request = later(asked())

    entry = AuditEntry.objects.get(action="escalate")
    assert (entry.actor, entry.object_id) == ("Placet", str(request.pk))
    assert '"group":"leads"' in entry.payload
    assert request.digest in entry.payload
    assert audit.broken_link(request.run_id) is None
    event = request.run.events.filter(kind="request").latest("seq")
    assert event.data == {"request": str(request.pk), "status": "pending", "by": ""}


def test_it_happens_once() -> None:
    request = asked()
    now = timezone.now() + 2 * HOUR

    assert [escalate(request.pk, now=now), escalate(request.pk, now=now)] == [
        True,
        False,
    ]
    assert AuditEntry.objects.filter(action="escalate").count() == 1


@pytest.mark.parametrize("verdict", ["approve", "reject"])
def test_what_is_decided_is_not_escalated(verdict: str) -> None:
    request = asked()
    say(verdict, request, make_user("fin", "reviewers", "finance"))

    assert not escalate(request.pk, now=timezone.now() + 2 * HOUR)
    assert escalate_due(timezone.now() + 2 * HOUR) == 0


def test_an_escalated_request_expires_and_is_never_approved_by_that() -> None:
    request = later(asked(expires_after=2 * HOUR))
    ApprovalRequest.objects.update(expires_at=timezone.now())
    now = timezone.now()

    assert expire_due(now, up_since=now - HOUR) == 1

    request.refresh_from_db()
    assert request.status == RequestStatus.EXPIRED
    with pytest.raises(AlreadyDecided):
        say("approve", request, lead())


def test_what_is_asked_again_has_its_time_again() -> None:
    fin = make_user("fin", "reviewers", "finance")
    request = asked(hold=HOUR)
    say("approve", request, fin)

    again = undo(request.pk, by=fin)

    assert again.escalate_at is not None
    assert again.escalate_at - again.created_at == HOUR


def test_what_was_escalated_and_is_asked_again_stays_with_both() -> None:
    lea = lead()
    request = later(asked(hold=HOUR))
    say("approve", request, lea)

    again = undo(request.pk, by=lea)

    assert policies.decidable_by(lea).get() == again


def test_a_tool_that_says_nothing_never_escalates() -> None:
    proposed(make_call())

    assert escalate_due(timezone.now() + timedelta(days=900)) == 0


def test_the_card_says_so() -> None:
    client = Client()
    client.force_login(lead())
    request = asked()

    page = client.get(f"/requests/{request.pk}/").content.decode()
    assert "Goes to leads too" in page
    assert "Only members of “finance”" in page

    later(request)
    ApprovalRequest.objects.update(escalated_at=timezone.now() - timedelta(minutes=5))
    page = client.get(f"/requests/{request.pk}/").content.decode()
    assert "Escalated to leads" in page
    assert ">5 min ago</time>" in page
    assert "finance, and leads" in page
    assert "Only members of" not in page


# Races


@pytest.mark.django_db(transaction=True)
def test_two_sweepers_escalate_once_and_a_decision_beside_them_stands() -> None:
    """Whoever is first: one escalation at most, one verdict, an unbroken trail."""
    run = start()
    lease = take(run)
    calls = [
        make_call(f'{{"order_id": "{n}"}}', key=f"c{n}", call_id=f"c{n}", review=LATE)
        for n in range(6)
    ]
    append(run, lease, calls)
    requests = pending(run)
    fin = make_user("fin", "reviewers", "finance")
    now = timezone.now() + 2 * HOUR
    sweeps = [partial(escalate, request.pk, now=now) for request in requests]
    decisions = [partial(approve, request, fin) for request in requests]

    told = contest(sweeps, sweeps, decisions)

    assert [isinstance(row[2], ApprovalRequest) for row in told] == [True] * 6
    assert all(row[:2].count(True) <= 1 for row in told)
    escalated = sum(True in row[:2] for row in told)
    assert AuditEntry.objects.filter(action="escalate").count() == escalated
    assert audit.broken_link(run.pk) is None
    assert {request.status for request in run.requests.all()} == {"approved"}


@pytest.mark.django_db(transaction=True)
def test_an_escalation_and_an_expiry_at_once_leave_it_expired() -> None:
    requests = [asked(expires_after=2 * HOUR) for _ in range(4)]
    past = timezone.now() - timedelta(minutes=1)
    ApprovalRequest.objects.update(expires_at=past, escalate_at=past)
    sweeps = [partial(escalate, one.pk, now=timezone.now()) for one in requests]
    ends = [
        partial(decide, one.pk, verdict="reject", by=None, digest_seen=one.digest)
        for one in requests
    ]

    told = contest(sweeps, ends)

    assert all(row[0] in (True, False) for row in told)
    assert {one.status for one in ApprovalRequest.objects.all()} == {"expired"}
