"""The one door: who may decide, what counts, who was first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection

from approvals import audit
from approvals.models import (
    ApprovalRequest,
    AuditEntry,
    Decision,
    RequestStatus,
    Rule,
    Vote,
)
from approvals.policies import why_not_decide
from approvals.services import (
    AlreadyDecided,
    DecisionError,
    InvalidDecision,
    NotAllowed,
    Stale,
    decide,
    deny_orphans,
)
from runs.engine import Call, ClaimStatus, Review
from runs.models import Run, RunStatus
from runs.services import lease as leases
from runs.services import steps
from tests.factories import ada, bob, eve, make_user, pending, say, start
from tests.runs.test_steps import append, make_call, proposed, take


def request_for(call: Call | None = None, *, requester: User | None = None) -> Any:
    run = start(requester=requester)
    append(run, take(run), [call or make_call()])
    return pending(run)[0]


@pytest.mark.django_db
def test_an_approval_is_a_vote_a_decision_an_event_and_a_wake_up() -> None:
    reviewer = ada()
    request = request_for()
    wakes = Run.objects.get(pk=request.run_id).wakes

    decided = decide(
        request.pk, verdict="approve", by=reviewer, digest_seen=request.digest
    )

    assert decided.status == RequestStatus.APPROVED
    vote = Vote.objects.get()
    assert (vote.voter, vote.verdict, vote.digest_seen) == (
        reviewer,
        "approve",
        request.digest,
    )
    decision = Decision.objects.get()
    assert (decision.actor, decision.verdict, decision.digest) == (
        reviewer,
        "approve",
        request.digest,
    )
    run = Run.objects.get(pk=request.run_id)
    assert run.wakes == wakes + 1
    assert run.events.order_by("-seq")[0].data["status"] == "approved"


@pytest.mark.django_db
def test_an_old_digest_decides_nothing() -> None:
    request = request_for()

    with pytest.raises(Stale) as error:
        decide(request.pk, verdict="approve", by=ada(), digest_seen="0" * 64)

    assert error.value.request.is_pending
    assert not Vote.objects.exists()


@pytest.mark.django_db
def test_a_second_verdict_changes_nothing() -> None:
    request = request_for()
    say("reject", request, ada(), reason="no")

    with pytest.raises(AlreadyDecided) as error:
        say("approve", request, make_user("carl", "reviewers"))

    assert error.value.request.status == RequestStatus.REJECTED
    assert Decision.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("who", "reason"),
    [
        ("requester", "You started this run"),
        ("operator", "not a reviewer"),
        ("stranger", "not a reviewer"),
        ("superuser", "not a reviewer"),
        ("inactive", "not a reviewer"),
    ],
)
def test_whoever_may_not_decide_is_refused_with_the_reason(
    who: str, reason: str
) -> None:
    people: dict[str, Callable[[], User]] = {
        "requester": lambda: make_user("rita", "reviewers"),
        "operator": bob,
        "stranger": eve,
        "superuser": lambda: make_user("root", is_superuser=True, is_staff=True),
        "inactive": lambda: make_user("ina", "reviewers", is_active=False),
    }
    person = people[who]()
    request = request_for(requester=person if who == "requester" else None)

    with pytest.raises(NotAllowed, match=reason):
        say("approve", request, person)

    request.refresh_from_db()
    assert request.is_pending
    assert why_not_decide(person, request)


@pytest.mark.django_db
def test_only_the_tools_reviewers_decide() -> None:
    request = request_for(make_call(review=Review(reviewers="finance")))

    with pytest.raises(NotAllowed, match="finance"):
        say("approve", request, ada())
    say("approve", request, make_user("fay", "reviewers", "finance"))

    request.refresh_from_db()
    assert request.status == RequestStatus.APPROVED


@pytest.mark.django_db
def test_two_approvals_are_of_two_people() -> None:
    request = request_for(make_call(review=Review(approvals=2)))
    first = ada()
    say("approve", request, first)
    request.refresh_from_db()
    assert request.is_pending

    with pytest.raises(NotAllowed, match="voted already"):
        say("approve", request, first)
    say("approve", request, make_user("carl", "reviewers"))

    request.refresh_from_db()
    assert request.status == RequestStatus.APPROVED


@pytest.mark.django_db
def test_one_rejection_ends_it_whatever_the_votes_needed() -> None:
    request = request_for(make_call(review=Review(approvals=2)))
    say("approve", request, ada())

    say("reject", request, make_user("carl", "reviewers"))

    assert Decision.objects.get().verdict == "reject"


@pytest.mark.django_db(transaction=True)
def test_of_many_deciders_at_once_one_wins() -> None:
    request = request_for()
    people = [make_user(f"r{n}", "reviewers") for n in range(8)]
    line = threading.Barrier(len(people))
    told: list[str] = []

    def press(person: User) -> None:
        line.wait()
        try:
            say("approve" if person.pk % 2 else "reject", request, person)
            told.append("won")
        except DecisionError as error:
            told.append(type(error).__name__)
        finally:
            connection.close()

    threads = [threading.Thread(target=press, args=[person]) for person in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(told) == ["AlreadyDecided"] * 7 + ["won"]
    assert Decision.objects.count() == Vote.objects.count() == 1


@pytest.mark.django_db
def test_an_approval_cannot_be_an_answer_and_an_answer_not_empty() -> None:
    request = request_for()

    with pytest.raises(InvalidDecision, match="in doubt"):
        say("answer", request, ada(), output="fine")
    ApprovalRequest.objects.update(kind=ApprovalRequest.Kind.RECONCILE)
    with pytest.raises(InvalidDecision, match="output"):
        say("answer", request, User.objects.get(username="ada"), output=" ")


# Always: a Rule for this run


@pytest.mark.django_db
def test_always_decides_open_and_later_calls_of_this_run_and_tool_only() -> None:
    run, lease, request = proposed(make_call())
    same = make_call('{"order_id": "2"}', key="c2", call_id="c2")
    other = make_call(tool="pay_out", key="c3", call_id="c3")
    append(run, lease, [same, other])
    stranger = request_for()

    say("approve", request, ada(), always=True)
    later = make_call('{"order_id": "4"}', key="c4", call_id="c4")
    append(run, lease, [later])

    statuses = dict(run.requests.values_list("call_key", "status"))
    assert statuses == {
        "c1": "approved",
        "c2": "approved",
        "c3": "pending",
        "c4": "approved",
    }
    assert steps.claim_call(lease, later).status is ClaimStatus.GRANTED
    stranger.refresh_from_db()
    assert stranger.is_pending
    rule = Rule.objects.get()
    assert rule.uses == 2
    assert rule.decisions.count() == 2


@pytest.mark.django_db
def test_a_rule_does_not_cover_what_was_denied_before_or_looks_odd() -> None:
    reviewer = ada()
    run, lease, denied = proposed(make_call())
    say("reject", denied, reviewer)
    append(run, lease, [make_call('{"order_id": "2"}', key="c2")])
    say("approve", pending(run)[0], reviewer, always=True)

    again = make_call(key="c3")
    odd = make_call('{"order_id": "\\u202e4"}', key="c4")
    changed = make_call('{"order_id": "5"}', key="c5", schema_hash="other")
    nested = make_call('{"order_id": "6"}', key="c6", agent_path="Shop / Inner")
    append(run, lease, [again, odd, changed, nested])

    assert [request.call_key for request in pending(run)] == ["c3", "c4", "c5", "c6"]


@pytest.mark.django_db
@pytest.mark.parametrize("review", [Review(risk="critical"), Review(approvals=2)])
def test_a_tool_that_is_always_asked_about_takes_no_rule(review: Review) -> None:
    request = request_for(make_call(review=review))

    with pytest.raises(InvalidDecision):
        say("approve", request, ada(), always=True)

    assert not Rule.objects.exists()
    request.refresh_from_db()
    assert request.is_pending


@pytest.mark.django_db
def test_always_reject_rejects_the_next_call_with_the_same_reason() -> None:
    run, lease, request = proposed(make_call())
    say("reject", request, ada(), reason="Closed on Sundays.", always=True)

    later = make_call('{"order_id": "2"}', key="c2")
    append(run, lease, [later])

    verdict = steps.verdicts(lease, [later])["c2"]
    assert verdict.message is not None
    assert "Closed on Sundays." in verdict.message


# Clean-up and the trail


@pytest.mark.django_db
def test_denying_orphans_is_an_admins_and_lets_the_run_go_on() -> None:
    admin = make_user("root", is_superuser=True)
    run, lease, request = proposed(make_call())
    leases.park(lease)

    with pytest.raises(NotAllowed):
        deny_orphans([request.pk], by=bob())
    assert deny_orphans([request.pk], by=admin) == 1
    assert deny_orphans([request.pk], by=admin) == 0

    run.refresh_from_db()
    request.refresh_from_db()
    assert request.status == RequestStatus.REJECTED
    assert run.status == RunStatus.QUEUED


@pytest.mark.django_db
def test_cleaning_up_never_approves() -> None:
    admin = make_user("root", is_superuser=True)
    request = request_for()

    with pytest.raises(NotAllowed):
        say("approve", request, admin, as_clean_up=True)


@pytest.mark.django_db
def test_the_audit_trail_is_a_chain_that_shows_a_change() -> None:
    run, _, request = proposed(make_call())
    say("reject", request, ada(), reason="no")
    assert audit.broken_link(run.pk) is None
    assert AuditEntry.objects.count() == 3

    AuditEntry.objects.filter(seq=2).update(payload='{"verdict":"approve"}')

    broken = audit.broken_link(run.pk)
    assert broken is not None
    assert broken.seq == 2
