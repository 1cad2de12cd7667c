"""Standing Rules: how far they reach, when they end, and when a person is asked."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from approvals import audit, standing
from approvals.conditions import Conditions, parse
from approvals.models import (
    ApprovalRequest,
    AuditEntry,
    Decision,
    Rule,
    RuleState,
)
from approvals.rule_queries import back_test
from approvals.services import (
    InvalidDecision,
    NotAllowed,
    RuleEnded,
    RuleNotYours,
    deny_orphans,
    revoke_rule,
    undo,
)
from approvals.services.rules import take_use
from approvals.terms import GLOBAL_RULE, Terms, draft
from runs.engine import Call, Review
from runs.models import Run, RunStatus
from runs.services import lease as leases
from runs.services import send_message
from runs.services.lease import Lease
from tests.approvals.test_races import contest
from tests.factories import ada, bob, eve, make_user, pending, say, start
from tests.runs.test_steps import append, make_call, proposed, take

Scope = Rule.Scope


def where(*conditions: dict[str, Any]) -> Conditions:
    return parse(json.dumps({"match": "all", "of": conditions}))


UP_TO_50 = where({"op": "between", "path": ["amount"], "low": "0", "high": "50"})


def refund(amount: float, key: str = "c1", **changes: Any) -> Call:
    return make_call(json.dumps({"amount": amount}), key=key, call_id=key, **changes)


def made(
    terms: Terms, *, verdict: str = "approve", call: Call | None = None
) -> tuple[Run, Lease, User]:
    """A run with one decided call, and the Rule that its verdict made."""
    run, lease, request = proposed(call or refund(20))
    reviewer = ada()
    say(verdict, request, reviewer, always=terms)
    return run, lease, reviewer


def status_of(run: Run, key: str) -> str:
    return run.requests.filter(call_key=key).latest("revision").status


def asked_elsewhere(call: Call, **where: Any) -> str:
    """Have another run make the call; return how its request stands."""
    run = start(**where)
    append(run, take(run), [call])
    return status_of(run, call.key)


def next_run(run: Run, lease: Lease) -> tuple[Run, Lease]:
    """End the run, and begin the next one of its conversation."""
    leases.finish(lease, RunStatus.COMPLETED)
    following = send_message(run.conversation_id, "And now?", by=None)
    return following, take(following)


def give_global(user: User) -> None:
    user.user_permissions.add(Permission.objects.get(codename=GLOBAL_RULE))


# Scope and life


@pytest.mark.django_db
def test_a_rule_of_a_conversation_survives_the_next_message() -> None:
    run, lease, _ = made(Terms(scope=Scope.CONVERSATION))
    following, lease = next_run(run, lease)

    append(following, lease, [refund(30)])

    assert status_of(following, "c1") == "approved"
    assert asked_elsewhere(refund(30)) == "pending"


@pytest.mark.django_db
def test_a_rule_of_a_run_dies_with_it() -> None:
    run, lease, _ = made(Terms(scope=Scope.RUN))
    following, lease = next_run(run, lease)

    append(following, lease, [refund(30)])

    assert status_of(following, "c1") == "pending"
    rule = Rule.objects.get()
    assert rule.state(timezone.now()) == RuleState.EXPIRED
    assert rule.ended_with_its_run


@pytest.mark.django_db
def test_a_rule_of_a_conversation_dies_when_it_was_idle() -> None:
    run, lease, _ = made(Terms(scope=Scope.CONVERSATION))
    rule = Rule.objects.get()
    assert rule.idle_at == rule.created_at + timedelta(hours=8)
    append(run, lease, [refund(30, "c2")])
    rule.refresh_from_db()
    assert rule.last_used_at is not None
    assert rule.idle_at == rule.last_used_at + timedelta(hours=8)

    Rule.objects.update(idle_at=timezone.now())
    append(run, lease, [refund(30, "c3")])

    assert status_of(run, "c2") == "approved"
    assert status_of(run, "c3") == "pending"


@pytest.mark.django_db
def test_a_rule_dies_at_its_stated_end() -> None:
    run, lease, _ = made(Terms(scope=Scope.CONVERSATION, life=timedelta(hours=1)))
    rule = Rule.objects.get()
    assert rule.expires_at == rule.created_at + timedelta(hours=1)
    assert rule.idle is None

    Rule.objects.update(expires_at=timezone.now())
    append(run, lease, [refund(30, "c2")])

    assert status_of(run, "c2") == "pending"
    assert rule.state(timezone.now()) == RuleState.ACTIVE
    rule.refresh_from_db()
    assert rule.state(timezone.now()) == RuleState.EXPIRED


@pytest.mark.django_db
def test_a_rule_of_an_agent_covers_its_other_runs_and_no_other_agent() -> None:
    made(Terms(scope=Scope.AGENT))
    rule = Rule.objects.get()

    assert rule.use_cap == 100
    assert rule.expires_at == rule.created_at + timedelta(days=30)
    assert asked_elsewhere(refund(30)) == "approved"
    assert asked_elsewhere(refund(30, agent_path="Shop / Inner")) == "pending"
    assert asked_elsewhere(refund(30, tool="pay_out")) == "pending"
    Rule.objects.update(agent_key="other")
    assert asked_elsewhere(refund(30)) == "pending"


@pytest.mark.django_db
def test_a_rule_for_every_agent_needs_the_permission_to_make_and_to_go_on() -> None:
    reviewer = ada()
    _, _, request = proposed(refund(20))
    with pytest.raises(InvalidDecision, match="every agent"):
        say("approve", request, reviewer, always=Terms(scope=Scope.EVERYWHERE))
    give_global(reviewer)

    say("approve", request, reviewer, always=Terms(scope=Scope.EVERYWHERE))

    assert asked_elsewhere(refund(30, agent_path="Other")) == "approved"
    reviewer.user_permissions.clear()
    assert asked_elsewhere(refund(30, agent_path="Other")) == "pending"


@pytest.mark.django_db
def test_a_superuser_without_the_permission_makes_no_rule_for_every_agent() -> None:
    root = make_user("root", "reviewers", is_superuser=True)
    _, _, request = proposed(refund(20))

    with pytest.raises(InvalidDecision, match="every agent"):
        say("approve", request, root, always=Terms(scope=Scope.EVERYWHERE))


@pytest.mark.django_db
def test_a_rule_is_not_for_runs_its_maker_started() -> None:
    _, _, reviewer = made(Terms(scope=Scope.AGENT))

    assert asked_elsewhere(refund(30), requester=reviewer) == "pending"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "terms",
    [
        Terms(use_cap=0),
        Terms(use_cap=10_001),
        Terms(life=timedelta(0)),
        Terms(life=timedelta(days=366)),
    ],
)
def test_terms_without_a_sound_end_make_no_rule(terms: Terms) -> None:
    _, _, request = proposed(refund(20))

    with pytest.raises(InvalidDecision):
        say("approve", request, ada(), always=terms)

    assert not Rule.objects.exists()
    assert ApprovalRequest.objects.get().is_pending


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"scope": "world", "run": None}, "rule_"),
        ({"verdict": "answer"}, "rule_approves_or_rejects"),
        ({"run": None}, "rule_names_a_run_if_for_one"),
        ({"scope": "conversation", "run": None}, "rule_names_a_conversation"),
        ({"scope": "agent", "run": None}, "rule_"),
        ({"scope": "everywhere", "run": None}, "rule_that_outlives_its_run_ends"),
        ({"uses": 3, "use_cap": 2}, "rule_is_not_used_beyond_its_cap"),
        ({"idle": timedelta(hours=1)}, "rule_that_may_idle_says_until_when"),
    ],
)
def test_the_database_keeps_no_rule_without_an_end(
    changes: dict[str, Any], name: str
) -> None:
    made(Terms())

    with pytest.raises(IntegrityError, match=name), transaction.atomic():
        Rule.objects.update(**changes)


# Evaluation


@pytest.mark.django_db
def test_conditions_decide_which_calls_are_covered() -> None:
    run, lease, _ = made(Terms(conditions=UP_TO_50))

    append(run, lease, [refund(50, "c2"), refund(50.01, "c3"), refund(-1, "c4")])

    assert [status_of(run, key) for key in ("c2", "c3", "c4")] == [
        "approved",
        "pending",
        "pending",
    ]


@pytest.mark.django_db
def test_conditions_that_cannot_be_read_cover_nothing() -> None:
    run, lease, _ = made(Terms())
    Rule.objects.update(conditions='{"match":"all","of":[{"op":"soon"}]}')

    append(run, lease, [refund(20, "c2")])

    assert status_of(run, "c2") == "pending"


@pytest.mark.django_db
def test_arguments_that_cannot_be_read_are_asked_about() -> None:
    run, lease, _ = made(Terms())

    append(run, lease, [make_call('{"amount": 1, "amount": 2}', key="c2")])

    assert status_of(run, "c2") == "pending"


@pytest.mark.django_db
def test_a_denied_intent_is_not_run_by_an_older_rule() -> None:
    run, lease, reviewer = made(Terms(scope=Scope.AGENT, conditions=UP_TO_50))
    append(run, lease, [refund(60, "c2")])
    say("reject", pending(run)[0], reviewer)
    Rule.objects.update(
        conditions=where({"op": "any", "path": ["amount"]}).model_dump_json()
    )

    append(run, lease, [refund(60, "c3"), refund(61, "c4")])

    assert status_of(run, "c3") == "pending"
    assert status_of(run, "c4") == "approved"


@pytest.mark.django_db
def test_a_rule_that_rejects_goes_before_wider_and_narrower_ones() -> None:
    run, lease, reviewer = made(Terms(scope=Scope.AGENT), verdict="reject")
    assert asked_elsewhere(refund(30)) == "rejected"
    Rule.objects.create(
        scope=Scope.RUN,
        run=run,
        agent_path="Shop",
        tool="refund",
        schema_hash="s",
        verdict="approve",
        creator=reviewer,
        created_at=timezone.now(),
    )

    append(run, lease, [refund(40, "c2")])

    assert status_of(run, "c2") == "rejected"


@pytest.mark.django_db
def test_the_narrowest_rule_is_used() -> None:
    run, lease, reviewer = made(Terms(scope=Scope.AGENT, conditions=UP_TO_50))
    append(run, lease, [refund(60, "c2")])
    say("approve", pending(run)[0], reviewer, always=Terms())

    append(run, lease, [refund(30, "c3")])

    decision = run.requests.get(call_key="c3").decision
    assert decision.rule is not None
    assert decision.rule.scope == Scope.RUN


@pytest.mark.django_db
@pytest.mark.parametrize(
    "review", [Review(risk="critical"), Review(approvals=2)], ids=["critical", "two"]
)
def test_some_calls_are_asked_about_whatever_the_rule(review: Review) -> None:
    run, lease, _ = made(Terms())

    append(run, lease, [refund(20, "c2", review=review)])
    append(run, lease, [make_call('{"amount": "\\u202e4"}', key="c3")])

    assert status_of(run, "c2") == "pending"
    assert status_of(run, "c3") == "pending"


@pytest.mark.django_db
def test_a_request_a_person_edited_is_asked_about_and_takes_no_rule() -> None:
    run, lease, reviewer = made(Terms())
    Rule.objects.update(revoked_at=timezone.now())
    append(run, lease, [refund(20, "c2")])
    edited = pending(run)[0]
    edited.written = '{"arguments":"{}","digest":"d"}'
    edited.edited_by = reviewer
    edited.save()
    Rule.objects.update(revoked_at=None)

    assert standing.covering_rule(edited) is None
    with pytest.raises(InvalidDecision, match="changed this call"):
        say("approve", edited, reviewer, always=True)


@pytest.mark.django_db
def test_a_changed_schema_suspends_the_rule_for_good() -> None:
    run, lease, _ = made(Terms(scope=Scope.AGENT))

    assert asked_elsewhere(refund(30, schema_hash="new")) == "pending"

    rule = Rule.objects.get()
    assert rule.state(timezone.now()) == RuleState.SUSPENDED
    append(run, lease, [refund(30, "c2")])
    assert status_of(run, "c2") == "pending"
    chain = AuditEntry.objects.filter(chain=f"rule:{rule.pk}").order_by("seq")
    assert [entry.action for entry in chain] == ["make", "suspend"]


@pytest.mark.django_db
def test_another_agents_tool_of_the_same_name_suspends_nothing() -> None:
    reviewer = ada()
    give_global(reviewer)
    _, _, request = proposed(refund(20))
    say("approve", request, reviewer, always=Terms(scope=Scope.EVERYWHERE))

    call = refund(30, agent_path="Other", schema_hash="other")
    assert asked_elsewhere(call) == "pending"

    assert Rule.objects.get().state(timezone.now()) == RuleState.ACTIVE


@pytest.mark.django_db
def test_a_run_without_rules_pays_one_query_for_them() -> None:
    _, _, request = proposed(refund(20))

    with CaptureQueriesContext(connection) as queries:
        assert standing.covering_rule(request) is None

    assert len(queries) == 1


# Making


@pytest.mark.django_db
def test_a_new_rule_decides_what_it_covers_of_this_run_only() -> None:
    run, lease, request = proposed(refund(20))
    append(run, lease, [refund(30, "c2"), refund(60, "c3")])
    other = start()
    append(other, take(other), [refund(30)])
    terms = Terms(scope=Scope.AGENT, conditions=UP_TO_50)
    reviewer = ada()
    rule = draft(
        terms,
        request,
        verdict="approve",  # type: ignore[arg-type]
        creator=reviewer,
        now=timezone.now(),
    )
    listed = [one.call_key for one in standing.open_in(request, rule)]

    say("approve", request, reviewer, always=terms)

    assert listed == ["c2"]
    assert [status_of(run, key) for key in ("c1", "c2", "c3")] == [
        "approved",
        "approved",
        "pending",
    ]
    assert status_of(other, "c1") == "pending"
    own = Decision.objects.get(request__call_key="c2")
    assert own.rule == Rule.objects.get()
    assert Rule.objects.get().uses == 1


@pytest.mark.django_db
def test_a_new_rule_decides_no_more_than_its_cap() -> None:
    run, lease, request = proposed(refund(20))
    append(run, lease, [refund(30, "c2"), refund(31, "c3")])

    say("approve", request, ada(), always=Terms(use_cap=1))

    assert status_of(run, "c2") == "approved"
    assert status_of(run, "c3") == "pending"
    assert Rule.objects.get().state(timezone.now()) == RuleState.EXHAUSTED


@pytest.mark.django_db
def test_many_decisions_at_once_make_no_rule() -> None:
    admin = make_user("root", is_superuser=True)
    run, lease, _ = proposed(refund(20))
    append(run, lease, [refund(30, "c2")])

    deny_orphans([one.pk for one in pending(run)], by=admin)

    assert not Rule.objects.exists()


@pytest.mark.django_db
def test_who_may_not_decide_makes_no_rule() -> None:
    _, _, request = proposed(refund(20))

    with pytest.raises(NotAllowed):
        say("approve", request, bob(), always=True)

    assert not Rule.objects.exists()


@pytest.mark.django_db
def test_cleaning_up_makes_no_rule() -> None:
    admin = make_user("root", is_superuser=True)
    _, _, request = proposed(refund(20))

    say("reject", request, admin, as_clean_up=True, always=True)

    assert not Rule.objects.exists()


@pytest.mark.django_db
def test_undo_takes_a_rule_of_any_scope_with_it() -> None:
    review = Review(hold=timedelta(minutes=5))
    run, _, reviewer = made(Terms(scope=Scope.AGENT), call=refund(20, review=review))

    undo(run.requests.get(call_key="c1").pk, by=reviewer)

    rule = Rule.objects.get()
    assert rule.revoked_by == reviewer
    assert "undone" in rule.revoke_reason
    assert asked_elsewhere(refund(30)) == "pending"


# Revoking, and the trail


@pytest.mark.django_db
@pytest.mark.parametrize("who", ["maker", "reviewer", "admin"])
def test_who_may_revoke_ends_a_rule(who: str) -> None:
    run, lease, reviewer = made(Terms())
    if who == "maker":
        reviewer.groups.clear()
    people = {
        "maker": lambda: reviewer,
        "reviewer": lambda: make_user("carl", "reviewers"),
        "admin": lambda: make_user("root", is_superuser=True),
    }
    by = people[who]()
    rule = Rule.objects.get()

    ended = revoke_rule(rule.pk, by=by, reason="  Too wide. ")

    assert (ended.revoked_by, ended.revoke_reason) == (by, "Too wide.")
    append(run, lease, [refund(20, "c2")])
    assert status_of(run, "c2") == "pending"
    with pytest.raises(RuleEnded):
        revoke_rule(rule.pk, by=by, reason="Again.")
    chain = f"rule:{rule.pk}"
    entries = AuditEntry.objects.filter(chain=chain).order_by("seq")
    assert [entry.action for entry in entries] == ["make", "revoke"]
    assert audit.broken_link_of(chain) is None


@pytest.mark.django_db
def test_others_may_not_revoke_a_rule() -> None:
    made(Terms(), call=refund(20, review=Review(reviewers="reviewers")))
    rule = Rule.objects.get()
    outsider = make_user("olga")
    outsider.user_permissions.add(Permission.objects.get(codename="decide_request"))

    watcher, stranger = bob(), eve()
    for person in (watcher, stranger, outsider):
        with pytest.raises(RuleNotYours):
            revoke_rule(rule.pk, by=person, reason="No.")
    Rule.objects.update(made_with=None)  # of no group
    for person in (watcher, stranger):
        with pytest.raises(RuleNotYours):
            revoke_rule(rule.pk, by=person, reason="No.")

    rule.refresh_from_db()
    assert rule.revoked_at is None


@pytest.mark.django_db
def test_a_back_test_tells_what_people_decided_otherwise() -> None:
    reviewer = ada()
    for number, verdict in enumerate(("approve", "reject", "approve")):
        say(verdict, proposed(refund(20 + number))[2], reviewer)
    say("approve", proposed(refund(80))[2], reviewer)
    _, _, request = proposed(refund(10))
    rule = draft(
        Terms(scope=Scope.AGENT, conditions=UP_TO_50),
        request,
        verdict="approve",  # type: ignore[arg-type]
        creator=reviewer,
        now=timezone.now(),
    )

    told = back_test(rule, reviewer)

    assert (told.looked_at, len(told.covered)) == (4, 3)
    assert [one.call_data["arguments"] for one in told.contrary] == ['{"amount": 21}']
    assert back_test(rule, eve()).looked_at == 0


# Two at once


@pytest.mark.django_db
@pytest.mark.parametrize(
    "end",
    [
        {"use_cap": 1, "uses": 1},
        {"revoked_at": timezone.now()},
        {"suspended_at": timezone.now()},
        {"expires_at": timezone.now()},
    ],
)
def test_a_use_is_taken_only_of_a_rule_that_is_in_force_then(
    end: dict[str, Any],
) -> None:
    made(Terms())
    rule = Rule.objects.get()
    assert take_use(rule)

    Rule.objects.update(**end)

    assert not take_use(rule)


@pytest.mark.django_db(transaction=True)
def test_two_runs_that_want_the_last_use_of_a_cap_get_one() -> None:
    made(Terms(scope=Scope.AGENT, use_cap=1))
    runs = [start(), start()]
    leased = [take(run) for run in runs]

    contest(
        *[
            [lambda run=run, lease=lease: append(run, lease, [refund(30)])]
            for run, lease in zip(runs, leased, strict=True)
        ]
    )

    assert sorted(status_of(run, "c1") for run in runs) == ["approved", "pending"]
    rule = Rule.objects.get()
    assert (rule.uses, rule.decisions.count()) == (1, 1)
