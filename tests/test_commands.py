from __future__ import annotations

from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from approvals.models import ApprovalRequest, Decision, RequestStatus, Rule, Vote
from runs.management.commands import start_run
from runs.models import Conversation, Run, RunStatus, ToolExecution
from tests.admin.factories import end, make_ended_run, make_request
from tests.approvals.edits import LESS, asked
from tests.factories import ada, bob, eve, make_user, start

pytestmark = pytest.mark.django_db
HOSTILE = "\x1b[2J\u202etxt.exe\r\nfake"


def call(name: str, *arguments: str, code: int = 0) -> str:
    """Return what the command prints; it must exit with `code`."""
    out = StringIO()
    if code:
        with pytest.raises(SystemExit) as ended:
            call_command(name, *arguments, stdout=out, stderr=out)
        assert ended.value.code == code
    else:
        call_command(name, *arguments, stdout=out, stderr=out)
    return out.getvalue()


# start_run


def test_start_run_prints_the_id_and_nothing_else() -> None:
    person = bob()

    printed = call("start_run", "--agent", "shop", "Refund 1042", "--as", "bob")

    run = Run.objects.get()
    assert printed == f"{run.pk}\n"
    assert (run.agent_key, run.trigger, run.requester) == ("shop", "command", person)
    assert run.events.get(seq=1).data["raw"]["content"] == "Refund 1042"


def test_start_run_goes_on_in_a_conversation() -> None:
    first = make_ended_run(age=timedelta(0))

    call("start_run", "Go on", "--conversation", str(first.conversation_id))

    second = Run.objects.latest("id")
    assert second.conversation == first.conversation
    assert second.previous == first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--agent", "nobody", "Hi"], "There is no agent 'nobody'"),
        (["--agent", "shop", "  "], "nothing to send"),
        (["--agent", "shop", "Hi", "--as", "nobody"], "no active user 'nobody'"),
        (["Hi"], "--agent KEY"),
        (["Hi", "--conversation", str(uuid4())], "no conversation"),
        (["Hi", "--conversation", "7"], "no conversation '7'"),
        (["--agent", "shop"], "text"),
    ],
)
def test_start_run_says_what_is_wrong(arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        call("start_run", *arguments)

    assert not Run.objects.exists()
    assert not Conversation.objects.exists()


def test_start_run_refuses_a_busy_conversation() -> None:
    run = start()

    with pytest.raises(CommandError, match="unfinished run"):
        call("start_run", "Hi", "--conversation", str(run.conversation_id))


def test_start_run_refuses_a_conversation_of_another_agent() -> None:
    run = make_ended_run(age=timedelta(0))
    given = ["Hi", "--agent", "support", "--conversation", str(run.conversation_id)]

    with pytest.raises(CommandError, match="with the agent 'shop'"):
        call("start_run", *given)


class Meanwhile:
    """Stands for the pause between two looks: what happens then, one step each."""

    def __init__(self, *statuses: RunStatus, **fields: str) -> None:
        self.statuses = list(statuses)
        self.fields = fields

    def __call__(self, seconds: float) -> None:
        status = self.statuses.pop(0) if self.statuses else RunStatus.RUNNING
        Run.objects.update(status=status, **self.fields)


@pytest.mark.parametrize(
    ("status", "code", "printed"),
    [
        (RunStatus.COMPLETED, 0, "It is done."),
        (RunStatus.FAILED, 1, "The run failed. No luck."),
        (RunStatus.CANCELLED, 1, "The run was cancelled. No luck."),
    ],
)
def test_start_run_waits_for_the_end(
    monkeypatch: pytest.MonkeyPatch, status: RunStatus, code: int, printed: str
) -> None:
    meanwhile = Meanwhile(
        RunStatus.RUNNING, status, final_output="It is done.", error="No luck."
    )
    monkeypatch.setattr(start_run, "sleep", meanwhile)

    lines = call("start_run", "--agent", "shop", "Hi", "--wait", code=code).split("\n")

    assert lines == [str(Run.objects.get().pk), printed, ""]


def test_start_run_waits_for_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    def pause(seconds: float) -> None:
        run = Run.objects.get()
        make_request(run, key="call_1")
        make_request(run, key="call_2")
        Run.objects.update(status=RunStatus.WAITING)

    monkeypatch.setattr(start_run, "sleep", pause)

    printed = call("start_run", "--agent", "shop", "Hi", "--wait", code=3)

    requests = ApprovalRequest.objects.order_by("id")
    assert printed.splitlines()[1:] == [
        "Waiting for a decision on:",
        *(f"  {request.pk}" for request in requests),
    ]


def test_start_run_names_only_open_requests() -> None:
    run, reviewer = start(), ada()
    done, waiting = make_request(run, key="call_1"), make_request(run, key="call_2")
    call("decide", str(done.pk), "approve", "--as", reviewer.username)

    assert start_run.open_requests(run) == [str(waiting.pk)]


def test_start_run_stops_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_run, "sleep", Meanwhile())

    printed = call(
        "start_run", "--agent", "shop", "Hi", "--wait", "--timeout=0", code=4
    )

    assert "still queued after 0 seconds" in printed


def test_start_run_prints_a_hostile_answer_inert(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    meanwhile = Meanwhile(RunStatus.COMPLETED, final_output=HOSTILE)
    monkeypatch.setattr(start_run, "sleep", meanwhile)

    printed = call("start_run", "--agent", "shop", "Hi", "--wait")

    assert "\x1b" not in printed
    assert "\u202e" not in printed
    assert "⟦escape⟧" in printed


# requests


def test_requests_lists_what_waits() -> None:
    request = make_request(start(requester=bob()), order_id="1042", amount_eur=480)

    printed = call("requests")

    assert printed.splitlines()[0].startswith(f"{request.pk}  high  ")
    assert "refund, called by Shop, asked for by bob" in printed
    assert f"digest {request.digest}" in printed
    assert '      "order_id": "1042",' in printed
    assert "0 of 1 votes" in printed


def test_requests_leaves_decided_ones_to_all() -> None:
    request = make_request(start())
    call("decide", str(request.pk), "reject", "--as", ada().username)

    assert call("requests") == "No request is waiting.\n"
    assert "rejected by ada" in call("requests", "--all")


def test_requests_prints_hostile_text_inert() -> None:
    run = start()
    make_request(run, tool=HOSTILE, order_id=HOSTILE)

    printed = call("requests")

    assert not {"\x1b", "\u202e", "\r"} & set(printed)
    assert "\nfake" not in printed
    assert "⟦escape⟧" in printed


def test_requests_says_what_it_cuts() -> None:
    make_request(start(), text="x" * 100_000)

    printed = call("requests")

    assert len(printed) < 6_000
    assert "more characters; look at the page" in printed


# decide


@pytest.mark.parametrize(
    ("verdict", "status"), [("approve", "approved"), ("reject", "rejected")]
)
def test_decide_records_the_verdict(verdict: str, status: str) -> None:
    request, reviewer = make_request(start()), ada()

    printed = call("decide", str(request.pk), verdict, "--as=ada", "--reason=Because.")

    request.refresh_from_db()
    assert request.status == status
    assert request.decision.actor == reviewer
    assert request.decision.reason == "Because."
    assert printed.startswith(status.capitalize())


def test_decide_always_makes_a_rule() -> None:
    request = make_request(start())

    call("decide", str(request.pk), "approve", "--as", ada().username, "--always")

    assert Rule.objects.get().tool == "refund"


def test_decide_answers_a_call_in_doubt() -> None:
    request = make_request(start())
    ApprovalRequest.objects.update(kind=ApprovalRequest.Kind.RECONCILE)

    call("decide", str(request.pk), "answer", "--as", ada().username, "--output=Paid.")

    assert Decision.objects.get().output == "Paid."


def test_decide_says_how_many_votes_are_missing() -> None:
    request = make_request(start())
    ApprovalRequest.objects.update(votes_needed=2)

    printed = call("decide", str(request.pk), "approve", "--as", ada().username)

    assert printed.startswith("Counted, 1 of 2 votes: ")
    request.refresh_from_db()
    assert request.status == RequestStatus.PENDING


def refused(request: ApprovalRequest, *arguments: Any, verdict: str = "approve") -> str:
    """Return why the command decides nothing."""
    votes = Vote.objects.count()
    with pytest.raises(CommandError) as error:
        call("decide", str(request.pk), verdict, *map(str, arguments))
    assert Vote.objects.count() == votes
    return str(error.value)


def test_decide_asks_the_same_rights_as_the_page() -> None:
    request = make_request(start(requester=make_user("dan", "reviewers")))
    User.objects.create_superuser("admin", password="admin")
    eve()

    assert "You started this run" in refused(request, "--as=dan")
    assert "not a reviewer" in refused(request, "--as=eve")
    assert "not a reviewer" in refused(request, "--as=admin")
    request.refresh_from_db()
    assert request.status == RequestStatus.PENDING


def test_decide_refuses_what_has_changed_or_ended() -> None:
    request = make_request(start())
    ada()

    assert "changed" in refused(request, "--as=ada", "--digest", "0" * 64)
    call("decide", str(request.pk), "reject", "--as=ada", "--digest", request.digest)
    assert "already rejected" in refused(request, "--as=ada")
    assert Decision.objects.get().verdict == "reject"


def test_decide_refuses_a_wrong_verdict_or_person() -> None:
    request = make_request(start())
    make_user("gone", "reviewers", is_active=False)
    ada()

    assert "invalid choice" in refused(request, "--as=ada", verdict="yes")
    assert "invalid choice" in refused(request, "--as=ada", verdict="")
    assert "Write the output" in refused(request, "--as=ada", verdict="answer")
    stops = refused(request, "--as=ada", "--stop", verdict="approve")
    assert "Only to reject" in stops
    assert "no active user 'nobody'" in refused(request, "--as=nobody")
    assert "no active user 'gone'" in refused(request, "--as=gone")
    assert "--as" in refused(request)


@pytest.mark.parametrize("pk", ["7", "", str(uuid4())])
def test_decide_refuses_an_unknown_request(pk: str) -> None:
    with pytest.raises(CommandError, match="There is no request"):
        call("decide", pk, "approve", "--as", ada().username)


def test_a_request_of_an_ended_run_stays_as_it_is() -> None:
    run = start()
    request = make_request(run)
    ApprovalRequest.objects.update(status=RequestStatus.CANCELLED)
    end(run, age=timedelta(0), status=RunStatus.CANCELLED)
    ada()

    assert "already cancelled" in refused(request, "--as=ada")
    assert not ToolExecution.objects.exists()


# Edit, answer, and stop


def test_decide_edits_from_a_file(tmp_path: Path) -> None:
    _, _, request = asked()
    ada()
    arguments = tmp_path / "less.json"
    arguments.write_text(LESS)

    printed = call(
        "decide", str(request.pk), "edit", "--as=ada", "--reason=Less.",
        f"--arguments={arguments}",
    )  # fmt: skip

    assert printed.startswith("Approved: Refund €48.0")
    after = ApprovalRequest.objects.get(revision=2)
    assert (after.call_arguments, after.edit_reason) == (LESS, "Less.")


def test_decide_edits_from_the_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, request = asked()
    ada()
    monkeypatch.setattr("sys.stdin", StringIO(LESS))

    call(
        "decide", str(request.pk), "edit", "--as=ada", "--reason=Less.", "--arguments=-"
    )

    assert ApprovalRequest.objects.get(revision=2).call_arguments == LESS


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--reason=x",), "--arguments"),
        (("--reason=x", "--arguments=/nowhere/at/all"), "cannot be read"),
        (("--reason=x", "--arguments=-", "--always"), "do not go with edit"),
        (("--arguments=-",), "Write why"),
    ],
)
def test_decide_refuses_an_edit_that_is_none(
    monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], told: str
) -> None:
    _, _, request = asked()
    ada()
    monkeypatch.setattr("sys.stdin", StringIO(LESS))

    with pytest.raises(CommandError, match=told):
        call("decide", str(request.pk), "edit", "--as=ada", *options)

    request.refresh_from_db()
    assert request.is_pending


def test_decide_rejects_and_stops() -> None:
    run, _, request = asked()
    ada()

    call("decide", str(request.pk), "reject", "--as=ada", "--stop")

    run.refresh_from_db()
    assert run.stop_requested_at
