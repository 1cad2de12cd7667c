"""Agents used as tools, in runs on the executor and the database: frames that pause."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async

from approvals.models import ApprovalRequest
from runs.engine.testing import ScriptedModel, assistant_message, function_call
from runs.executor import Executor
from runs.models import Run, RunEvent, RunStatus
from tests.factories import start, until_status
from tests.shop import agents as shop

from .test_executor import END, crash, decide_all, open_requests, refund

pytestmark = pytest.mark.django_db(transaction=True)


def cast(**parts: list[Any]) -> dict[str, ScriptedModel]:
    """Give each agent, by its name in small letters, its steps."""
    models = {name.title(): ScriptedModel(steps=steps) for name, steps in parts.items()}
    shop.use(shop.Cast(models))
    return models


def delegate(text: str = "do it", call_id: str = "d1", name: str = "delegate") -> Any:
    return function_call(name, {"input": text}, call_id=call_id)


def drive(text: str = "drive", call_id: str = "v1") -> Any:
    return function_call("drive", {"input": text}, call_id=call_id)


async def begin(text: str = "go", **options: Any) -> Run:
    return await sync_to_async(start)(text, agent="manager", **options)


async def until_waiting(run: Run) -> Run:
    return await until_status(run, RunStatus.WAITING)


async def until_completed(run: Run) -> Run:
    run = await until_status(
        run, RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED
    )
    assert (run.status, run.error) == (RunStatus.COMPLETED, "")
    return run


@sync_to_async
def assert_log_is_gap_free(run: Run) -> None:
    seqs = list(RunEvent.objects.filter(run=run).values_list("seq", flat=True))
    assert seqs == list(range(1, Run.objects.get(pk=run.pk).last_seq + 1))


async def restarted(executor: Executor) -> Executor:
    """Kill the runner, and start another."""
    await crash(executor)
    other = Executor(concurrency=5)
    await other.start()
    return other


def told(model: ScriptedModel) -> list[Any]:
    """What the model read last, short: texts, calls as names, outputs."""
    assert model.last_call is not None
    return [
        item.get("name") or item.get("output") or text_of(item)
        for item in model.last_call.input
    ]


def text_of(item: Any) -> Any:
    content = item.get("content")
    return content if isinstance(content, str) else content[0]["text"]


async def test_a_gated_call_inside_an_agent_is_one_request_and_runs_once(
    executor: Executor, effects: shop.Effects
) -> None:
    models = cast(
        manager=[[delegate("refund order 1")], END],
        clerk=[[refund()], [assistant_message("refunded")]],
    )
    run = await until_waiting(await begin())
    [request] = await open_requests(run)

    assert effects == []
    assert request.call_key == "d1/r1"
    assert request.agent_path == "Manager / Clerk"
    await decide_all(run)
    run = await until_completed(run)

    assert effects == ["refund 1 5"]
    assert run.final_output == "end"
    assert told(models["Manager"]) == ["go", "delegate", "refunded"]
    assert await ApprovalRequest.objects.acount() == 1
    await assert_log_is_gap_free(run)


async def test_a_nested_run_comes_back_whole_from_the_log(
    executor: Executor, effects: shop.Effects
) -> None:
    models = cast(
        manager=[[delegate("refund order 1")], END],
        clerk=[[refund()], [assistant_message("refunded")]],
    )
    run = await until_waiting(await begin())

    other = await restarted(executor)
    await decide_all(run)
    await until_completed(run)
    await other.stop()

    paid = "Refunded 5 EUR to order 1."
    assert told(models["Clerk"]) == ["refund order 1", "refund", paid]
    assert effects == ["refund 1 5"]
