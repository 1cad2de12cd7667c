"""Ways in which a run was lost, doubled or let through, each named after its cause."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError

from approvals.models import ApprovalRequest, RequestStatus
from approvals.services import NotAllowed
from runs import codec, services
from runs.engine import (
    Agent,
    FunctionTool,
    Model,
    ModelResponse,
    Review,
    function_tool,
)
from runs.engine.testing import ScriptedModel, assistant_message, function_call
from runs.executor import Executor
from runs.models import RunStatus, ToolExecution
from runs.registry import get
from runs.services import lease as leases
from runs.services import steps
from runs.transactions import CommitFailed
from tests.factories import (
    ada,
    make_user,
    pending,
    say,
    start,
    until,
    until_status,
)
from tests.shop import agents as shop

from .test_executor import END, begin, crash, decide_all, open_requests, refund, script
from .test_executor import ship as ship_call
from .test_steps import append, lose, make_call, proposed, take

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that gives the shop other tools, for this test."""

    def give(*tools: FunctionTool) -> None:
        agent: Agent[Any] = get("shop").agent
        monkeypatch.setattr(agent, "tools", list(tools))

    return give


async def restarted(executor: Executor, effects: shop.Effects) -> Executor:
    await crash(executor)
    effects.release.clear()
    other = Executor(concurrency=5)
    await other.start()
    return other


# Decisions


async def test_an_approval_cached_in_the_head_does_not_hide_a_later_decision(
    executor: Executor, effects: shop.Effects
) -> None:
    effects.hold("refund")
    price = {"article": "lamp", "eur": 5}
    script([refund(), function_call("set_price", price, call_id="p1")], END)
    run = await until_status(await begin(), RunStatus.WAITING)
    await decide_all(run)
    # The sibling's outcome stores the head while the refund is in its body.
    recorded = run.executions.filter(call_key="p1", status="succeeded")
    await until(lambda: "refund 1 5" in effects and recorded.exists(), "the sibling")
    other = await restarted(executor, effects)
    await until_status(run, RunStatus.WAITING)
    [asked] = await open_requests(run)

    reviewer = await sync_to_async(make_user)("carl", "reviewers")
    await sync_to_async(say)("answer", asked, reviewer, output="It was paid.")
    await until_status(run, RunStatus.COMPLETED)
    await other.stop()

    assert effects.count("refund 1 5") == 1


async def test_a_tool_enabled_after_the_call_does_not_run_unasked(
    executor: Executor, effects: shop.Effects, tools: Callable[..., None]
) -> None:
    looks: list[int] = []

    def later(ctx: Any, agent: Any) -> bool:
        looks.append(1)
        return len(looks) > 1

    @function_tool(needs_approval=True, is_enabled=later)
    async def pay() -> str:
        effects.append("pay")
        return "paid"

    tools(pay)
    model = script([function_call("pay", {}, call_id="p1")], END)

    await until_status(await begin(), RunStatus.COMPLETED)

    assert effects == []
    assert model.last_call is not None
    assert "call it again" in model.last_call.input[-1]["output"]


def test_what_was_in_doubt_is_asked_as_such_again_after_a_failed_run() -> None:
    run, lease, request = proposed(make_call())
    say("approve", request, ada())
    steps.claim_call(lease, make_call())
    lease = lose(run)
    steps.claim_call(lease, make_call())
    leases.finish(lease, RunStatus.FAILED, error="broken")
    services.resume_run(run.pk, by=None)

    lease = take(run)
    steps.propose(lease, [make_call()])

    [asked] = pending(run)
    assert asked.kind == ApprovalRequest.Kind.RECONCILE
    assert asked.evidence


def test_an_approval_nobody_used_ends_with_its_run() -> None:
    run, lease, request = proposed(make_call())
    say("approve", request, ada(), always=True)
    leases.finish(lease, RunStatus.FAILED, error="broken")
    services.resume_run(run.pk, by=None)

    lease = take(run)
    steps.propose(lease, [make_call()])

    request.refresh_from_db()
    assert request.status == RequestStatus.SUPERSEDED
    assert [again.revision for again in pending(run)] == [2]


def test_whoever_wrote_to_a_run_does_not_decide_its_calls() -> None:
    carol = make_user("carol", "reviewers", "operators")
    run, _, request = proposed(make_call())
    services.send_message(run.conversation_id, "Refund mine.", by=carol)

    with pytest.raises(NotAllowed, match="written to this run"):
        say("approve", request, carol)


def test_a_message_that_came_too_late_is_its_writers_run() -> None:
    carol = make_user("carol", "reviewers", "operators")
    run = start(requester=make_user("bob", "operators"))
    lease = take(run)
    services.send_message(run.conversation_id, "Refund mine.", by=carol)
    leases.finish(lease, RunStatus.COMPLETED, final_output="Done.")

    following = run.conversation.runs.get(previous=run)
    append(following, take(following), [make_call()])
    [request] = pending(following)

    assert following.requester == carol
    with pytest.raises(NotAllowed):
        say("approve", request, carol)


def test_what_a_failed_run_did_not_read_begins_the_next_one() -> None:
    run = start()
    lease = take(run)
    services.send_message(run.conversation_id, "Unread.", by=None)
    leases.finish(lease, RunStatus.FAILED, error="broken")

    following = services.send_message(run.conversation_id, "And this.", by=None)

    inputs = [event.data["raw"]["content"] for event in following.events.all()[:2]]
    assert inputs == ["Unread.", "And this."]
    run.refresh_from_db()
    assert run.pending_messages == []


def test_running_an_effect_again_takes_as_many_people_as_running_it() -> None:
    call = make_call(review=Review(approvals=2))
    run, lease, request = proposed(call)
    for name in ("ada", "carl"):
        say("approve", request, make_user(name, "reviewers"))
    steps.claim_call(lease, call)
    lease = lose(run)
    steps.claim_call(lease, call)

    [asked] = pending(run)

    assert asked.votes_needed == 2


def test_a_rule_whose_maker_lost_the_right_covers_nothing() -> None:
    maker = ada()
    run, lease, request = proposed(make_call())
    say("approve", request, maker, always=True)
    maker.groups.clear()

    append(run, lease, [make_call('{"order_id": "2"}', key="c2", call_id="c2")])

    assert [asked.call_key for asked in pending(run)] == ["c2"]


# Code of an agent's author that misbehaves


def stops_iteration() -> str:
    return str(next(iter(())))


def exits() -> str:
    sys.exit(3)


async def cancels() -> str:
    raise asyncio.CancelledError


@pytest.mark.parametrize("body", [stops_iteration, exits, cancels])
@pytest.mark.parametrize("idempotent", [True, False])
async def test_a_tool_that_stops_exits_or_cancels_has_failed(
    executor: Executor,
    effects: shop.Effects,
    tools: Callable[..., None],
    body: Callable[[], str],
    idempotent: bool,
) -> None:
    tools(function_tool(review=Review(idempotent=idempotent))(body))
    model = script([function_call(body.__name__, {}, call_id="c1")], END)

    await until_status(await begin(), RunStatus.COMPLETED)

    assert model.last_call is not None
    assert "The tool failed" in model.last_call.input[-1]["output"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (SystemExit(3), "asked the process to exit"),
        (asyncio.CancelledError(), "was cancelled"),
    ],
)
async def test_a_model_that_exits_or_cancels_fails_its_run(
    executor: Executor, effects: shop.Effects, error: BaseException, told: str
) -> None:
    class Broken(ScriptedModel):
        async def stream_response(self, *args: Any, **kwargs: Any) -> Any:
            raise error
            yield

    shop.use(Broken(steps=[]))

    run = await until_status(await begin(), RunStatus.FAILED)

    assert told in run.error


async def test_a_stop_does_not_wait_for_a_tool_that_will_not_be_cancelled(
    executor: Executor,
    effects: shop.Effects,
    tools: Callable[..., None],
    settings: Any,
) -> None:
    settings.PLACET_STOP_GRACE = settings.PLACET_SWEEP_EVERY
    release = asyncio.Event()

    @function_tool
    async def stubborn() -> str:
        effects.append("stubborn")
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return "done"

    tools(stubborn)
    script([function_call("stubborn", {}, call_id="c1")], END)
    run = await begin()
    await until(lambda: effects == ["stubborn"], "the tool")

    await sync_to_async(services.stop_run)(run.pk, by=None)
    await until_status(run, RunStatus.CANCELLED)

    execution = await ToolExecution.objects.aget(run=run)
    assert execution.status == ToolExecution.Status.UNKNOWN
    release.set()


# Runners and the database


async def test_a_run_taken_from_a_hung_tool_goes_on_in_the_same_process(
    executor: Executor, effects: shop.Effects
) -> None:
    effects.hold("look_up")
    script([function_call("look_up", {"order_id": "1"}, call_id="l1")], END)
    run = await begin()
    await until(lambda: effects == ["look_up 1"], "the look-up")
    held = effects.release.pop("look_up")

    await sync_to_async(services.requeue_run)(run.pk, by=None)
    await until_status(run, RunStatus.COMPLETED)

    assert effects == ["look_up 1", "look_up 1"]
    held.set()


async def test_an_outcome_is_recorded_though_the_database_was_busy(
    executor: Executor, effects: shop.Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, failures = steps.record_outcome, [OperationalError("database is locked")]

    def busy_once(*args: Any) -> None:
        if failures:
            raise failures.pop()
        record(*args)

    monkeypatch.setattr(steps, "record_outcome", busy_once)
    script([ship_call()], END)

    run = await until_status(await begin(), RunStatus.COMPLETED)

    execution = await ToolExecution.objects.aget(run=run)
    assert execution.status == ToolExecution.Status.SUCCEEDED


async def test_a_database_that_fails_does_not_fail_the_run(
    executor: Executor, effects: shop.Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_turn, failures = steps.begin_turn, [OperationalError("database is locked")]

    def fail_once(*args: Any) -> Any:
        if failures:
            raise failures.pop()
        return begin_turn(*args)

    monkeypatch.setattr(steps, "begin_turn", fail_once)
    script(END)
    run = await begin()
    await until(lambda: not failures, "the failure")

    await until_status(run, RunStatus.COMPLETED)


async def test_a_call_in_doubt_is_not_told_as_never_run(
    executor: Executor, effects: shop.Effects
) -> None:
    effects.hold("ship")
    model = script([ship_call()], [assistant_message("Fine.")])
    run = await begin()
    await until(lambda: effects == ["ship 1"], "the effect")
    other = await restarted(executor, effects)
    await until_status(run, RunStatus.WAITING)
    await sync_to_async(services.stop_run)(run.pk, by=None)

    second = await sync_to_async(services.send_message)(
        run.conversation_id, "Again?", by=None
    )
    await until_status(second, RunStatus.COMPLETED)
    await other.stop()

    assert model.last_call is not None
    told = [item["output"] for item in model.last_call.input if "output" in item]
    assert "nobody saw how it ended" in told[0]


class Clerk(Model):
    """Ships when it is told to ship, else looks up; once, and after the shipping."""

    def __init__(self, effects: shop.Effects) -> None:
        self.effects = effects

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        given = args[1]
        ships = "ship" in codec.dumps(given[0])
        name = "ship" if ships else "look_up"
        if not ships:
            await until(lambda: self.effects, "the shipping")
        done = any(item.get("type") == "function_call_output" for item in given)
        call = function_call(name, {"order_id": "1"}, call_id=name)
        model = ScriptedModel(steps=[[assistant_message("done")] if done else [call]])
        return await model.get_response(*args, **kwargs)

    def stream_response(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("Agents used as tools are not streamed.")


@pytest.mark.parametrize("at_the_commit", [False, True])
async def test_nothing_is_stored_on_top_of_a_step_that_was_not(
    executor: Executor,
    effects: shop.Effects,
    monkeypatch: pytest.MonkeyPatch,
    at_the_commit: bool,
) -> None:
    """A sibling that ended later stored a head whose calls had no items."""
    release = effects.hold("ship")
    calls = [
        function_call("delegate", {"input": told}, call_id=told)
        for told in ("ship", "look")
    ]
    manager = ScriptedModel(steps=[calls, END])
    shop.use(shop.Cast({"Manager": manager, "Clerk": Clerk(effects)}))
    failed = asyncio.Event()
    loop = asyncio.get_running_loop()
    append_step = steps.append_step

    def away(*args: Any, **kwargs: Any) -> None:
        looks = any('"look_up"' in codec.dumps(entry.payload) for entry in args[1])
        if not looks or failed.is_set():
            return append_step(*args, **kwargs)
        loop.call_soon_threadsafe(failed.set)
        raise (CommitFailed if at_the_commit else OperationalError)("cut")

    monkeypatch.setattr(steps, "append_step", away)
    run = await begin(agent="manager")
    async with asyncio.timeout(20):
        await failed.wait()
    release.set()

    waiting = await until_status(run, RunStatus.WAITING, RunStatus.FAILED)

    assert waiting.error == ""
    [request] = await open_requests(run)
    assert request.kind == ApprovalRequest.Kind.RECONCILE
    assert effects.count("ship 1") == 1
    execution = await ToolExecution.objects.aget(run=run, tool="ship")
    assert codec.loads(execution.evidence)["kind"] == "succeeded"
