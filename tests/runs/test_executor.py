"""Runs as the executor drives them: through crashes, stops, errors and messages."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import override_settings

from approvals.models import ApprovalRequest, RequestStatus
from runs import codec, services
from runs.engine.testing import (
    ModelStep,
    ScriptedModel,
    assistant_message,
    function_call,
)
from runs.executor import Executor
from runs.models import Conversation, Run, RunStatus, ToolExecution
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


async def crash(executor: Executor) -> None:
    """End it as kill -9 does: nothing is released, nothing recorded."""
    tasks = [*executor._helpers, *executor._tasks.values()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
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


@override_settings(PLACET_SWEEP_EVERY=timedelta(hours=1))
async def test_a_decision_resumes_the_run_without_the_sweeper(
    executor: Executor, effects: shop.Effects
) -> None:
    script([refund()], END)
    run = await until_status(await begin(), RunStatus.WAITING)

    await decide_all(run)

    await until_status(run, RunStatus.COMPLETED)


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
