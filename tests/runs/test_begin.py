"""Taking a run with the claims of what was approved, in one commit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from runs import driving, transactions
from runs.engine import ClaimStatus
from runs.engine.testing import ScriptedModel, assistant_message, function_call
from runs.executor import Executor
from runs.loading import load
from runs.models import Run, RunStatus, ToolExecution
from runs.services import lease as leases
from runs.services import steps
from tests.factories import ada, pending, say, start, until, until_status
from tests.shop import agents as shop

pytestmark = pytest.mark.django_db(transaction=True)


def refund() -> Any:
    arguments = {"order_id": "1", "amount_eur": 5}
    return function_call("refund", arguments, call_id="r1")


async def waiting(executor: Executor) -> Run:
    shop.use(ScriptedModel(steps=[[refund()], [assistant_message("end")]]))
    run = await sync_to_async(start)()
    return await until_status(run, RunStatus.WAITING)


def approve(run: Run) -> None:
    [request] = pending(run)
    say("approve", request, ada())


def seen(run: Run) -> steps.Seen:
    return driving.seen(load(run.pk))


@pytest.fixture
async def approved(executor: Executor, effects: shop.Effects) -> Run:
    """A run whose call is approved, and that nobody has taken up yet."""
    run = await waiting(executor)
    await executor.stop()
    await sync_to_async(approve)(run)
    return run


@pytest.fixture
def commits() -> Iterator[list[tuple[str, ...]]]:
    """The writes of each commit, in order."""
    made: list[tuple[str, ...]] = []

    def watch(when: str, writes: tuple[str, ...]) -> None:
        if when == "after":
            made.append(tuple(name.rpartition(".")[2] for name in writes))

    transactions.watcher = watch
    yield made
    transactions.watcher = None


async def test_a_decision_is_two_commits_away_from_its_tool(
    executor: Executor, effects: shop.Effects, commits: list[tuple[str, ...]]
) -> None:
    run = await waiting(executor)
    release = effects.hold("refund")
    commits.clear()

    await sync_to_async(approve)(run)
    while not effects:
        await until_status(run, RunStatus.RUNNING)

    made = [names for names in commits if "renew" not in names]
    assert made[:2] == [("decide",), ("begin",)]
    assert len(made) == 2
    release.set()
    await until_status(run, RunStatus.COMPLETED)


async def test_what_was_approved_is_claimed_as_the_run_is_taken(approved: Run) -> None:
    was_seen = await sync_to_async(seen)(approved)

    begun = await sync_to_async(steps.begin)(approved.pk, "me", was_seen)

    assert begun is not None
    assert {key: claim.status for key, claim in begun.claims.items()} == {
        "r1": ClaimStatus.GRANTED
    }
    assert await ToolExecution.objects.filter(run=approved).acount() == 1


async def test_a_run_that_has_changed_since_it_was_seen_is_read_again(
    approved: Run,
) -> None:
    was_seen = await sync_to_async(seen)(approved)
    lease = await sync_to_async(leases.take)(approved.pk, "another")
    assert lease is not None
    await sync_to_async(leases.release)(lease)

    begun = await sync_to_async(steps.begin)(approved.pk, "me", was_seen)

    assert begun is not None
    assert (begun.verdicts, begun.claims) == (None, {})
    assert not await ToolExecution.objects.filter(run=approved).aexists()


async def test_a_run_stopped_since_it_was_seen_claims_nothing(approved: Run) -> None:
    was_seen = await sync_to_async(seen)(approved)
    # As a stop that came while a worker, dead by now, held the run.
    await Run.objects.filter(pk=approved.pk).aupdate(
        stop_requested_at=approved.created_at
    )

    begun = await sync_to_async(steps.begin)(approved.pk, "me", was_seen)

    assert begun is not None
    assert not begun.claims
    assert not await ToolExecution.objects.filter(run=approved).aexists()


async def test_a_claim_made_for_a_call_that_did_not_start_is_given_back(
    approved: Run, effects: shop.Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runs.driving.Runner.run_streamed", _fails)
    executor = Executor(concurrency=1)
    await executor.start()
    failed = await until_status(approved, RunStatus.FAILED)
    await executor.stop()

    assert "the agent's code is broken" in failed.error
    assert effects == []
    assert not await ToolExecution.objects.filter(run=approved).aexists()


def _fails(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("the agent's code is broken")


async def test_a_run_that_is_not_queued_any_more_asks_for_no_place(
    approved: Run, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asks(*_: Any) -> bool:
        raise AssertionError("a place was asked for")

    settings.PLACET_MAX_RUNNING = 1
    was_seen = await sync_to_async(seen)(approved)
    await Run.objects.filter(pk=approved.pk).aupdate(status=RunStatus.WAITING)
    monkeypatch.setattr("runs.services.limits.take_place", asks)

    assert await sync_to_async(steps.begin)(approved.pk, "me", was_seen) is None


async def test_a_run_woken_while_a_look_at_it_ends_in_vain_is_looked_at_again(
    approved: Run, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.PLACET_SWEEP_EVERY = timedelta(hours=1)
    looking, told, take = asyncio.Event(), asyncio.Event(), driving.take

    async def in_vain(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(driving, "take", take)
        looking.set()
        await told.wait()

    monkeypatch.setattr(driving, "take", in_vain)
    executor = Executor(concurrency=5)
    await executor.start()
    await asyncio.wait_for(looking.wait(), 20)
    executor._wake(approved.pk)
    await until(lambda: not executor._look_again.is_set(), "The look")

    told.set()

    await until_status(approved, RunStatus.COMPLETED)
    await executor.stop()
