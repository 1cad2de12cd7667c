from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from approvals.models import ApprovalRequest, Decision
from runs import services
from runs.models import EventKind, Run, RunEvent, RunStatus, SavedState
from runs.services import prune, record_event, saved_states
from tests.factories import ada, bob, say, start

from .factories import end, make_ended_run, make_request

pytestmark = pytest.mark.django_db
MONTH = timedelta(days=30)
LONG_AGO = timedelta(days=31)


def prune_command(*arguments: str) -> str:
    out = StringIO()
    call_command("prune_states", *arguments, stdout=out)
    return out.getvalue().strip()


def test_prune_deletes_the_state_and_keeps_what_was_decided() -> None:
    run = start("Refund it", requester=bob())
    request = make_request(run)
    say("approve", request, ada())
    end(run, age=LONG_AGO)

    assert prune.prune_states(MONTH) == 1

    run.refresh_from_db()
    assert run.head == ""
    assert run.state_inactive_at is not None
    assert not run.events.filter(kind="item").exists()
    assert run.events.filter(kind="request").count() == 2
    assert ApprovalRequest.objects.get().pk == request.pk
    assert Decision.objects.get().verdict == "approve"


def test_prune_takes_all_that_was_said_from_log_and_executions() -> None:
    run = start()
    said = [kind for kind in EventKind if kind not in prune.KEPT]
    for kind in EventKind:
        record_event(run.pk, kind, {"said": "hunter2"})
    run.executions.create(
        call_key="c1",
        tool="t",
        digest="d",
        epoch=1,
        outcome='{"output": "hunter2"}',
        started_at=run.created_at,
    )
    end(run, age=LONG_AGO)

    prune.prune_states(MONTH)

    assert not run.events.filter(kind__in=said).exists()
    assert {event.kind for event in run.events.all()} == set(prune.KEPT)
    assert run.executions.get().outcome == ""


def make_saved(key: str, *, age: timedelta, active: bool = True) -> None:
    saved_states.save(key, "Agent", lambda place: "{}")
    if not active:
        saved_states.clear(key)
    SavedState.objects.filter(key=key).update(updated_at=timezone.now() - age)


def test_prune_takes_saved_states_by_their_own_age() -> None:
    make_saved("old", age=LONG_AGO)
    make_saved("cleared", age=LONG_AGO, active=False)
    make_saved("young", age=timedelta(days=29))

    assert prune_command("--older-than=30d", "--dry-run") == (
        "2 states would be deleted."
    )
    assert prune_command("--older-than=30d") == "2 states deleted."
    assert SavedState.objects.get().key == "young"


@pytest.mark.parametrize("age", [timedelta(0), timedelta(days=29)])
def test_prune_spares_what_is_newer(age: timedelta) -> None:
    run = make_ended_run(age=age)

    assert prune.prune_states(MONTH) == 0
    assert run.events.filter(kind="item").exists()


@pytest.mark.parametrize("status", list(RunStatus))
def test_prune_takes_ended_runs_only(status: RunStatus) -> None:
    end(start(), age=LONG_AGO, status=status)

    ended = status in (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED)
    assert prune.prune_states(MONTH) == int(ended)


@pytest.mark.parametrize(("age", "pruned"), [(timedelta(0), 0), (LONG_AGO, 2)])
def test_prune_takes_a_conversation_whole_or_not_at_all(
    age: timedelta, pruned: int
) -> None:
    first = make_ended_run(age=LONG_AGO)
    second = services.start_run(
        "shop", "Go on", trigger="page", conversation=first.conversation
    )
    end(second, age=age)

    assert prune.prune_states(MONTH) == pruned


def test_prune_spares_a_conversation_with_an_open_run() -> None:
    first = make_ended_run(age=LONG_AGO)
    second = services.start_run(
        "shop", "Go on", trigger="page", conversation=first.conversation
    )
    end(second, age=LONG_AGO, status=RunStatus.WAITING)

    assert prune.prune_states(MONTH) == 0


def test_prune_again_finds_nothing() -> None:
    make_ended_run(age=LONG_AGO)
    prune.prune_states(MONTH)

    assert prune.prunable(MONTH).count() == 0
    assert prune.prune_states(MONTH) == 0


def test_prune_goes_on_where_it_was_interrupted() -> None:
    run = make_ended_run(age=LONG_AGO)
    Run.objects.update(state_inactive_at=run.finished_at)

    assert prune.prunable(MONTH).count() == 1
    assert prune.prune_states(MONTH) == 1
    assert not RunEvent.objects.filter(kind="item").exists()


def test_prune_works_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune, "BATCH", 2)
    for _ in range(5):
        make_ended_run(age=LONG_AGO)

    assert prune.prune_states(MONTH) == 5
    assert not RunEvent.objects.filter(kind="item").exists()


def test_a_pruned_run_is_not_resumed() -> None:
    run = end(start(), age=LONG_AGO, status=RunStatus.FAILED)
    prune.prune_states(MONTH)

    with pytest.raises(services.NotResumable):
        services.resume_run(run.pk, by=None)


def test_a_pruned_conversation_goes_on() -> None:
    run = make_ended_run(age=LONG_AGO)
    prune.prune_states(MONTH)

    following = services.send_message(run.conversation_id, "Hello again", by=None)

    assert following.previous == run


def test_command_prunes_and_says_how_many() -> None:
    make_ended_run(age=LONG_AGO)

    assert prune_command("--older-than", "30d") == "1 states deleted."
    assert not RunEvent.objects.filter(kind="item").exists()


def test_command_dry_run_changes_nothing() -> None:
    make_ended_run(age=LONG_AGO)

    assert prune_command("--older-than=4w", "--dry-run") == "1 states would be deleted."
    assert RunEvent.objects.filter(kind="item").exists()


@pytest.mark.parametrize(("given", "count"), [("12h", 1), ("1d", 1), ("5w", 0)])
def test_command_reads_units(given: str, count: int) -> None:
    make_ended_run(age=LONG_AGO)

    said = prune_command(f"--older-than={given}", "--dry-run")

    assert said == f"{count} states would be deleted."


@pytest.mark.parametrize("given", ["30", "d", "0d", "-3d", "1.5d", "30 days", "1y", ""])
def test_command_refuses_what_is_no_age(given: str) -> None:
    make_ended_run(age=LONG_AGO)

    with pytest.raises(CommandError, match="30d"):
        prune_command(f"--older-than={given}")

    assert RunEvent.objects.filter(kind="item").exists()


def test_command_needs_an_age() -> None:
    with pytest.raises(CommandError, match="--older-than"):
        prune_command()
