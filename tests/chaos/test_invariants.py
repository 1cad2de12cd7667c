"""Each invariant speaks up when what it guards is broken by hand."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from approvals.models import AuditEntry, Decision, Vote
from runs.executor import Executor
from runs.models import EventKind, Run, RunEvent, RunStatus, ToolExecution
from runs.services import log
from tests.factories import ada, bob, make_user

from . import journal
from .invariants import violations
from .plans import Calls
from .web import Web

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("chaos_agents"),
]
Break = Callable[[Run], object]


def cast() -> Web:
    ada()
    bob()
    make_user("cyd", "reviewers")
    # With this seed every call is approved.
    return Web("test", seed=5, since=time.time())


def one_run(web: Web) -> Run:
    """Return a run that has paid and sent, and has come to its end."""
    calls: Calls = [("pay", {"ref": "a", "eur": 1}), ("send", {"ref": "b"})]
    run = web.start(calls)
    web.to_rest()
    run.refresh_from_db()
    return run


def again(file: str, **changes: object) -> None:
    """Tell the last line of the journal once more, changed."""
    line = {**journal.told(file)[-1], **changes}
    journal.tell(file, **{key: line[key] for key in line if key not in ("at", "pid")})


def pay(run: Run) -> ToolExecution:
    return run.executions.get(tool="pay")


def lose_a_row(run: Run) -> None:
    run.events.filter(seq=3).delete()


def end_twice(run: Run) -> None:
    last = run.events.order_by("seq").last()
    assert last is not None
    last.pk, last.seq = None, run.last_seq + 1
    last.save()
    Run.objects.filter(pk=run.pk).update(last_seq=last.seq)


def decide_after_the_end(run: Run) -> None:
    log.record_event(run.pk, EventKind.REQUEST, {"status": "approved"})


def fail(run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(status=RunStatus.FAILED, error="Placet broke")


def set_status(status: RunStatus) -> Break:
    return lambda run: Run.objects.filter(pk=run.pk).update(status=status)


def leave_a_request_open(run: Run) -> None:
    run.requests.update(status="pending")


def leave_a_call_started(run: Run) -> None:
    run.executions.update(status=ToolExecution.Status.STARTED)


def tamper_with_the_audit(run: Run) -> None:
    AuditEntry.objects.filter(chain=f"run:{run.pk}", seq=2).update(actor="eve")


def lose_an_output(run: Run) -> None:
    rows = run.events.filter(kind="item", call_key="0.0.1")
    output = next(row for row in rows if row.data["type"] == "tool_output")
    RunEvent.objects.filter(pk=output.pk).update(kind="span")


def lose_the_claim(run: Run) -> None:
    pay(run).delete()


def lose_the_decision(run: Run) -> None:
    Decision.objects.filter(request__run=run).delete()


def lose_the_vote(run: Run) -> None:
    Vote.objects.filter(request__run=run).delete()


def change_what_was_approved(run: Run) -> None:
    call = json.dumps({"call_id": "0.0.0", "arguments": '{"ref": "a", "eur": 2}'})
    run.requests.update(call=call)


def change_the_digest(run: Run) -> None:
    run.executions.update(digest="0" * 64)


def send_twice(run: Run) -> None:
    effect = next(line for line in journal.told("effects") if line["tool"] == "send")
    again("effects", **effect)


def send_never(run: Run) -> None:
    (Path(journal._folder) / "effects").unlink()


def reject_after_all(run: Run) -> None:
    run.requests.update(status="rejected")


def undo_after_all(run: Run) -> None:
    run.requests.update(status="undone")


def release_later(run: Run) -> None:
    later = timezone.now() + timedelta(hours=1)
    Decision.objects.filter(request__run=run).update(release_at=later)


def mail_without_a_notice(run: Run) -> None:
    request = run.requests.get()
    journal.tell("mails", to=["ada@example.com"], about=[str(request.pk)])


def expire_after_all(run: Run) -> None:
    run.requests.update(status="expired")


def decide_by_nobody(run: Run) -> None:
    Decision.objects.filter(request__run=run).update(actor=None)
    run.requests.update(status="expired", expires_at=timezone.now())


def change_the_code(run: Run) -> None:
    again("effects", code=2)


def lose_an_undoing(run: Run) -> None:
    ids = {"request": str(run.requests.get().pk), "after": "0" * 32}
    journal.tell("acks", what="undo", run=str(run.pk), **ids)


def stop_and_end_otherwise(run: Run) -> None:
    journal.tell("acks", what="stop", run=str(run.pk))


def ask_again(run: Run) -> None:
    again("asks")


def lose_the_run(run: Run) -> None:
    journal.tell("acks", what="start", run="0" * 32, text="anything")


@pytest.mark.parametrize(
    ("breaks", "told"),
    [
        (lose_a_row, "the log has"),
        (end_twice, "completed follows completed"),
        (decide_after_the_end, "a request is approved after the run has completed"),
        (fail, "it failed: Placet broke"),
        (set_status(RunStatus.CANCELLED), "stop requested at None"),
        (set_status(RunStatus.WAITING), "it waits, and for nobody"),
        (leave_a_request_open, "it has ended with open requests"),
        (leave_a_call_started, "it has ended with 0.0.0 started"),
        (tamper_with_the_audit, "the audit chain breaks at 2"),
        (lose_an_output, "calls without an output: ['0.0.1']"),
        (lose_the_claim, "pay 0.0.0 had an effect and was never claimed"),
        (lose_the_decision, "0.0.0 ran on no approval"),
        (lose_the_decision, "is lost"),
        (lose_the_vote, "the vote of ada"),
        (change_what_was_approved, "approved was {'ref': 'a', 'eur': 2}"),
        (change_the_digest, "0.0.0 ran on an approval of something else"),
        (send_twice, "send 0.0.1 had effect 2 of 1 permitted"),
        (send_never, "0.0.1 is recorded as succeeded, and never happened"),
        (reject_after_all, "0.0.0 is rejected and has happened"),
        (undo_after_all, "0.0.0 ran under a verdict that was undone"),
        (release_later, "0.0.0 started before its verdict was released"),
        (mail_without_a_notice, "0.0.0 was in 1 mails of 0"),
        (expire_after_all, "0.0.0 is expired, decided by ada"),
        (decide_by_nobody, "nobody has decided 0.0.0: approve"),
        (change_the_code, "it went on under changed code, and nobody had said so"),
        (lose_an_undoing, "was undone, and it is approved"),
        (lose_an_undoing, "nobody is asked again about"),
        (stop_and_end_otherwise, "it was stopped, and is completed"),
        (ask_again, "the model was asked 1 times for a stored answer"),
        (lose_the_run, f"run {'0' * 32} is lost"),
    ],
)
async def test_what_is_broken_is_told(
    executor: Executor, breaks: Break, told: str
) -> None:
    web = await sync_to_async(cast)()
    run = await sync_to_async(one_run)(web)
    assert await sync_to_async(violations)(web) == []

    await sync_to_async(breaks)(run)

    found = await sync_to_async(violations)(web)
    assert [wrong for wrong in found if told in wrong], found
