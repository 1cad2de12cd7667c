"""Edited, answered and stopped calls in whole runs, through restarts and frames."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from approvals.models import ApprovalRequest, Decision
from approvals.services import AlreadyDecided
from approvals.wording import ANSWERED, EDITED
from runs.engine.testing import function_call
from runs.executor import Executor
from runs.models import EventKind, Run, RunStatus, ToolExecution
from tests.factories import ada, make_user, say, until, until_status
from tests.runs.test_executor import (
    END,
    begin,
    decide_all,
    open_requests,
    refund,
    script,
)
from tests.runs.test_nested import begin as begin_nested
from tests.runs.test_nested import (
    cast,
    delegate,
    restarted,
    until_completed,
    until_waiting,
    words,
)
from tests.shop import agents as shop

from .edits import WHY, asked, edited
from .test_races import approve, check_books, contest

pytestmark = pytest.mark.django_db(transaction=True)

LESS = '{"order_id": "1", "amount_eur": 2.50}'


@sync_to_async
def edit_all(run: Run) -> list[ApprovalRequest]:
    reviewer = ada()
    waiting = run.requests.filter(status="pending")
    return [edited(request, reviewer, LESS) for request in waiting]


@sync_to_async
def log(run: Run, kind: str) -> list[Any]:
    events = run.events.filter(kind=EventKind.ITEM).order_by("seq")
    return [event.data["raw"] for event in events if event.data["type"] == kind]


async def test_an_edited_call_runs_as_edited_and_the_model_is_told(
    executor: Executor, effects: shop.Effects
) -> None:
    script([refund()], END)
    run = await until_waiting(await begin())

    [after] = await edit_all(run)
    await until_completed(run)

    assert effects == ["refund 1 2.5"]
    [call] = await log(run, "tool_call")
    assert '"amount_eur": 5' in call["arguments"]
    [output] = await log(run, "tool_output")
    assert output["output"].startswith(f"{EDITED}{LESS}\n")
    assert WHY in output["output"]
    assert output["output"].endswith("Refunded 2.5 EUR to order 1.")
    execution = await ToolExecution.objects.aget(run=run)
    assert execution.digest == after.digest


async def test_an_edit_inside_an_agent_survives_a_restart(
    executor: Executor, effects: shop.Effects
) -> None:
    cast(manager=[[delegate()], END], clerk=[[refund()], words("refunded")])
    run = await until_waiting(await begin_nested())
    await executor.stop(grace_s=1)

    await edit_all(run)
    other = Executor(concurrency=5)
    await other.start()
    try:
        await until_completed(run)
    finally:
        await other.stop(grace_s=5)

    assert effects == ["refund 1 2.5"]


async def test_a_crash_after_an_edited_idempotent_call_repeats_it_as_edited(
    executor: Executor, effects: shop.Effects
) -> None:
    price = {"article": "lamp", "eur": 9}
    script([function_call("set_price", price)], END)
    run = await until_waiting(await begin())
    hold = effects.hold("set_price")
    [request] = await open_requests(run)
    reviewer = await sync_to_async(ada)()
    await sync_to_async(edited)(request, reviewer, '{"article": "lamp", "eur": 7}')
    await until(lambda: list(effects), "the call")

    other = await restarted(executor)
    hold.set()
    try:
        await until_completed(run)
    finally:
        await other.stop(grace_s=5)

    assert set(effects) == {"set_price lamp 7"}


async def test_an_answer_stands_for_the_output_and_the_tool_does_not_run(
    executor: Executor, effects: shop.Effects
) -> None:
    script([refund()], END)
    run = await until_waiting(await begin())

    await decide_all(run, "answer", output="I paid it in cash.")
    await until_completed(run)

    assert effects == []
    [output] = await log(run, "tool_output")
    assert output["output"] == f"{ANSWERED}I paid it in cash."


async def test_a_rejection_that_stops_leaves_nothing_to_run(
    executor: Executor, effects: shop.Effects
) -> None:
    script([refund(), refund("2", "r2")], END)
    run = await until_waiting(await begin())
    first, _ = await open_requests(run)

    reviewer = await sync_to_async(ada)()
    await sync_to_async(say)("reject", first, reviewer, stop=True)
    await until_status(run, RunStatus.CANCELLED)

    assert effects == []
    statuses = run.requests.order_by("id").values_list("status", flat=True)
    assert [status async for status in statuses] == ["rejected", "cancelled"]


def test_of_an_edit_and_an_approval_at_once_one_stands() -> None:
    _, _, first = asked()
    _, _, second = asked()
    editor, other = ada(), make_user("carl", "reviewers")
    both = (first, second)

    rounds = contest(
        [partial(edited, one, editor) for one in both],
        [partial(approve, one, other) for one in both],
    )

    for request, told in zip(both, rounds, strict=True):
        won = [one for one in told if isinstance(one, ApprovalRequest)]
        assert len(won) == 1
        assert [type(one) for one in told if one is not won[0]] == [AlreadyDecided]
        [decision] = Decision.objects.filter(request__run=request.run)
        assert decision.digest == decision.request.digest
        assert decision.request.pk == won[0].pk
    check_books()
