"""The question about changed code: what a reviewer is shown, and what deciding does."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from approvals import upgrades
from approvals.gate import DatabaseGate
from approvals.models import ApprovalRequest, RequestStatus, Rule
from approvals.queries import visible_requests
from approvals.standing import covering_rule
from runs.engine.state.definition import Difference
from runs.models import Run, RunStatus
from runs.upgrades import CodeChange
from tests.factories import ada, bob, say, start

pytestmark = pytest.mark.django_db

HIDDEN = "ref\u202eund"


def difference(what: str = "Tool refund", **more: Any) -> Difference:
    return Difference(agent="Shop", what=what, before="there", now="gone", **more)


def change(run: Run, *found: Difference, now: str = "now") -> CodeChange:
    told = f'{{"agents": {{"{now}": {{"mcp_servers": ["files"]}}}}}}'
    return CodeChange(
        run_id=str(run.pk),
        agent="Shop",
        before='{"agents": {}}',
        now=told,
        differences=found or (difference(),),
    )


def waiting_run(**options: Any) -> Run:
    run = start(**options)
    Run.objects.filter(pk=run.pk).update(status=RunStatus.WAITING)
    run.refresh_from_db()
    return run


def asked(run: Run, *found: Difference, now: str = "now") -> ApprovalRequest:
    upgrades.ask(run, change(run, *found, now=now), revision=1)
    request = ApprovalRequest.objects.get(run=run)
    assert request.kind == ApprovalRequest.Kind.UPGRADE
    return request


def page_of(request: ApprovalRequest) -> str:
    client = Client()
    client.force_login(ada())
    return client.get(request.get_absolute_url()).content.decode()


def test_the_page_shows_each_difference_line_by_line() -> None:
    told = difference("Instructions", asks=False)
    weaker = Difference(
        agent="Shop",
        what="Tool ship",
        before="always asks a person",
        now="runs without asking",
        loosens=True,
    )
    request = asked(waiting_run(), difference(), weaker, told)

    page = page_of(request)

    assert "May the run of Shop go on under changed code?" in page
    assert page.count('<tr class="told">') == 1
    assert page.count("<tr>") == 3  # the head and two that ask
    assert page.count("asks less") == 1
    assert "Not compared: what files offers." in page
    assert "Go on" in page
    assert "Always approve" not in page
    assert request.risk == "high"


def test_hostile_names_are_inert_and_seen_before_the_go_ahead() -> None:
    run = waiting_run()
    request = asked(run, difference(f"Tool <b>{HIDDEN}</b>"))
    client = Client()
    client.force_login(ada())

    page = client.get(request.get_absolute_url()).content.decode()
    form = {"verdict": "approve", "digest": request.digest}
    refused = client.post(f"/requests/{request.pk}/decide/", form)

    assert HIDDEN not in page
    assert "<b>ref" not in page
    assert request.warnings == 1
    assert refused.status_code == 422
    accepted = client.post(f"/requests/{request.pk}/decide/", {**form, "ack": "on"})
    assert accepted.status_code == 302
    request.refresh_from_db()
    assert request.status == RequestStatus.APPROVED


def test_the_gate_lets_on_exactly_what_was_approved() -> None:
    run, gate, reviewer = waiting_run(), DatabaseGate(), ada()

    assert gate.go_ahead(run, change(run)) is False
    assert gate.go_ahead(run, change(run)) is False
    [request] = run.requests.all()
    say("approve", request, reviewer)

    assert gate.go_ahead(run, change(run)) is True
    assert gate.go_ahead(run, change(run, now="other")) is False
    statuses = run.requests.order_by("revision").values_list("revision", "status")
    assert list(statuses) == [(1, "approved"), (2, "pending")]


def test_another_change_replaces_the_pending_question() -> None:
    run, gate = waiting_run(), DatabaseGate()

    gate.go_ahead(run, change(run))
    gate.go_ahead(run, change(run, now="other"))

    statuses = run.requests.order_by("revision").values_list("revision", "status")
    assert list(statuses) == [(1, "superseded"), (2, "pending")]
    assert gate.awaiting_go_ahead() == [run.pk]


def test_a_change_back_and_forth_is_asked_about_each_time() -> None:
    run, gate, reviewer = waiting_run(), DatabaseGate(), ada()
    there, back = change(run), change(run, now="other")

    for wanted in (there, back):
        gate.go_ahead(run, wanted)
        say("approve", run.requests.order_by("revision").last(), reviewer)  # type: ignore[arg-type]  # it was just asked

    assert gate.go_ahead(run, there) is False


def test_to_end_the_run_ends_it_in_the_deciding_transaction() -> None:
    """Whatever the code is by then: nobody has to look at the run first."""
    run = waiting_run(requester=bob())
    request = asked(run)

    say("reject", request, ada(), reason="No.")

    run.refresh_from_db()
    assert run.status == RunStatus.FAILED
    assert run.error == (
        "ada ended the run: it does not go on under changed code. Reason: No."
    )
    request.refresh_from_db()
    assert request.status == RequestStatus.REJECTED


def test_no_rule_covers_the_question() -> None:
    run = waiting_run()
    request = asked(run)
    Rule.objects.create(
        scope=Rule.Scope.RUN,
        run=run,
        agent_path=request.agent_path,
        tool=request.tool,
        schema_hash=request.schema_hash,
        verdict="approve",
        creator=ada(),
        created_at=timezone.now(),
    )

    assert covering_rule(request) is None


def test_a_used_go_ahead_stays_approved_when_its_run_ends() -> None:
    run, gate = waiting_run(), DatabaseGate()
    request = asked(run)
    say("approve", request, ada())

    gate.close(run)

    request.refresh_from_db()
    assert request.status == RequestStatus.APPROVED


def test_an_owner_sees_the_question_about_their_own_run() -> None:
    owner = bob()
    request = asked(waiting_run(requester=owner))

    assert list(visible_requests(owner)) == [request]
