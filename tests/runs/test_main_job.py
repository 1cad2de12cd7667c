"""The main job below the pages: pause, decide, go on."""

from __future__ import annotations

import pytest
from asgiref.sync import sync_to_async

from approvals.models import RequestStatus
from runs.engine.testing import ScriptedModel, assistant_message, function_call
from runs.executor import Executor
from runs.models import RunEvent, RunStatus
from tests.factories import ada, bob, pending, say, start, until_status
from tests.shop import agents as shop

pytestmark = pytest.mark.django_db(transaction=True)
REFUND = {"order_id": "1042", "amount_eur": 480}


async def test_an_approved_call_runs_once_and_the_run_ends(
    executor: Executor, effects: shop.Effects
) -> None:
    model = ScriptedModel(
        steps=[
            [function_call("refund", REFUND, call_id="c1")],
            [assistant_message("All done.")],
        ]
    )
    shop.use(model)
    reviewer = await sync_to_async(ada)()
    requester = await sync_to_async(bob)()
    run = await sync_to_async(start)("Refund 1042", requester=requester)
    await until_status(run, RunStatus.WAITING)
    [request] = await sync_to_async(pending)(run)

    assert effects == []
    assert request.summary == "Refund €480 to order 1042"
    await sync_to_async(say)("approve", request, reviewer)
    run = await until_status(run, RunStatus.COMPLETED)

    assert effects == ["refund 1042 480"]
    assert run.final_output == "All done."
    seqs = [
        seq
        async for seq in RunEvent.objects.filter(run=run).values_list("seq", flat=True)
    ]
    assert seqs == list(range(1, run.last_seq + 1))


async def test_a_rejection_reaches_the_model_with_its_reason(
    executor: Executor, effects: shop.Effects
) -> None:
    model = ScriptedModel(
        steps=[
            [function_call("refund", REFUND, call_id="c1")],
            [assistant_message("Understood.")],
        ]
    )
    shop.use(model)
    reviewer = await sync_to_async(ada)()
    run = await sync_to_async(start)()
    await until_status(run, RunStatus.WAITING)
    [request] = await sync_to_async(pending)(run)

    await sync_to_async(say)("reject", request, reviewer, reason="Not our customer.")
    await until_status(run, RunStatus.COMPLETED)

    assert effects == []
    assert model.last_call is not None
    assert "Not our customer." in model.last_call.input[-1]["output"]


async def test_always_approve_covers_the_second_call_of_the_run(
    executor: Executor, effects: shop.Effects
) -> None:
    model = ScriptedModel(
        steps=[
            [function_call("refund", REFUND, call_id="c1")],
            [function_call("refund", {**REFUND, "order_id": "7"}, call_id="c2")],
            [assistant_message("Both done.")],
        ]
    )
    shop.use(model)
    reviewer = await sync_to_async(ada)()
    run = await sync_to_async(start)()
    await until_status(run, RunStatus.WAITING)
    [request] = await sync_to_async(pending)(run)

    await sync_to_async(say)("approve", request, reviewer, always=True)
    await until_status(run, RunStatus.COMPLETED)

    assert effects == ["refund 1042 480", "refund 7 480"]
    second = await run.requests.select_related("decision__rule").aget(call_key="c2")
    assert second.status == RequestStatus.APPROVED
    assert second.decision.rule is not None
