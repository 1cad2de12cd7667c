"""Answer instead: a person's text becomes the output, and the tool does not run."""

from __future__ import annotations

import pytest

from approvals.forms.verdicts import OUTPUT_CHARS
from approvals.models import ApprovalRequest, Decision, RequestStatus
from approvals.services import InvalidDecision
from approvals.wording import ANSWERED, HAPPENED
from runs.engine import ClaimRefused, VerdictKind
from runs.models import ToolExecution
from runs.services import steps
from tests.factories import ada, say

from .edits import asked, editable, signed_in


@pytest.mark.django_db
def test_an_answer_ends_a_request_at_the_first_vote() -> None:
    _, lease, request = asked(editable(review={"approvals": 2}))

    say("answer", request, ada(), output="Paid in cash.")

    request.refresh_from_db()
    assert request.status == RequestStatus.ANSWERED
    verdict = steps.verdicts(lease, [editable()]).verdicts["c1"]
    assert (verdict.kind, verdict.message, verdict.note) == (
        VerdictKind.ANSWER,
        "Paid in cash.",
        ANSWERED,
    )
    with pytest.raises(ClaimRefused):
        steps.claim_call(lease, editable())
    assert not ToolExecution.objects.exists()


@pytest.mark.django_db
def test_an_answer_is_not_given_always() -> None:
    _, _, request = asked()

    with pytest.raises(InvalidDecision, match="no always"):
        say("answer", request, ada(), output="Paid.", always=True)

    assert not Decision.objects.exists()


@pytest.mark.django_db
def test_an_empty_answer_keeps_the_request_pending() -> None:
    _, _, request = asked()
    client = signed_in(ada())
    said = {"verdict": "answer", "digest": request.digest, "output": "  "}

    response = client.post(f"/requests/{request.pk}/decide/", said)

    request.refresh_from_db()
    assert (response.status_code, request.is_pending) == (422, True)


@pytest.mark.django_db
def test_a_call_in_doubt_is_answered_in_other_words() -> None:
    _, lease, request = asked()
    ApprovalRequest.objects.update(kind=ApprovalRequest.Kind.RECONCILE)
    say("answer", request, ada(), output="It went through.")

    assert steps.verdicts(lease, [editable()]).verdicts["c1"].note == HAPPENED


@pytest.mark.django_db
def test_the_model_gets_all_of_a_long_answer() -> None:
    _, lease, request = asked()
    output = "x" * OUTPUT_CHARS
    said = {"verdict": "answer", "digest": request.digest, "output": output}

    signed_in(ada()).post(f"/requests/{request.pk}/decide/", said)

    assert steps.verdicts(lease, [editable()]).verdicts["c1"].message == output


@pytest.mark.django_db
def test_an_answer_that_is_too_long_is_not_cut() -> None:
    _, _, request = asked()

    with pytest.raises(InvalidDecision, match="at most"):
        say("answer", request, ada(), output="x" * (OUTPUT_CHARS + 1))

    request.refresh_from_db()
    assert request.is_pending
