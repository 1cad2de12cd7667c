"""Runs that wait, kept in memory: as good as read, or not used."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User

from runs import kept, registry, services
from runs.engine import ClaimRefused, ToolContext, function_tool
from runs.engine.testing import ScriptedModel, assistant_message, function_call
from runs.executor import Executor
from runs.kept import KeptRuns
from runs.loading import LoadedRun
from runs.models import Run, RunStatus
from runs.registry import RegisteredAgent
from runs.services import lease as leases
from runs.services import log
from runs.transactions import write
from tests.factories import ada, bob, pending, say, start, until, until_status
from tests.shop import agents as shop

pytestmark = pytest.mark.django_db(transaction=True)

Play = Callable[..., None]
END = [assistant_message("end")]


def refund(call_id: str) -> Any:
    arguments = {"order_id": call_id, "amount_eur": 5}
    return function_call("refund", arguments, call_id=call_id)


async def waiting(*steps: Any, **options: Any) -> tuple[Run, ScriptedModel]:
    shop.use(model := ScriptedModel(steps=steps))
    run = await sync_to_async(start)(**options)
    return await until_status(run, RunStatus.WAITING), model


@pytest.fixture
def reviewer(transactional_db: None) -> Any:
    return ada()


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    """Return a function that gives the shop's agent these tools."""

    def stand_in(*tools: Any) -> None:
        registry.all_agents()
        agent = shop.agent("Shop", list(tools))
        entry = RegisteredAgent(key="shop", agent=agent, title="Shop", description="")
        monkeypatch.setitem(registry._agents, "shop", entry)

    return stand_in


def approve(run: Run, by: Any) -> None:
    [request] = pending(run)
    say("approve", request, by)


async def is_kept(executor: Executor, run: Run) -> None:
    await until(lambda: executor._kept.get(run.pk), "The run that is kept")


def unread(*_: Any) -> None:
    raise AssertionError("it was read again")


async def test_a_run_that_waits_here_goes_on_without_being_read(
    executor: Executor,
    effects: shop.Effects,
    reviewer: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, model = await waiting([refund("r1")], [refund("r2")], END)
    for name in ("load", "load_queued"):
        monkeypatch.setattr(f"runs.driving.{name}", unread)

    for call in ("r1", "r2"):
        await is_kept(executor, run)
        await sync_to_async(approve)(run, reviewer)
        await until(partial(effects.count, f"refund {call} 5"), call)
        await until(lambda: run.requests.count() == 2, "The second request")

    await until_status(run, RunStatus.COMPLETED)
    assert effects == ["refund r1 5", "refund r2 5"]
    assert model.last_call is not None
    outputs = [item for item in model.last_call.input if "output" in item]
    assert [item["call_id"] for item in outputs] == ["r1", "r2"]
    assert not executor._kept._runs


async def test_what_another_worker_has_done_since_is_read(
    executor: Executor, effects: shop.Effects, reviewer: Any
) -> None:
    run, model = await waiting([refund("r1")], [refund("r2")], END)
    await is_kept(executor, run)
    executor.concurrency, other = 0, Executor(concurrency=5)
    await other.start()
    await sync_to_async(approve)(run, reviewer)
    await until(lambda: run.requests.count() == 2, "The second request")
    await until_status(run, RunStatus.WAITING)
    await other.stop()
    assert executor._kept.get(run.pk)  # from before

    executor.concurrency = 5
    await sync_to_async(approve)(run, reviewer)

    await until_status(run, RunStatus.COMPLETED)
    assert effects == ["refund r1 5", "refund r2 5"]
    assert model.last_call is not None
    outputs = [item for item in model.last_call.input if "output" in item]
    assert [item["call_id"] for item in outputs] == ["r1", "r2"]


async def test_a_message_to_a_run_that_is_kept_is_read(
    executor: Executor, effects: shop.Effects, reviewer: Any
) -> None:
    run, model = await waiting([refund("r1")], END)
    await is_kept(executor, run)
    await sync_to_async(services.send_message)(
        run.conversation_id, "And hurry.", by=None
    )

    await sync_to_async(approve)(run, reviewer)

    await until_status(run, RunStatus.COMPLETED)
    assert model.last_call is not None
    assert model.last_call.input[-1] == {"role": "user", "content": "And hurry."}


@function_tool(needs_approval=True)
async def sign(ctx: ToolContext[Any]) -> str:
    """Sign with the name of who asked for the run."""
    shop.effects.append(ctx.context["requester"])
    return "signed"


async def test_a_requester_who_is_renamed_is_told_of_by_the_new_name(
    executor: Executor, effects: shop.Effects, reviewer: Any, play: Play
) -> None:
    play(sign)
    requester = await sync_to_async(bob)()
    run, _ = await waiting(
        [function_call("sign", {}, call_id="s1")], END, requester=requester
    )
    await is_kept(executor, run)
    await User.objects.filter(pk=requester.pk).aupdate(username="robert")

    await sync_to_async(approve)(run, reviewer)

    await until_status(run, RunStatus.COMPLETED)
    assert effects == ["robert"]


async def test_a_run_that_was_driven_with_other_code_is_read_and_asked_about(
    executor: Executor, effects: shop.Effects, reviewer: Any
) -> None:
    run, _ = await waiting([refund("r1")], END)
    await is_kept(executor, run)
    older = run.definition.replace("refund", "reimburse")
    await Run.objects.filter(pk=run.pk).aupdate(definition=older)

    await sync_to_async(approve)(run, reviewer)

    await until(lambda: run.requests.filter(kind="upgrade").exists(), "The question")
    assert effects == []


async def test_a_look_that_finds_nothing_new_leaves_the_run_as_it_was(
    executor: Executor, effects: shop.Effects, reviewer: Any
) -> None:
    run, _ = await waiting([refund("r1")], END)
    epoch = run.lease_epoch
    await is_kept(executor, run)
    await sync_to_async(write(log.wake))(run.pk)
    await until(
        lambda: Run.objects.filter(
            pk=run.pk, lease_epoch__gt=epoch, status=RunStatus.WAITING
        ).exists(),
        "The look",
    )

    await sync_to_async(approve)(run, reviewer)

    await until_status(run, RunStatus.COMPLETED)
    assert effects == ["refund r1 5"]


async def test_what_is_not_as_it_was_stored_is_not_kept(
    executor: Executor,
    effects: shop.Effects,
    reviewer: Any,
    monkeypatch: pytest.MonkeyPatch,
    kept_as_stored: list[UUID],
) -> None:
    monkeypatch.setattr("runs.journal.DurableJournal.has_stored", lambda *_: False)
    run, _ = await waiting([refund("r1")], END)

    await sync_to_async(approve)(run, reviewer)

    await until_status(run, RunStatus.COMPLETED)
    assert kept_as_stored == []
    assert effects == ["refund r1 5"]


@function_tool
async def scribble(ctx: ToolContext[Any]) -> dict[str, str]:
    """Write into what the run's tools are told of it."""
    told = ", ".join(sorted(ctx.context))
    ctx.context["said"] = "by a tool"
    return {"told": told}


async def test_what_tools_wrote_into_their_context_is_not_kept(
    executor: Executor, effects: shop.Effects, reviewer: Any, play: Play
) -> None:
    play(scribble, shop.refund)
    scribbles = [function_call("scribble", {}, call_id=f"s{turn}") for turn in (1, 2)]
    run, model = await waiting([scribbles[0], refund("r1")], [scribbles[1]], END)
    await is_kept(executor, run)

    await sync_to_async(approve)(run, reviewer)

    await until_status(run, RunStatus.COMPLETED)
    assert model.last_call is not None
    assert "conversation, requester, run" in model.last_call.input[-1]["output"]


async def test_what_still_holds_the_state_that_was_driven_does_not_reach_the_kept_one(
    executor: Executor,
    effects: shop.Effects,
    reviewer: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep, driven = KeptRuns.keep, []

    def keep_and_see(runs: KeptRuns, run: LoadedRun, state: Any, epoch: int) -> None:
        keep(runs, run, state, epoch)
        driven.append(state)

    monkeypatch.setattr(KeptRuns, "keep", keep_and_see)
    run, _ = await waiting([refund("r1")], END)
    await is_kept(executor, run)
    for state in driven:
        state.reject(state.get_interruptions()[0], always_reject=True)
        state.context.context["said"] = "by what was left behind"

    await sync_to_async(approve)(run, reviewer)

    await until_status(run, RunStatus.COMPLETED)
    assert effects == ["refund r1 5"]


async def test_a_run_that_cannot_go_on_as_it_is_kept_is_taken_without(
    executor: Executor,
    effects: shop.Effects,
    reviewer: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, _ = await waiting([refund("r1")], END)
    await is_kept(executor, run)

    def fails(*_: Any) -> None:
        raise ClaimRefused("No approval fits")

    monkeypatch.setattr("runs.services.steps.begin", fails)
    await sync_to_async(approve)(run, reviewer)

    await until_status(run, RunStatus.COMPLETED)
    assert effects == ["refund r1 5"]


async def test_a_run_of_a_worker_that_died_is_taken_over_where_an_older_one_is_kept(
    executor: Executor, effects: shop.Effects, reviewer: Any
) -> None:
    run, _ = await waiting([refund("r1")], END)
    await is_kept(executor, run)
    await asyncio.to_thread(executor._sweeper.stop)  # it would free the run first
    executor.concurrency = 0
    await sync_to_async(approve)(run, reviewer)
    assert await sync_to_async(leases.take)(run.pk, "another")
    await sync_to_async(leases.expire)("another")

    executor.concurrency = 5

    await until_status(run, RunStatus.COMPLETED)
    assert effects == ["refund r1 5"]


async def test_the_oldest_makes_room(
    executor: Executor, effects: shop.Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "MOST", 2)
    waits = [(await waiting([refund("r1")], END))[0] for _ in range(3)]
    await is_kept(executor, waits[-1])

    assert list(executor._kept._runs) == [run.pk for run in waits[1:]]


async def test_none_is_kept_for_long(
    executor: Executor, effects: shop.Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = await waiting([refund("r1")], END)
    await is_kept(executor, run)

    monkeypatch.setattr(kept, "FOR_S", 0.0)

    await until(lambda: not executor._kept._runs, "The end of its time")
