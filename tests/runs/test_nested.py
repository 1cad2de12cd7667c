"""Agents used as tools, in runs on the executor and the database: frames that pause."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.utils import timezone

from approvals.models import ApprovalRequest, RequestStatus
from runs import services
from runs.engine import LeaseLost, function_tool
from runs.engine.testing import (
    ModelStep,
    ScriptedModel,
    assistant_message,
    function_call,
)
from runs.executor import Executor
from runs.history import IN_DOUBT
from runs.models import Run, RunEvent, RunStatus, ToolExecution
from runs.services import lease as leases
from runs.services import steps
from runs.timeline import CallState, timeline
from tests.factories import (
    ada,
    bob,
    make_user,
    pending,
    say,
    start,
    until,
    until_status,
)
from tests.shop import agents as shop

from .test_executor import END, crash, decide_all, open_requests, refund
from .test_executor import ship as ship_call

pytestmark = pytest.mark.django_db(transaction=True)

PAID = "Refunded 5 EUR to order 1."


def cast(**parts: Any) -> dict[str, ScriptedModel]:
    """Give each agent, by its name in small letters, its steps, or one for any turn."""
    models = {}
    for name, given in parts.items():
        answers = [ModelStep.respond(given)] * 50 if callable(given) else given
        models[name.title()] = ScriptedModel(steps=answers)
    shop.use(shop.Cast(models))
    return models


def delegate(text: str = "do it", call_id: str = "d1", name: str = "delegate") -> Any:
    return function_call(name, {"input": text}, call_id=call_id)


def drive(text: str = "drive", call_id: str = "v1") -> Any:
    return function_call("drive", {"input": text}, call_id=call_id)


def words(text: str) -> list[Any]:
    return [assistant_message(text)]


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


async def approve(request: ApprovalRequest, by: User, **said: Any) -> None:
    await sync_to_async(say)("approve", request, by, **said)


@sync_to_async
def assert_log_is_gap_free(run: Run) -> None:
    seqs = list(RunEvent.objects.filter(run=run).values_list("seq", flat=True))
    assert seqs == list(range(1, Run.objects.get(pk=run.pk).last_seq + 1))


@sync_to_async
def executions(run: Run) -> dict[str, str]:
    return dict(run.executions.order_by("call_key").values_list("call_key", "status"))


async def restarted(executor: Executor) -> Executor:
    """Kill the runner, and start another."""
    await crash(executor)
    other = Executor(concurrency=5)
    await other.start()
    return other


def short(items: list[Any]) -> list[Any]:
    """Return items as they are told apart: texts, calls as names, outputs."""
    return [item.get("name") or item.get("output") or _text(item) for item in items]


def _text(item: Any) -> Any:
    content = item.get("content")
    return content if isinstance(content, str) else content[0]["text"]


def told(model: ScriptedModel) -> list[Any]:
    """What the model read last."""
    assert model.last_call is not None
    return short(model.last_call.input)


# Approvals


async def test_a_gated_call_inside_an_agent_is_one_request_and_runs_once(
    executor: Executor, effects: shop.Effects
) -> None:
    models = cast(
        manager=[[delegate("refund order 1")], END],
        clerk=[[refund()], words("refunded")],
    )
    run = await until_waiting(await begin())
    [request] = await open_requests(run)

    assert effects == []
    assert (request.call_key, request.agent_path) == ("d1/r1", "Manager / Clerk")
    assert request.steps == ["Manager", "delegate", "Clerk", "refund"]
    await decide_all(run)
    run = await until_completed(run)

    assert effects == ["refund 1 5"]
    assert run.final_output == "end"
    assert told(models["Manager"]) == ["go", "delegate", "refunded"]
    assert told(models["Clerk"]) == ["refund order 1", "refund", PAID]
    assert await ApprovalRequest.objects.acount() == 1
    assert await executions(run) == {"d1/r1": "succeeded"}
    await assert_log_is_gap_free(run)


async def test_a_request_two_agents_deep_names_every_agent_and_tool(
    executor: Executor, effects: shop.Effects
) -> None:
    cast(
        manager=[[delegate()], END],
        clerk=[[drive()], words("driven")],
        driver=[[refund()], words("refunded")],
    )
    run = await until_waiting(await begin())
    [request] = await open_requests(run)

    assert request.call_key == "d1/v1/r1"
    assert request.agent_path == "Manager / Clerk / Driver"
    assert request.steps == [
        "Manager",
        "delegate",
        "Clerk",
        "drive",
        "Driver",
        "refund",
    ]
    await decide_all(run)
    await until_completed(run)
    assert effects == ["refund 1 5"]


async def test_the_agent_and_the_call_inside_it_are_each_asked_about(
    executor: Executor, effects: shop.Effects
) -> None:
    models = cast(
        manager=[[delegate(name="entrust")], END],
        clerk=[[refund()], words("refunded")],
    )
    reviewer = await sync_to_async(ada)()
    run = await until_waiting(await begin())
    [outer] = await open_requests(run)

    assert models["Clerk"].calls == []
    assert outer.steps == ["Manager", "entrust"]
    await approve(outer, reviewer)
    await until(lambda: "d1/r1" in [r.call_key for r in pending(run)], "the inner one")
    [inner] = await open_requests(run)
    assert inner.steps == ["Manager", "entrust", "Clerk", "refund"]
    assert effects == []
    await approve(inner, reviewer)
    await until_completed(run)

    assert effects == ["refund 1 5"]
    assert await executions(run) == {"d1": "succeeded", "d1/r1": "succeeded"}


async def test_an_agent_that_is_rejected_does_not_begin(
    executor: Executor, effects: shop.Effects
) -> None:
    models = cast(manager=[[delegate(name="entrust")], END], clerk=[])
    run = await until_waiting(await begin())

    await decide_all(run, "reject", reason="Do it yourself.")
    await until_completed(run)

    assert models["Clerk"].calls == []
    assert "Do it yourself." in told(models["Manager"])[-1]


def pays(call: Any) -> Any:
    """A clerk who refunds the order it is told, under the same call id each time."""
    order = _text(call.input[0])
    paid = len(call.input) > 1
    return words(f"paid {order}") if paid else [refund(order)]


async def test_two_nested_runs_wait_at_once_and_go_on_one_by_one(
    executor: Executor, effects: shop.Effects
) -> None:
    models = cast(manager=[[delegate("1"), delegate("2", "d2")], END], clerk=pays)
    reviewer = await sync_to_async(ada)()
    run = await until_waiting(await begin())
    first, second = sorted(await open_requests(run), key=lambda r: r.call_key)
    assert (first.call_key, second.call_key) == ("d1/r1", "d2/r1")

    await approve(second, reviewer)
    await until(lambda: effects == ["refund 2 5"], "the second refund")
    run = await until_waiting(run)
    assert await open_requests(run) == [first]
    await approve(first, reviewer)
    await until_completed(run)

    assert effects == ["refund 2 5", "refund 1 5"]
    assert {*told(models["Manager"])[-2:]} == {"paid 1", "paid 2"}
    await assert_log_is_gap_free(run)


async def test_a_rejection_inside_is_told_to_the_inner_model(
    executor: Executor, effects: shop.Effects
) -> None:
    models = cast(manager=[[delegate()], END], clerk=[[refund()], words("I may not")])
    run = await until_waiting(await begin())

    await decide_all(run, "reject", reason="Ask the boss.")
    await until_completed(run)

    assert effects == []
    assert "Ask the boss." in told(models["Clerk"])[-1]
    assert told(models["Manager"])[-1] == "I may not"


async def test_a_rule_covers_the_tool_of_one_agent_path_only(
    executor: Executor, effects: shop.Effects
) -> None:
    cast(
        manager=[[delegate()], [refund("3", "r3")], END],
        clerk=[[refund()], [refund("2", "r2")], [drive()], words("done")],
        driver=[[refund("4", "r4")], words("done")],
    )
    reviewer = await sync_to_async(ada)()
    run = await until_waiting(await begin())
    [request] = await open_requests(run)

    await approve(request, reviewer, always=True)
    await until(lambda: [r.call_key for r in pending(run)] == ["d1/v1/r4"], "Driver's")
    assert effects == ["refund 1 5", "refund 2 5"]
    await approve((await open_requests(run))[0], reviewer)
    await until(lambda: [r.call_key for r in pending(run)] == ["r3"], "Manager's own")

    assert effects == ["refund 1 5", "refund 2 5", "refund 4 5"]


async def test_an_approval_of_the_outer_agents_call_permits_no_inner_one(
    executor: Executor, effects: shop.Effects
) -> None:
    """The same tool, id and arguments below another agent is another call."""
    cast(manager=[[refund(), delegate("1")], END], clerk=pays)
    reviewer = await sync_to_async(ada)()
    run = await until_waiting(await begin())
    own, inner = sorted(await open_requests(run), key=lambda r: -len(r.call_key))[::-1]

    assert own.digest != inner.digest
    await approve(own, reviewer)
    await until(lambda: effects == ["refund 1 5"], "the manager's refund")
    await until_waiting(run)

    assert [r.call_key for r in await open_requests(run)] == ["d1/r1"]
    assert effects == ["refund 1 5"]


# Restarts


async def test_a_nested_run_comes_back_whole_from_the_log(
    executor: Executor, effects: shop.Effects
) -> None:
    models = cast(
        manager=[[delegate("refund order 1")], END],
        clerk=[[ship_call()], [refund()], words("refunded")],
    )
    run = await until_waiting(await begin())

    other = await restarted(executor)
    await decide_all(run)
    await until_completed(run)
    await other.stop()

    assert told(models["Clerk"]) == [
        "refund order 1",
        "ship",
        "Order 1 is on its way.",
        "refund",
        PAID,
    ]
    assert effects == ["ship 1", "refund 1 5"]


async def test_a_crash_while_the_inner_model_thinks_asks_it_again(
    executor: Executor, effects: shop.Effects
) -> None:
    never = asyncio.Event()
    asked = asyncio.Event()

    async def hangs(call: Any) -> Any:
        if not asked.is_set():
            asked.set()
            await never.wait()
        return words("here I am")

    models = cast(manager=[[delegate(name="entrust")], END], clerk=hangs)
    run = await until_waiting(await begin())
    await decide_all(run)
    await asyncio.wait_for(asked.wait(), 20)

    other = await restarted(executor)
    await until_completed(run)
    await other.stop()

    assert told(models["Manager"])[-1] == "here I am"
    assert await run.requests.acount() == 1


async def test_a_crash_in_an_inner_tool_leaves_its_call_to_a_person(
    executor: Executor, effects: shop.Effects
) -> None:
    effects.hold("refund")
    models = cast(manager=[[delegate()], END], clerk=[[refund()], words("all right")])
    reviewer = await sync_to_async(ada)()
    run = await until_waiting(await begin())
    await approve((await open_requests(run))[0], reviewer)
    await until(lambda: effects == ["refund 1 5"], "the refund")

    other = await restarted(executor)
    await until_waiting(run)
    [asked] = await open_requests(run)
    assert (asked.kind, asked.call_key) == ("reconcile", "d1/r1")
    assert asked.steps == ["Manager", "delegate", "Clerk", "refund"]
    await sync_to_async(say)("answer", asked, reviewer, output="It was paid.")
    await until_completed(run)
    await other.stop()

    assert effects == ["refund 1 5"]
    assert told(models["Clerk"])[-1].endswith("It was paid.")


async def test_a_nested_run_taken_from_its_worker_goes_on_elsewhere(
    executor: Executor, effects: shop.Effects
) -> None:
    never = asyncio.Event()
    models = cast(
        manager=[[delegate()], END],
        clerk=[[ship_call()], ModelStep.respond(waits(never)), words("shipped")],
    )
    run = await begin()
    await until(lambda: len(models["Clerk"].calls) == 2, "the second turn inside")

    await sync_to_async(services.requeue_run)(run.pk, by=None)
    await until_completed(run)

    assert effects == ["ship 1"]
    assert told(models["Clerk"]) == ["do it", "ship", "Order 1 is on its way."]
    await assert_log_is_gap_free(run)


def waits(event: asyncio.Event) -> Callable[[Any], Any]:
    async def respond(call: Any) -> Any:
        await event.wait()
        return END

    return respond


class Killer:
    """Ends the stretch of a run before or after its n-th transaction, as a kill does.

    What was in memory is gone: the lease runs out and the run is loaded again.
    """

    NAMES = (
        "begin_turn",
        "append_step",
        "propose",
        "verdicts",
        "claim_call",
        "record_outcome",
        "append_spans",
    )

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: int | None = None
        for name in self.NAMES:
            monkeypatch.setattr(steps, name, self._deadly(getattr(steps, name)))

    def arm(self, count: int, *, before: bool) -> None:
        self.left, self.before = count, before

    def _deadly(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def run(lease: leases.Lease, *args: Any, **kwargs: Any) -> Any:
            if self.left is None:
                return step(lease, *args, **kwargs)
            self.left -= 1
            if self.left > 0:
                return step(lease, *args, **kwargs)
            self.left = None
            if not self.before:
                step(lease, *args, **kwargs)
            Run.objects.filter(pk=lease.run_id).update(
                lease_owner="",
                lease_expires_at=timezone.now() - timedelta(minutes=1),
            )
            raise LeaseLost("killed")

        return run


def works(call: Any) -> Any:
    """A clerk that ships, refunds and has something driven, whenever it is asked."""
    done = [item["call_id"] for item in call.input if "output" in item]
    for make in (ship_call, refund, drive):
        item = make()
        if item.call_id not in done:
            return [item]
    return words("all done")


def manages(call: Any) -> Any:
    return END if "output" in call.input[-1] else [delegate("everything")]


def drives(call: Any) -> Any:
    """A driver that refunds under an id the clerk uses as well."""
    return words("driven") if "output" in call.input[-1] else [refund("2")]


@pytest.mark.sqlite  # on PostgreSQL the harness of kills does so, with real ones
@pytest.mark.parametrize("before", [True, False])
async def test_killed_at_any_step_of_a_nested_run_nothing_is_lost_or_twice(
    executor: Executor,
    effects: shop.Effects,
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
    before: bool,
) -> None:
    settings.PLACET_SWEEP_EVERY = timedelta(seconds=0.05)
    killer = Killer(monkeypatch)
    reviewer = await sync_to_async(ada)()

    def settle(run: Run) -> bool:
        for request in pending(run):
            order = json.loads(request.arguments)["order_id"]
            happened = any(f"{request.tool} {order}" in effect for effect in effects)
            if request.kind == ApprovalRequest.Kind.APPROVAL or not happened:
                say("approve", request, reviewer)
            else:
                say("answer", request, reviewer, output="It happened.")
        run.refresh_from_db()
        return not run.is_open

    kills = 0
    for count in range(1, 200):
        effects.clear()
        models = cast(manager=manages, clerk=works, driver=drives)
        killer.arm(count, before=before)
        run = await begin()
        await until(lambda run=run: settle(run), "the end")  # type: ignore[misc]
        run = await until_completed(run)

        keys = ["d1/r1", "d1/s1", "d1/v1/r1"]
        assert sorted(await executions(run)) == keys, count
        assert sorted(effects) == ["refund 1 5", "refund 2 5", "ship 1"], count
        assert run.final_output == "end"
        assert short(models["Clerk"].calls[-1].input)[0] == "everything"
        assert len(models["Clerk"].calls[-1].input) == 7
        await assert_log_is_gap_free(run)
        if killer.left is not None:
            break  # it ended before this step: every step was tried
        kills += 1
    assert kills > 20


# Stops, messages and what comes after


async def test_stopping_a_run_that_waits_inside_an_agent_closes_its_request(
    executor: Executor, effects: shop.Effects
) -> None:
    cast(manager=[[delegate(name="entrust")]], clerk=[[refund()]])
    reviewer = await sync_to_async(ada)()
    run = await until_waiting(await begin())
    await approve((await open_requests(run))[0], reviewer)
    await until(lambda: "d1/r1" in [r.call_key for r in pending(run)], "the inner one")
    [request] = await open_requests(run)

    await sync_to_async(services.stop_run)(run.pk, by=None)
    await until_status(run, RunStatus.CANCELLED)

    await request.arefresh_from_db()
    assert request.status == RequestStatus.CANCELLED
    assert effects == []
    states = {
        block.call.key: block.call.state
        for block in await sync_to_async(timeline)(run)
        if block.call
    }
    assert states == {"d1": CallState.ENDED, "d1/r1": CallState.CANCELLED}


async def test_stopping_a_run_lets_a_tool_inside_an_agent_end(
    executor: Executor, effects: shop.Effects
) -> None:
    release = effects.hold("ship")
    models = cast(manager=[[delegate()]], clerk=[[ship_call()]])
    run = await begin()
    await until(lambda: effects == ["ship 1"], "the inner tool")

    await sync_to_async(services.stop_run)(run.pk, by=None)
    release.set()
    await until_status(run, RunStatus.CANCELLED)

    assert await executions(run) == {"d1/s1": "succeeded"}
    assert len(models["Clerk"].calls) == 1
    await assert_log_is_gap_free(run)


async def test_a_message_meanwhile_is_read_by_the_runs_own_agent(
    executor: Executor, effects: shop.Effects
) -> None:
    models = cast(manager=[[delegate()], END], clerk=[[refund()], words("refunded")])
    requester = await sync_to_async(bob)()
    run = await until_waiting(await begin())

    await sync_to_async(services.send_message)(
        run.conversation_id, "And be quick.", by=requester
    )
    await decide_all(run)
    await until_completed(run)

    assert told(models["Clerk"]) == ["do it", "refund", PAID]
    assert told(models["Manager"])[-2:] == ["refunded", "And be quick."]


async def test_the_next_run_reads_nothing_that_was_said_inside(
    executor: Executor, effects: shop.Effects
) -> None:
    models = cast(
        manager=[[delegate()], END, words("again")],
        clerk=[[ship_call()], words("shipped")],
    )
    run = await until_completed(await begin())

    following = await sync_to_async(services.send_message)(
        run.conversation_id, "What now?", by=None
    )
    await until_completed(following)

    assert told(models["Manager"]) == ["go", "delegate", "shipped", "end", "What now?"]


async def test_what_a_stopped_agent_left_open_is_told_as_never_run(
    executor: Executor, effects: shop.Effects
) -> None:
    models = cast(manager=[[delegate()], END], clerk=[[refund()]])
    run = await until_waiting(await begin())
    await sync_to_async(services.stop_run)(run.pk, by=None)

    following = await sync_to_async(services.send_message)(
        run.conversation_id, "What now?", by=None
    )
    await until_completed(following)

    _, call, output, question = told(models["Manager"])
    assert (call, question) == ("delegate", "What now?")
    assert "not run" in output


async def test_what_a_stopped_agent_has_done_is_not_told_as_never_run(
    executor: Executor, effects: shop.Effects
) -> None:
    models = cast(manager=[[delegate()], END], clerk=[[ship_call()], [refund()]])
    run = await until_waiting(await begin())
    await sync_to_async(services.stop_run)(run.pk, by=None)

    following = await sync_to_async(services.send_message)(
        run.conversation_id, "What now?", by=None
    )
    await until_completed(following)

    assert effects == ["ship 1"]
    assert told(models["Manager"])[2] == IN_DOUBT


async def test_an_agent_that_uses_up_its_turns_is_told_to_the_one_above(
    executor: Executor, effects: shop.Effects
) -> None:
    def ships(call: Any) -> Any:
        return [ship_call(str(len(call.input)), f"s{len(call.input)}")]

    models = cast(manager=[[delegate()], END], clerk=ships)

    await until_completed(await begin())

    assert "10 turns" in told(models["Manager"])[-1]
    assert len(effects) == 10


async def test_an_agent_that_fails_leaves_no_request_behind(
    executor: Executor, effects: shop.Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    @function_tool(failure_error_function=None)
    def breaks() -> str:
        raise ValueError("broken")

    monkeypatch.setattr(shop.clerk, "tools", [breaks, shop.refund])
    both = [refund(), function_call("breaks", {}, call_id="b1")]
    models = cast(manager=[[delegate(), delegate("1", "D1")], END], clerk=by_task(both))
    run = await until_waiting(await begin())

    requests = {request.call_key: request async for request in run.requests.all()}
    assert requests["d1/r1"].status == RequestStatus.CANCELLED
    assert requests["D1/r1"].status == RequestStatus.PENDING
    await decide_all(run)
    await until_completed(run)

    assert "broken" in str(told(models["Manager"]))
    assert effects == ["refund 1 5"]


def by_task(answer: list[Any]) -> Callable[[Any], Any]:
    """Give `answer` to the first task, and refund what another names."""
    return lambda call: answer if _text(call.input[0]) == "do it" else pays(call)


async def test_who_may_not_decide_the_run_may_not_decide_inside_it(
    executor: Executor, effects: shop.Effects
) -> None:
    cast(manager=[[delegate()]], clerk=[[refund()]])
    both = await sync_to_async(make_user)("zoe", "operators", "reviewers")
    run = await until_waiting(await begin(requester=both))
    [request] = await open_requests(run)

    with pytest.raises(Exception, match="You started this run"):
        await approve(request, both)

    assert not await ToolExecution.objects.aexists()
    assert effects == []
