"""Edit and approve: what was reviewed is what runs, and the model is told."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError
from django.utils import timezone

from approvals import audit
from approvals.differences import differences
from approvals.models import (
    ApprovalRequest,
    AuditEntry,
    Decision,
    RequestStatus,
    Rule,
    Vote,
)
from approvals.services import (
    AlreadyDecided,
    InvalidEdit,
    NotAllowed,
    Stale,
    apply_rules,
    decide,
    expire_due,
    undo,
)
from runs.engine import ClaimRefused, ClaimStatus, call_digest
from runs.gate import gate
from runs.models import ToolExecution
from runs.services import steps
from tests.factories import ada, bob, eve, make_user, pending, say
from tests.runs.test_steps import append, lose

from .edits import ARGUMENTS, LESS, WHY, asked, editable, edited

pytestmark = pytest.mark.django_db


# One commit


def test_an_edit_replaces_the_request_and_is_a_vote_for_the_new_one() -> None:
    run, _, request = asked()
    reviewer = ada()

    after = edited(request, reviewer)

    request.refresh_from_db()
    assert request.status == RequestStatus.SUPERSEDED
    assert (after.status, after.revision, after.votes) == (
        RequestStatus.APPROVED,
        2,
        1,
    )
    assert (after.edited_by, after.edit_reason) == (reviewer, WHY)
    assert (after.call_key, after.tool) == (request.call_key, request.tool)
    assert after.digest == call_digest(
        tool="refund",
        schema_hash=request.schema_hash,
        agent_path="Shop",
        arguments=LESS,
    )
    assert (after.call_arguments, after.written_arguments) == (LESS, ARGUMENTS)
    assert after.call_digest == request.digest != after.digest
    assert after.summary == "Refund €48.0 to order 1042"
    [vote] = Vote.objects.all()
    assert (vote.voter, vote.verdict, vote.digest_seen) == (
        reviewer,
        "approve",
        after.digest,
    )
    assert Decision.objects.get().digest == after.digest
    actions = AuditEntry.objects.filter(chain=f"run:{run.pk}").order_by("seq")
    assert [entry.action for entry in actions][-4:] == [
        "edit",
        "request",
        "vote",
        "decide",
    ]
    assert audit.broken_link(run.pk) is None


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ('{"order_id": "1042"}', "amount_eur"),
        ('{"order_id": 1042, "amount_eur": 1}', "order_id"),
        ('{"order_id": "1042", "amount_eur": 1, "to": "me"}', "to"),
        ('{"order_id": "1", "order_id": "2", "amount_eur": 1}', "twice"),
        ('{"order_id": "1", "amount_eur": NaN}', "NaN"),
        ('{"order_id": "1", "amount_eur": 1e400}', "too large"),
        ('{"order_id": "\\ud800", "amount_eur": 1}', "surrogate"),
        ("[]", "object"),
        ("{", "JSON"),
        (ARGUMENTS, "Nothing is changed"),
        ('{"amount_eur":480,"order_id":"1042"}', "Nothing is changed"),
    ],
)
def test_what_the_tool_does_not_take_changes_nothing(
    arguments: str, fault: str
) -> None:
    _, _, request = asked()

    with pytest.raises(InvalidEdit, match=fault):
        edited(request, ada(), arguments)

    request.refresh_from_db()
    assert request.is_pending
    assert not Vote.objects.exists()


def test_an_edit_says_why() -> None:
    _, _, request = asked()

    with pytest.raises(InvalidEdit, match="why"):
        edited(request, ada(), reason=" ")


def test_only_who_may_decide_edits() -> None:
    _, _, request = asked()

    for person in (bob(), eve(), make_user("root", is_superuser=True)):
        with pytest.raises(NotAllowed, match="not a reviewer"):
            edited(request, person)
    with pytest.raises(Stale):
        edited(request, ada(), digest_seen="0" * 64)

    request.refresh_from_db()
    assert request.is_pending


def test_an_edit_of_what_is_decided_is_too_late() -> None:
    _, _, request = asked()
    reviewer = ada()
    say("approve", request, reviewer)

    with pytest.raises(AlreadyDecided):
        edited(request, make_user("carl", "reviewers"))

    assert ApprovalRequest.objects.count() == 1


def test_what_was_edited_meanwhile_is_not_approved_as_it_was() -> None:
    _, _, request = asked()
    edited(request, ada())

    with pytest.raises(AlreadyDecided):
        say("approve", request, make_user("carl", "reviewers"))
    with pytest.raises(AlreadyDecided):
        edited(
            request, make_user("cyd", "reviewers"), '{"order_id":"1","amount_eur":2}'
        )

    assert Decision.objects.count() == 1


def test_an_edit_and_an_expiry_end_a_request_once() -> None:
    call = editable(review={"expires_after": timedelta(hours=1)})
    _, _, request = asked(call)
    later = timezone.now() + timedelta(hours=2)
    after = edited(request, ada())

    assert expire_due(later, up_since=later - timedelta(days=1)) == 0
    assert after.expires_at == request.expires_at


@pytest.mark.parametrize(
    "changes",
    [
        {"parameters": ""},
        {"parameters": '{"type":"object","properties":{}}'},
        {"tool": "ship"},
        {"agent_path": "Other"},
        {"kind": ApprovalRequest.Kind.RECONCILE},
    ],
)
def test_only_a_call_of_a_known_schema_is_edited(changes: dict[str, Any]) -> None:
    _, _, request = asked()
    ApprovalRequest.objects.update(**changes)

    with pytest.raises(NotAllowed, match=r"schema|started"):
        edited(request, ada())


def test_an_edited_request_says_by_whom() -> None:
    _, _, request = asked()
    after = edited(request, ada())

    with pytest.raises(IntegrityError):
        ApprovalRequest.objects.filter(pk=after.pk).update(edited_by=None)


# Votes


def test_who_edited_does_not_give_the_last_vote() -> None:
    call = editable(review={"approvals": 2, "hold": timedelta(hours=1)})
    _, _, request = asked(call)
    editor, carl, dora = (
        ada(),
        make_user("carl", "reviewers"),
        make_user("dora", "reviewers"),
    )
    after = edited(request, editor)
    assert (after.is_pending, after.votes) == (True, 1)
    with pytest.raises(NotAllowed, match="voted already"):
        say("approve", after, editor)
    say("approve", after, carl)

    again = undo(after.pk, by=dora)
    say("approve", again, dora)
    with pytest.raises(NotAllowed, match="You changed this call"):
        say("approve", again, editor)
    say("approve", again, carl)

    again.refresh_from_db()
    assert (again.status, again.edited_by) == (RequestStatus.APPROVED, editor)


def test_who_edited_may_still_say_no() -> None:
    call = editable(review={"approvals": 2, "hold": timedelta(hours=1)})
    _, _, request = asked(call)
    editor, carl, dora = (
        ada(),
        make_user("carl", "reviewers"),
        make_user("dora", "reviewers"),
    )
    after = edited(request, editor)
    say("approve", after, carl)
    again = undo(after.pk, by=dora)
    say("approve", again, dora)

    say("reject", again, editor)

    assert Decision.objects.get(request=again).verdict == "reject"


def test_votes_begin_anew_with_an_edit() -> None:
    _, _, request = asked(editable(review={"approvals": 2}))
    first, second = ada(), make_user("carl", "reviewers")
    say("approve", request, first)

    with pytest.raises(NotAllowed, match="voted already"):
        edited(request, first)
    after = edited(request, second)

    assert (after.votes, after.is_pending) == (1, True)
    say("approve", after, first)
    after.refresh_from_db()
    assert after.status == RequestStatus.APPROVED


def test_no_rule_covers_an_edited_call() -> None:
    _, _, request = asked(editable(review={"approvals": 2}))
    reviewer, other = ada(), make_user("carl", "reviewers")
    after = edited(request, reviewer)
    ApprovalRequest.objects.filter(pk=after.pk).update(votes_needed=1, votes=0)
    rule = Rule.objects.create(
        scope=Rule.Scope.RUN,
        run=after.run,
        agent_path=after.agent_path,
        tool=after.tool,
        schema_hash=after.schema_hash,
        verdict="approve",
        creator=other,
        created_at=timezone.now(),
    )
    after.refresh_from_db()

    apply_rules(after)
    with pytest.raises(NotAllowed):
        decide(after.pk, verdict="approve", by=rule, digest_seen=after.digest)

    after.refresh_from_db()
    assert after.is_pending


# What runs


def test_the_claim_is_of_the_edited_call() -> None:
    _, lease, request = asked()
    after = edited(request, ada())
    call = editable()

    verdict = steps.verdicts(lease, [call]).verdicts["c1"]
    running = call.under(verdict)

    assert (verdict.arguments, verdict.digest) == (LESS, after.digest)
    assert running.arguments == ARGUMENTS
    with pytest.raises(ClaimRefused):
        steps.claim_call(lease, call)
    claim = steps.claim_call(lease, running)
    assert (claim.status, claim.digest) == (ClaimStatus.GRANTED, after.digest)
    execution = ToolExecution.objects.get()
    assert (execution.digest, execution.permitted_by) == (
        after.digest,
        after.decision.pk,
    )


def test_other_arguments_than_the_approved_are_not_claimed() -> None:
    _, lease, request = asked()
    edited(request, ada())
    call = editable()
    verdict = steps.verdicts(lease, [call]).verdicts["c1"]
    more = '{"order_id": "1042", "amount_eur": 9999}'

    with pytest.raises(ClaimRefused):
        call.under(dataclasses.replace(verdict, arguments=more))
    forged = call.under(dataclasses.replace(verdict, arguments=more, digest=None))
    with pytest.raises(ClaimRefused):
        steps.claim_call(lease, forged)
    assert forged.override
    assert verdict.digest
    hidden = dataclasses.replace(
        forged,
        override=dataclasses.replace(forged.override, digest=verdict.digest),
    )
    with pytest.raises(ClaimRefused):
        steps.claim_call(lease, hidden)

    assert not ToolExecution.objects.exists()


def test_an_edit_of_one_call_is_none_of_another_by_its_key() -> None:
    _, lease, request = asked()
    edited(request, ada())
    other = editable('{"order_id": "7", "amount_eur": 1}')

    assert steps.verdicts(lease, [other]).verdicts == {}
    forged = other.under(steps.verdicts(lease, [editable()]).verdicts["c1"])
    with pytest.raises(ClaimRefused):
        steps.claim_call(lease, forged)


def test_a_plain_approval_permits_no_other_arguments() -> None:
    _, lease, request = asked()
    say("approve", request, ada())
    call = editable()
    verdict = steps.verdicts(lease, [call]).verdicts["c1"]

    with pytest.raises(ClaimRefused):
        steps.claim_call(
            lease, call.under(dataclasses.replace(verdict, arguments=LESS))
        )
    assert steps.claim_call(lease, call).status is ClaimStatus.GRANTED


def test_an_idempotent_edited_call_starts_again_as_it_was_approved() -> None:
    run, lease, request = asked(editable(review={"idempotent": True}))
    edited(request, ada())
    call = editable(review={"idempotent": True})
    first = steps.claim_call(lease, _as_decided(lease, call))
    again = lose(run)

    second = steps.claim_call(again, _as_decided(again, call))

    assert second.status is ClaimStatus.GRANTED
    assert (second.idempotency_key, second.digest) == (
        first.idempotency_key,
        first.digest,
    )


def test_an_edited_call_in_doubt_is_asked_about_as_it_ran() -> None:
    run, lease, request = asked()
    reviewer = ada()
    after = edited(request, reviewer)
    steps.claim_call(lease, _as_decided(lease, editable()))
    again = lose(run)

    claim = steps.claim_call(again, _as_decided(again, editable()))

    assert claim.status is ClaimStatus.IN_DOUBT
    [question] = pending(run)
    assert question.kind == ApprovalRequest.Kind.RECONCILE
    assert (question.digest, question.call_arguments) == (after.digest, LESS)
    say("approve", question, reviewer)
    running = _as_decided(again, editable())
    assert running.runs == LESS
    assert steps.claim_call(again, running).status is ClaimStatus.GRANTED


def test_an_undone_edit_is_not_claimed() -> None:
    call = editable(review={"hold": timedelta(hours=1)})
    _, lease, request = asked(call)
    reviewer = ada()
    after = edited(request, reviewer)
    assert steps.claim_call(lease, call.under(_held(after))).status is ClaimStatus.HELD

    again = undo(after.pk, by=reviewer)

    assert (again.call_arguments, again.edited_by) == (LESS, reviewer)
    with pytest.raises(ClaimRefused):
        steps.claim_call(lease, call.under(_held(after)))


def test_a_call_of_a_changed_tool_supersedes_its_edit() -> None:
    run, lease, request = asked()
    edited(request, ada())
    renewed = dataclasses.replace(editable(), schema_hash="new")
    renewed = dataclasses.replace(renewed, digest=renewed.current_digest())

    gate().renew(run, [renewed], gone=[])

    [question] = pending(run)
    assert (question.edited_by, question.call_arguments) == (None, ARGUMENTS)
    assert steps.verdicts(lease, [renewed]).verdicts == {}


def test_the_model_reads_what_was_changed_and_why() -> None:
    _, lease, request = asked()
    edited(request, ada())

    note = steps.verdicts(lease, [editable()]).verdicts["c1"].note or ""

    assert note.startswith("A person changed this call before it was run.")
    assert LESS in note
    assert WHY in note
    assert "Do not make the call again" in note


def _as_decided(lease: Any, call: Any) -> Any:
    return call.under(steps.verdicts(lease, [call]).verdicts["c1"])


def _held(request: ApprovalRequest) -> Any:
    from approvals.wording import told

    return told(request.decision)


def test_no_rule_runs_the_call_as_it_was_before_a_person_changed_it() -> None:
    run, lease, request = asked()
    reviewer = ada()
    edited(request, reviewer)
    other = editable('{"order_id": "7", "amount_eur": 1}', key="c2", call_id="c2")
    append(run, lease, [other])
    say("approve", pending(run)[0], reviewer, always=True)

    again = [
        editable(key="c3", call_id="c3"),
        editable(LESS, key="c4", call_id="c4"),
    ]
    append(run, lease, again)

    assert [it.call_key for it in pending(run)] == ["c3"]


def test_a_changed_type_is_seen_in_the_difference() -> None:
    [row] = differences('{"amount_eur": "5"}', '{"amount_eur": 5}')

    assert (row.before, row.after) == ('"5"', "5")
