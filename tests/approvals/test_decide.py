"""The one door: who may decide, what counts, who was first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone

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
from runs.engine import Call, ClaimRefused, ClaimStatus, Review
from runs.models import Run, RunStatus
from runs.services import lease as leases
from runs.services import resume_run, send_message, steps
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
def test_who_has_written_to_a_run_does_not_decide_its_requests() -> None:
    reviewer = ada()
    request = request_for()
    send_message(request.run.conversation_id, "Just approve it.", by=reviewer)

    with pytest.raises(NotAllowed, match="written to this run"):
        say("approve", request, reviewer)

    request.refresh_from_db()
    assert request.is_pending


@pytest.mark.django_db
def test_who_asked_for_a_run_does_not_decide_even_when_they_wrote_nothing() -> None:
    reviewer = ada()
    request = request_for(requester=reviewer)
    request.run.speakers.clear()

    with pytest.raises(NotAllowed, match="You started this run"):
        say("approve", request, reviewer)


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
    request = request_for(make_call(review=Review(approvals=3)))
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
def test_an_answer_is_not_empty_and_only_for_a_call() -> None:
    request = request_for()

    with pytest.raises(InvalidDecision, match="output"):
        say("answer", request, ada(), output=" ")
    ApprovalRequest.objects.update(kind=ApprovalRequest.Kind.UPGRADE)
    with pytest.raises(InvalidDecision, match="Only a call"):
        say("answer", request, User.objects.get(username="ada"), output="fine")


# What a request says of its call


@pytest.mark.django_db
def test_text_no_database_takes_opens_a_request() -> None:
    arguments = '{"order_id": "\ud800\x00"}'
    call = make_call(arguments, tool="refund\x00", why="\x00")

    request = request_for(call)

    request.refresh_from_db()
    assert request.tool == "refund\\x00"
    assert request.call_data["arguments"] == arguments


@pytest.mark.django_db
def test_warnings_count_the_tools_name_and_its_arguments() -> None:
    call = make_call('{"order_id": "\u202e1"}', tool="re\u200bfund")

    assert request_for(call).warnings == 2


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "summary"),
    [
        ('{"order_id": "1"}', "Refund order 1"),
        ('{"order_id": "\u202e1"}', "Refund order ⟦right-to-left override⟧1"),
        ('{"article": "1"}', 'refund: article "1"'),
    ],
)
def test_a_summary_is_the_tools_own_where_its_arguments_fit(
    arguments: str, summary: str
) -> None:
    call = make_call(arguments, review=Review(summary="Refund order {order_id}"))

    assert request_for(call).summary == summary


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
    other = make_call('{"order_id": "7"}', key="c7", tool="pay_out")
    append(run, lease, [again, odd, changed, nested, other])

    assert [request.call_key for request in pending(run)] == [
        "c3",
        "c4",
        "c5",
        "c6",
        "c7",
    ]
    assert request_for(make_call('{"order_id": "8"}')).is_pending


def spend(rule: QuerySet[Rule]) -> None:
    rule.update(use_cap=1, uses=1)


def expire(rule: QuerySet[Rule]) -> None:
    rule.update(expires_at=timezone.now() - timedelta(seconds=1))


def revoke(rule: QuerySet[Rule]) -> None:
    rule.update(revoked_at=timezone.now())


def dismiss(rule: QuerySet[Rule]) -> None:
    rule.get().creator.groups.clear()


@pytest.mark.django_db
@pytest.mark.parametrize("end", [spend, expire, revoke, dismiss])
def test_a_rule_that_has_ended_decides_nothing(end: Any) -> None:
    run, lease, request = proposed(make_call())
    say("approve", request, ada(), always=True)
    end(Rule.objects.all())

    append(run, lease, [make_call('{"order_id": "2"}', key="c2")])

    assert [request.call_key for request in pending(run)] == ["c2"]


@pytest.mark.django_db
def test_a_denying_rule_goes_before_an_allowing_one() -> None:
    reviewer = ada()
    run, lease, first = proposed(make_call())
    say("approve", first, reviewer, always=True)
    Rule.objects.create(
        scope=Rule.Scope.RUN,
        run=run,
        agent_path=first.agent_path,
        tool=first.tool,
        schema_hash=first.schema_hash,
        verdict="reject",
        creator=reviewer,
        created_at=timezone.now(),
    )

    append(run, lease, [make_call('{"order_id": "2"}', key="c2")])

    assert run.requests.get(call_key="c2").status == RequestStatus.REJECTED


@pytest.mark.django_db
def test_a_denial_in_another_run_does_not_hold_a_rule_back() -> None:
    reviewer = ada()
    say("reject", request_for(), reviewer)
    run, lease, request = proposed(make_call('{"order_id": "2"}'))
    say("approve", request, reviewer, always=True)

    append(run, lease, [make_call(key="c2")])

    assert run.requests.get(call_key="c2").status == RequestStatus.APPROVED


@pytest.mark.django_db
def test_a_reason_no_database_takes_is_kept_as_far_as_it_goes() -> None:
    request = request_for()

    say("reject", request, ada(), reason="\ud800\x00" + "x" * 5_000)

    reason = Decision.objects.get().reason
    assert reason.startswith("\\ud800\\x00xxx")
    assert len(reason) == 4_000


@pytest.mark.django_db
def test_the_end_of_a_run_ends_its_rules_and_its_unused_approvals() -> None:
    run, lease, request = proposed(make_call())
    say("approve", request, ada(), always=True)
    leases.finish(lease, RunStatus.FAILED, error="broken")
    resume_run(run.pk, by=None)
    lease = take(run)

    with pytest.raises(ClaimRefused):
        steps.claim_call(lease, make_call())
    append(run, lease, [make_call()])

    assert [asked.revision for asked in pending(run)] == [2]


@pytest.mark.django_db
def test_a_call_in_doubt_takes_as_many_approvals_as_the_call() -> None:
    run = start()
    lease = take(run)
    call = make_call(gated=False, review=Review(approvals=2))
    steps.claim_call(lease, call)

    steps.claim_call(lease, call)

    assert [asked.votes_needed for asked in pending(run)] == [2]


@pytest.mark.django_db
def test_a_rule_decides_only_what_it_covers() -> None:
    _, _, request = proposed(make_call())
    say("approve", request, ada(), always=True)
    other = request_for()

    with pytest.raises(NotAllowed):
        decide(
            other.pk,
            verdict="approve",
            by=Rule.objects.get(),
            digest_seen=other.digest,
        )

    other.refresh_from_db()
    assert other.is_pending


@pytest.mark.django_db
def test_whether_a_call_happened_is_never_answered_by_a_rule() -> None:
    request = request_for()
    ApprovalRequest.objects.update(kind=ApprovalRequest.Kind.RECONCILE)

    with pytest.raises(InvalidDecision, match="each time"):
        say("approve", request, ada(), always=True)


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

    verdict = steps.verdicts(lease, [later]).verdicts["c2"]
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
def test_cleaning_up_is_bound_to_the_request_as_it_stands() -> None:
    admin = make_user("root", is_superuser=True)
    request = request_for()

    with pytest.raises(Stale):
        decide(
            request.pk,
            verdict="reject",
            by=admin,
            digest_seen="0" * 64,
            as_clean_up=True,
        )
    say("approve", request, ada())
    with pytest.raises(AlreadyDecided):
        say("reject", request, admin, as_clean_up=True)

    assert Decision.objects.get().verdict == "approve"


@pytest.mark.django_db
def test_a_standing_rule_is_in_the_audit_trail() -> None:
    run, _, request = proposed(make_call())
    say("approve", request, ada(), always=True)

    entries = AuditEntry.objects.filter(chain=f"run:{run.pk}").order_by("seq")
    actions = entries.values_list("action", flat=True)

    assert list(actions) == ["request", "vote", "decide", "rule"]
    assert audit.broken_link(run.pk) is None


@pytest.mark.django_db
def test_the_audit_trail_shows_a_link_that_is_gone() -> None:
    run, _, request = proposed(make_call())
    say("reject", request, ada())

    AuditEntry.objects.filter(seq=1).delete()

    broken = audit.broken_link(run.pk)
    assert broken is not None
    assert broken.seq == 2


@pytest.mark.django_db
def test_the_audit_trail_shows_a_chain_that_was_written_anew() -> None:
    run, _, request = proposed(make_call())
    say("reject", request, ada())
    forged = AuditEntry.objects.get(seq=2)
    forged.payload = '{"verdict":"approve"}'
    forged.hash = audit.link_hash(forged)
    forged.save()

    broken = audit.broken_link(run.pk)

    assert broken is not None
    assert broken.seq == 3


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
