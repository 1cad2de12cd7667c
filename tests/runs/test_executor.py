"""Runs as the executor drives them: through crashes, stops, errors and messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError
from django.utils import timezone

from approvals.models import ApprovalRequest, RequestStatus
from runs import codec, services
from runs.dispatch import embedded
from runs.engine.testing import (
    ModelStep,
    ScriptedModel,
    assistant_message,
    function_call,
)
from runs.executor import Executor
from runs.models import Conversation, Run, RunStatus, ToolExecution
from runs.services import lease as leases
from tests.factories import (
    ada,
    bob,
    pending,
    say,
    start,
    until,
    until_status,
)
from tests.shop import agents as shop

pytestmark = pytest.mark.django_db(transaction=True)

END = [assistant_message("end")]


def script(*steps: Any) -> ScriptedModel:
    model = ScriptedModel(steps=steps)
    shop.use(model)
    return model


def ship(order: str = "1", call_id: str = "s1") -> Any:
    return function_call("ship", {"order_id": order}, call_id=call_id)


def refund(order: str = "1", call_id: str = "r1") -> Any:
    arguments = {"order_id": order, "amount_eur": 5}
    return function_call("refund", arguments, call_id=call_id)


async def begin(text: str = "go", **options: Any) -> Run:
    return await sync_to_async(start)(text, **options)


async def open_requests(run: Run) -> list[ApprovalRequest]:
    return await sync_to_async(pending)(run)


async def decide_all(run: Run, verdict: str = "approve", **said: Any) -> None:
    reviewer = await sync_to_async(ada)()
    for request in await open_requests(run):
        await sync_to_async(say)(verdict, request, reviewer, **said)


SHORT = timedelta(seconds=0.3)


@pytest.fixture
async def executor_of_short_leases(
    transactional_db: None, settings: Any
) -> AsyncIterator[Executor]:
    settings.PLACET_LEASE = SHORT
    running = Executor(concurrency=5)
    await running.start()
    yield running
    await running.stop(grace_s=5)


async def crash(executor: Executor) -> None:
    """End it as kill -9 does: nothing is released, nothing recorded."""
    embedded.forget(executor._woken)
    tasks = [*executor._helpers, executor._listening, *executor._tasks.values()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await executor._db.close()
    executor._presence._mark.close()


async def test_ungated_siblings_run_while_the_gated_call_waits(
    executor: Executor, effects: shop.Effects
) -> None:
    script([ship(), refund()], END)
    run = await begin()
    await until_status(run, RunStatus.WAITING)

    assert effects == ["ship 1"]
    await decide_all(run)
    await until_status(run, RunStatus.COMPLETED)
    assert effects == ["ship 1", "refund 1 5"]


async def test_a_request_can_be_decided_while_its_siblings_still_run(
    executor: Executor, effects: shop.Effects
) -> None:
    release = effects.hold("ship")
    script([ship(), refund()], END)
    run = await begin()
    await until(lambda: effects == ["ship 1"] and pending(run), "the request")

    await decide_all(run)
    await until(lambda: "refund 1 5" in effects, "the refund")
    release.set()

    await until_status(run, RunStatus.COMPLETED)


async def test_a_waiting_run_holds_no_task_and_no_lease(
    executor: Executor, effects: shop.Effects
) -> None:
    script([refund()], END)
    run = await until_status(await begin(), RunStatus.WAITING)

    await until(lambda: not executor.held_runs and not executor._tasks, "the rest")
    assert (run.lease_owner, run.lease_expires_at) == ("", None)


@pytest.fixture
async def unswept(transactional_db: None, settings: Any) -> AsyncIterator[Executor]:
    """A runner that looks for work only when it is woken."""
    settings.PLACET_SWEEP_EVERY = timedelta(hours=1)
    running = Executor(concurrency=20)
    await running.start()
    yield running
    await running.stop(grace_s=5)


async def test_a_decision_resumes_the_run_without_the_sweeper(
    unswept: Executor, effects: shop.Effects
) -> None:
    script([refund()], END)
    run = await until_status(await begin(), RunStatus.WAITING)
    await until(lambda: not unswept._tasks, "the rest")

    await decide_all(run)

    await until_status(run, RunStatus.COMPLETED)


async def test_a_decision_while_the_run_is_held_is_not_lost_without_the_sweeper(
    unswept: Executor, effects: shop.Effects
) -> None:
    release = effects.hold("ship")
    script([ship(), refund()], END)
    run = await begin()
    await until(lambda: effects == ["ship 1"] and pending(run), "the request")

    await decide_all(run)
    await until(lambda: "refund 1 5" in effects, "the refund")
    release.set()

    await until_status(run, RunStatus.COMPLETED)


async def test_a_decision_between_the_last_look_and_the_parking_is_not_lost(
    unswept: Executor, effects: shop.Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    park = leases.park

    def decided_before(lease: leases.Lease) -> bool:
        for request in ApprovalRequest.objects.filter(status=RequestStatus.PENDING):
            say("approve", request, reviewer)
        return park(lease)

    reviewer = await sync_to_async(ada)()
    monkeypatch.setattr(leases, "park", decided_before)
    script([refund()], END)

    await until_status(await begin(), RunStatus.COMPLETED)

    assert effects == ["refund 1 5"]


@pytest.mark.parametrize("verdict", ["approve", "reject"])
async def test_a_held_verdict_counts_once_it_is_released_without_the_sweepers_passes(
    unswept: Executor, effects: shop.Effects, verdict: str
) -> None:
    script([refund()], END)
    run = await until_status(await begin(), RunStatus.WAITING)
    await run.requests.aupdate(hold=timedelta(seconds=0.4))
    before = timezone.now()

    await decide_all(run, verdict)
    await until(lambda: not unswept.held_runs, "the rest")
    held = await Run.objects.aget(pk=run.pk)
    assert (held.status, held.lease_owner) == (RunStatus.WAITING, "")
    await until_status(run, RunStatus.COMPLETED)

    output = await run.events.filter(kind="item", call_key="r1").order_by("seq").alast()
    assert output is not None
    assert output.created_at - before >= timedelta(seconds=0.4)
    assert effects == (["refund 1 5"] if verdict == "approve" else [])


async def test_held_calls_start_beside_a_sibling_that_works_each_at_its_time(
    unswept: Executor, effects: shop.Effects
) -> None:
    shipped = effects.hold("ship")
    script([ship(), refund("1", "r1"), refund("2", "r2")], END)
    run = await begin()
    await until(lambda: "ship 1" in effects, "the sibling")
    for key, hold_s in (("r1", 0.4), ("r2", 0.2)):
        hold = timedelta(seconds=hold_s)
        await run.requests.filter(call_key=key).aupdate(hold=hold)

    await decide_all(run)

    await until(lambda: len(effects) == 3, "the held calls")
    assert effects == ["ship 1", "refund 2 5", "refund 1 5"]
    shipped.set()
    await until_status(run, RunStatus.COMPLETED)


async def test_a_run_beyond_the_concurrency_starts_when_another_ends(
    unswept: Executor, effects: shop.Effects
) -> None:
    unswept.concurrency = 1
    release = effects.hold("ship")
    script([ship()], END, [ship("2", "s2")], END)
    first = await begin()
    await until(lambda: effects == ["ship 1"], "the effect")
    second = await begin()

    release.set()

    first = await until_status(first, RunStatus.COMPLETED)
    await until_status(second, RunStatus.COMPLETED)
    assert first.finished_at is not None
    running = [e async for e in second.events.all() if "running" in e.payload]
    assert running[0].created_at >= first.finished_at


def fails_once(function: Any) -> Any:
    """Return `function` as it is while the database is away for a moment."""
    failures = iter([OperationalError("the database is away")])

    def attempt(*args: Any, **kwargs: Any) -> Any:
        for error in failures:
            raise error
        return function(*args, **kwargs)

    return attempt


async def test_the_sweeper_outlives_a_database_that_is_away(
    executor: Executor, effects: shop.Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "runnable_ids", fails_once(leases.runnable_ids))
    script(END)

    await until_status(await begin(), RunStatus.COMPLETED)


async def test_a_log_that_cannot_be_read_fails_its_run(
    executor: Executor, effects: shop.Effects
) -> None:
    script([refund()], END)
    run = await until_status(await begin(), RunStatus.WAITING)
    await executor.stop()
    await run.events.filter(kind="item").aupdate(payload="{")
    other = Executor(concurrency=5)
    await other.start()

    await decide_all(run)
    run = await until_status(run, RunStatus.FAILED)
    await other.stop()

    assert "Placet failed" in run.error


async def test_a_lease_is_renewed_while_a_tool_takes_its_time(
    executor_of_short_leases: Executor,
    effects: shop.Effects,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leases, "renew", fails_once(leases.renew))
    monkeypatch.setattr("runs.heartbeat.LOOP_SILENCE", SHORT)
    monkeypatch.setattr("runs.executor.TICK_S", SHORT.total_seconds() / 10)
    release = effects.hold("ship")
    script([ship()], END)
    run = await begin()
    await until(lambda: effects == ["ship 1"], "the effect")
    first = (await Run.objects.aget(pk=run.pk)).lease_expires_at
    assert first is not None

    await until(
        lambda: Run.objects.filter(
            pk=run.pk, lease_expires_at__gt=first + 2 * SHORT
        ).exists(),
        "a renewed lease",
    )
    release.set()

    run = await until_status(run, RunStatus.COMPLETED)
    assert run.lease_epoch == 1


async def test_a_loop_that_does_not_tick_loses_its_leases(
    executor_of_short_leases: Executor,
    effects: shop.Effects,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = effects.hold("ship")
    script([ship()], END)
    run = await begin()
    await until(lambda: effects == ["ship 1"], "the effect")

    monkeypatch.setattr("runs.heartbeat.LOOP_SILENCE", timedelta(0))
    for helper in executor_of_short_leases._helpers:
        helper.cancel()

    await until(lambda: leases.runnable_ids(5) == [run.pk], "the end of the lease")
    release.set()


async def test_a_run_stopped_while_its_worker_is_dead_asks_no_model(
    executor: Executor, effects: shop.Effects
) -> None:
    effects.hold("look_up")
    model = script([function_call("look_up", {"order_id": "1"}, call_id="l1")], END)
    run = await begin()
    await until(lambda: effects == ["look_up 1"], "the look-up")
    await crash(executor)
    effects.release.clear()

    await sync_to_async(services.stop_run)(run.pk, by=None)
    other = Executor(concurrency=5)
    await other.start()
    await until_status(run, RunStatus.CANCELLED)
    await other.stop()

    assert effects == ["look_up 1"]
    assert len(model.calls) == 1


async def test_a_crash_in_a_tool_leaves_the_call_to_a_person(
    executor: Executor, effects: shop.Effects
) -> None:
    effects.hold("ship")
    model = script([ship()], END)
    run = await begin()
    await until(lambda: effects == ["ship 1"], "the effect")

    await crash(executor)
    effects.release.clear()
    other = Executor(concurrency=5)
    await other.start()
    await until_status(run, RunStatus.WAITING)
    [asked] = await open_requests(run)
    assert asked.kind == ApprovalRequest.Kind.RECONCILE
    await decide_all(run, "answer", output="It left at noon.")
    await until_status(run, RunStatus.COMPLETED)
    await other.stop()

    assert effects == ["ship 1"]
    assert model.last_call is not None
    assert "It left at noon." in model.last_call.input[-1]["output"]
    execution = await ToolExecution.objects.aget(run=run)
    assert execution.status == ToolExecution.Status.SUCCEEDED


@pytest.mark.parametrize(
    ("verdict", "effects_after", "told"),
    [
        ("approve", ["ship 1", "ship 1"], "Order 1 is on its way."),
        ("reject", ["ship 1"], "may or may not have happened"),
    ],
)
async def test_a_call_in_doubt_is_run_again_or_skipped_as_a_person_says(
    executor: Executor,
    effects: shop.Effects,
    verdict: str,
    effects_after: list[str],
    told: str,
) -> None:
    effects.hold("ship")
    model = script([ship()], END)
    run = await begin()
    await until(lambda: effects == ["ship 1"], "the effect")

    await crash(executor)
    effects.release.clear()
    other = Executor(concurrency=5)
    await other.start()
    await until_status(run, RunStatus.WAITING)
    await decide_all(run, verdict)
    await until_status(run, RunStatus.COMPLETED)
    await other.stop()

    assert effects == effects_after
    assert model.last_call is not None
    assert told in model.last_call.input[-1]["output"]


async def test_a_crash_in_an_idempotent_tool_runs_it_again(
    executor: Executor, effects: shop.Effects
) -> None:
    effects.hold("look_up")
    script([function_call("look_up", {"order_id": "1"}, call_id="l1")], END)
    run = await begin()
    await until(lambda: effects == ["look_up 1"], "the look-up")

    await crash(executor)
    effects.release.clear()
    other = Executor(concurrency=5)
    await other.start()
    await until_status(run, RunStatus.COMPLETED)
    await other.stop()

    assert effects == ["look_up 1", "look_up 1"]


async def test_a_stored_answer_is_never_asked_for_again(
    executor: Executor, effects: shop.Effects
) -> None:
    effects.hold("look_up")
    model = script([function_call("look_up", {"order_id": "1"}, call_id="l1")], END)
    run = await begin()
    await until(lambda: effects == ["look_up 1"], "the look-up")

    await crash(executor)
    effects.release.clear()
    other = Executor(concurrency=5)
    await other.start()
    await until_status(run, RunStatus.COMPLETED)
    await other.stop()

    assert len(model.calls) == 2


async def test_a_graceful_stop_gives_the_runs_back(
    executor: Executor, effects: shop.Effects
) -> None:
    release = effects.hold("ship")
    script([ship()], END)
    run = await begin()
    await until(lambda: effects == ["ship 1"], "the effect")

    leaving = asyncio.create_task(executor.stop(grace_s=10))
    release.set()
    await leaving

    run = await until_status(run, RunStatus.QUEUED)
    execution = await ToolExecution.objects.aget(run=run)
    assert execution.status == ToolExecution.Status.SUCCEEDED
    other = Executor(concurrency=5)
    await other.start()
    await until_status(run, RunStatus.COMPLETED)
    await other.stop()
    assert effects == ["ship 1"]


async def test_what_still_works_when_the_process_leaves_is_given_back_in_doubt(
    executor: Executor, effects: shop.Effects
) -> None:
    effects.hold("ship")
    script([ship()], END)
    run = await begin()
    await until(lambda: effects == ["ship 1"], "the effect")

    await executor.stop(grace_s=0)

    run = await Run.objects.aget(pk=run.pk)
    assert (run.status, run.lease_owner) == (RunStatus.QUEUED, "")
    effects.release.clear()
    other = Executor(concurrency=5)
    await other.start()
    await until_status(run, RunStatus.WAITING)
    [asked] = await open_requests(run)
    await other.stop()
    assert asked.kind == ApprovalRequest.Kind.RECONCILE
    assert effects == ["ship 1"]


async def test_stopping_a_working_run_ends_it_once_its_tools_have_ended(
    executor: Executor, effects: shop.Effects
) -> None:
    release = effects.hold("ship")
    model = script([ship(), refund()], END)
    run = await begin()
    await until(lambda: effects == ["ship 1"] and pending(run), "the effect")

    await sync_to_async(services.stop_run)(run.pk, by=None)
    await until(lambda: executor._held[run.pk].stopping, "the stop")
    await sync_to_async(lambda: None)()
    release.set()
    run = await until_status(run, RunStatus.CANCELLED)

    assert len(model.calls) == 1
    execution = await ToolExecution.objects.aget(run=run)
    assert execution.status == ToolExecution.Status.SUCCEEDED
    request = await run.requests.aget()
    assert request.status == RequestStatus.CANCELLED


async def test_a_tool_that_outlasts_its_grace_is_cut_off_in_doubt(
    executor: Executor, effects: shop.Effects, settings: Any
) -> None:
    settings.PLACET_STOP_GRACE = timedelta(0)
    effects.hold("ship")
    script([ship()], END)
    run = await begin()
    await until(lambda: effects == ["ship 1"], "the effect")

    await sync_to_async(services.stop_run)(run.pk, by=None)
    await until_status(run, RunStatus.CANCELLED)

    execution = await ToolExecution.objects.aget(run=run)
    assert execution.status == ToolExecution.Status.UNKNOWN


async def test_a_run_that_used_its_turns_is_resumed_with_more(
    executor: Executor, effects: shop.Effects
) -> None:
    script(*[[ship(str(n), f"s{n}")] for n in range(10)], END)
    run = await until_status(await begin(), RunStatus.FAILED)
    assert "10 turns" in run.error

    await sync_to_async(services.resume_run)(run.pk, by=None)
    run = await until_status(run, RunStatus.COMPLETED)

    assert (run.turn, run.max_turns, len(effects)) == (11, 20, 10)


async def test_a_stop_cuts_the_models_stream(
    executor: Executor, effects: shop.Effects
) -> None:
    asked = asyncio.Event()

    async def hang(call: Any) -> Any:
        asked.set()
        await asyncio.get_running_loop().create_future()

    script(ModelStep.respond(hang))
    run = await begin()
    await asked.wait()

    await sync_to_async(services.stop_run)(run.pk, by=None)

    await until_status(run, RunStatus.CANCELLED)


async def test_a_model_that_fails_fails_the_run_which_can_be_resumed(
    executor: Executor, effects: shop.Effects
) -> None:
    script([refund()], ModelStep.raise_error(ValueError("no such model")), END)
    run = await until_status(await begin(), RunStatus.WAITING)
    await decide_all(run)
    run = await until_status(run, RunStatus.FAILED)
    assert "no such model" in run.error

    await sync_to_async(services.resume_run)(run.pk, by=None)
    run = await until_status(run, RunStatus.COMPLETED)

    assert effects == ["refund 1 5"]
    assert run.error == ""


async def test_a_failed_run_asks_again_about_what_was_still_pending(
    executor: Executor, effects: shop.Effects
) -> None:
    script([refund()], END)
    run = await until_status(await begin(), RunStatus.WAITING)
    [first] = await open_requests(run)
    await Run.objects.filter(pk=run.pk).aupdate(head="{", status=RunStatus.QUEUED)
    failed = await until_status(run, RunStatus.FAILED)
    assert "not JSON" in failed.error
    await Run.objects.filter(pk=run.pk).aupdate(head=run.head)

    await sync_to_async(services.resume_run)(run.pk, by=None)
    await until_status(run, RunStatus.WAITING)
    [second] = await open_requests(run)

    assert (second.revision, second.digest) == (2, first.digest)
    await decide_all(run)
    await until_status(run, RunStatus.COMPLETED)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"$schemaVersion": "9.0"}, "schema is '9.0'"),
        ({"turn": "many"}, "broken at turn"),
        ({"agent": "Someone else"}, "belongs to agent"),
    ],
)
async def test_a_state_that_cannot_be_read_fails_its_run_and_no_other(
    executor: Executor, effects: shop.Effects, change: Any, error: str
) -> None:
    script([refund()], [refund("2", "r2")], END)
    run = await until_status(await begin(), RunStatus.WAITING)
    healthy = await until_status(await begin(), RunStatus.WAITING)
    head = {**codec.loads(run.head), **change}
    await Run.objects.filter(pk=run.pk).aupdate(
        head=codec.dumps(head), status=RunStatus.QUEUED
    )

    run = await until_status(run, RunStatus.FAILED)

    assert error in run.error
    assert "Placet failed" not in run.error
    healthy = await Run.objects.aget(pk=healthy.pk)
    assert healthy.status == RunStatus.WAITING


async def test_a_forged_approval_in_a_head_runs_nothing(
    executor: Executor, effects: shop.Effects
) -> None:
    script([refund()], END)
    run = await until_status(await begin(), RunStatus.WAITING)
    for forged in ({"verdict": {"kind": "approve"}}, {"gated": False}):
        head = codec.loads((await Run.objects.aget(pk=run.pk)).head)
        head["open"][0].update(forged)
        await Run.objects.filter(pk=run.pk).aupdate(
            head=codec.dumps(head), status=RunStatus.QUEUED
        )
        await until_status(run, RunStatus.FAILED, RunStatus.WAITING)

    assert effects == []


async def test_a_message_to_a_waiting_run_is_read_after_the_decision(
    executor: Executor, effects: shop.Effects
) -> None:
    model = script([refund()], END)
    operator = await sync_to_async(bob)()
    run = await until_status(await begin(), RunStatus.WAITING)

    same = await sync_to_async(services.send_message)(
        run.conversation_id, "And hurry.", by=operator
    )
    await decide_all(run)
    run = await until_status(run, RunStatus.COMPLETED)

    assert same.pk == run.pk
    assert model.last_call is not None
    assert model.last_call.input[-1] == {"role": "user", "content": "And hurry."}
    assert run.pending_messages == []
    assert await Run.objects.acount() == 1


async def test_the_next_message_starts_a_run_that_knows_the_last_one(
    executor: Executor, effects: shop.Effects
) -> None:
    model = script([assistant_message("Hello.")], [assistant_message("Again.")])
    first = await until_status(await begin("Hi"), RunStatus.COMPLETED)

    second = await sync_to_async(services.send_message)(
        first.conversation_id, "Once more", by=None
    )
    await until_status(second, RunStatus.COMPLETED)

    assert second.pk != first.pk
    assert second.previous_id == first.pk
    assert model.last_call is not None
    texts = [str(item["content"]) for item in model.last_call.input]
    assert texts[0] == "Hi"
    assert "Hello." in texts[1]
    assert texts[2] == "Once more"
    assert await second.events.filter(kind="item").acount() == 2


async def test_a_stopped_runs_open_calls_do_not_confuse_the_next_run(
    executor: Executor, effects: shop.Effects
) -> None:
    model = script([refund()], [assistant_message("Fine.")])
    run = await until_status(await begin(), RunStatus.WAITING)
    await sync_to_async(services.stop_run)(run.pk, by=None)

    second = await sync_to_async(services.send_message)(
        run.conversation_id, "Never mind", by=None
    )
    await until_status(second, RunStatus.COMPLETED)

    assert model.last_call is not None
    kinds = [item.get("type", "message") for item in model.last_call.input]
    assert kinds == ["message", "function_call", "function_call_output", "message"]


async def test_a_message_that_came_too_late_to_be_read_starts_the_next_run(
    executor: Executor, effects: shop.Effects
) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow(call: Any) -> Any:
        asked.set()
        await answer.wait()
        return [assistant_message("First.")]

    script(ModelStep.respond(slow), [assistant_message("Second.")])
    run = await begin("one")
    await asked.wait()
    await sync_to_async(services.send_message)(run.conversation_id, "two", by=None)
    answer.set()
    await until_status(run, RunStatus.COMPLETED)

    conversation = await Conversation.objects.aget(pk=run.conversation_id)
    assert conversation.current_run_id not in (None, run.pk)
    second = await until_status(conversation.current_run_id or run, RunStatus.COMPLETED)
    assert second.final_output == "Second."


async def test_many_runs_go_on_at_once_on_one_loop(
    executor: Executor, effects: shop.Effects
) -> None:
    script(*[[ship(str(n), f"s{n}")] for n in range(10)], *[END] * 10)
    release = effects.hold("ship")
    runs = [await begin() for _ in range(10)]
    await until(lambda: len(effects) == 10, "all ten effects")

    release.set()

    for run in runs:
        await until_status(run, RunStatus.COMPLETED)


async def test_text_no_database_takes_survives(
    executor: Executor, effects: shop.Effects
) -> None:
    odd = "nul \x00, lone \ud800, bidi \u202e"
    script([assistant_message(odd)], END)

    run = await until_status(await begin(odd), RunStatus.COMPLETED)

    assert "nul" in run.final_output
    events = [event async for event in run.events.filter(kind="item")]
    assert events[1].data["raw"]["content"][0]["text"] == odd


whose: ContextVar[str] = ContextVar("whose", default="the runner's")


class Watching(ScriptedModel):
    """Keeps in whose context it was asked."""

    seen = ""

    async def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        self.seen = whose.get()
        async for event in super().stream_response(*args, **kwargs):
            yield event


async def test_a_run_is_not_driven_in_the_context_of_what_woke_it(
    executor: Executor,
) -> None:
    model = Watching(steps=[[assistant_message("Hello.")]])
    shop.use(model)
    whose.set("a page's")

    run = await sync_to_async(start)()
    await until_status(run, RunStatus.COMPLETED)

    assert model.seen == "the runner's"
