"""Runs that waited while their code changed: checked, asked about, never guessed at."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User

from approvals.models import ApprovalRequest, AuditEntry, Decision, RequestStatus
from approvals.services import InvalidDecision, NotAllowed
from approvals.upgrades import changes_in
from runs import codec, registry, services
from runs.engine import Agent, LeaseLost, Review, function_tool
from runs.engine.testing import ScriptedModel, function_call
from runs.executor import Executor
from runs.models import EventKind, Run, RunStatus, ToolExecution
from runs.registry import RegisteredAgent
from runs.services import lease as leases
from runs.services import steps
from runs.timeline import BlockKind, timeline
from tests.factories import ada, make_user, pending, say, until, until_status
from tests.shop import agents as shop

from .test_executor import END, begin, crash, refund, script

pytestmark = pytest.mark.django_db(transaction=True)

Kind = ApprovalRequest.Kind
Deploy = Callable[..., None]
TITLE = "May the run of Shop go on under changed code?"


@pytest.fixture
def deploy(monkeypatch: pytest.MonkeyPatch) -> Deploy:
    """Return a function that puts other code in the place of the shop's agents."""
    registry.get("shop")

    def put(agent: Agent[Any], renames: Any = None, *, key: str = "shop") -> None:
        entry = RegisteredAgent(
            key=key,
            agent=agent,
            title="Shop",
            description="",
            renames=renames or {},
        )
        monkeypatch.setitem(registry._agents, key, entry)

    return put


def agent(*tools: Any, name: str = "Shop", **options: Any) -> Agent[Any]:
    return Agent(
        name=name,
        instructions="You keep a shop.",
        tools=list(tools),
        model=shop.model,
        **options,
    )


def tool(name: str, *, cents: bool = False, **options: Any) -> Any:
    """Return a tool of the name that refunds, in euros or, by newer code, in cents."""

    async def in_euros(order_id: str, amount_eur: float) -> str:
        await shop.effects.happen(name, f"{name} {order_id} {amount_eur:g}")
        return "done"

    async def in_cents(order_id: str, amount_eur: float, cents: int = 0) -> str:
        await shop.effects.happen(name, f"{name} {order_id} {amount_eur:g}.{cents}")
        return "done"

    return function_tool(
        in_cents if cents else in_euros,
        name_override=name,
        **{"needs_approval": True, "strict_mode": False, **options},
    )


OLD = [tool("refund"), shop.ship]


@sync_to_async
def requests(run: Run, kind: Kind = Kind.APPROVAL) -> list[ApprovalRequest]:
    return [request for request in pending(run) if request.kind == kind]


@sync_to_async
def statuses(run: Run) -> list[tuple[str, int, str]]:
    found = run.requests.order_by("call_key", "revision")
    return list(found.values_list("call_key", "revision", "status"))


async def asked(run: Run) -> ApprovalRequest:
    """Return the question whether the run may go on, once it is put."""

    def newest() -> ApprovalRequest | None:
        found = [one for one in pending(run) if one.kind == Kind.UPGRADE]
        at_rest = Run.objects.get(pk=run.pk).status == RunStatus.WAITING
        return found[0] if found and at_rest else None

    return await until(newest, "the question")


async def look(run: Run) -> None:
    """Have the run looked at, as any news of it does."""
    await sync_to_async(services.wake)(run.pk)


async def waiting(*steps: Any) -> tuple[Run, ScriptedModel]:
    model = script(*steps)
    return await until_status(await begin(), RunStatus.WAITING), model


async def decide(request: ApprovalRequest, verdict: str, by: User, **said: Any) -> None:
    await sync_to_async(say)(verdict, request, by, **said)


def told(request: ApprovalRequest) -> list[tuple[str, str, str, str]]:
    return [(c.agent, c.what, c.before, c.now) for c in changes_in(request)]


@pytest.fixture
def reviewer(transactional_db: None) -> User:
    return ada()


SCHEMA = (
    "Shop",
    "Tool refund: parameters",
    "order_id: string, amount_eur: number",
    "cents is new",
)


# What is asked


async def test_a_run_whose_code_is_the_same_goes_on_without_a_question(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(agent(*OLD))
    run, _ = await waiting([refund()], END)

    deploy(agent(tool("refund"), shop.ship))
    [request] = await requests(run)
    await decide(request, "approve", reviewer)
    await until_status(run, RunStatus.COMPLETED)

    assert effects == ["refund 1 5"]
    assert [kind async for kind in run.requests.values_list("kind", flat=True)] == [
        Kind.APPROVAL
    ]


async def test_other_words_for_the_model_ask_nobody(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(agent(*OLD))
    run, _ = await waiting([refund()], END)

    changed = agent(*OLD)
    changed.instructions = "You keep a very kind shop."
    deploy(changed)
    [request] = await requests(run)
    await decide(request, "approve", reviewer)

    await until_status(run, RunStatus.COMPLETED)
    assert effects == ["refund 1 5"]


async def test_a_changed_schema_is_shown_and_nothing_is_driven(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(agent(*OLD))
    run, model = await waiting([refund()], END)
    [approval] = await requests(run)

    deploy(agent(tool("refund", cents=True), shop.ship))
    await decide(approval, "approve", reviewer)
    request = await asked(run)

    assert (request.summary, request.call_key) == (TITLE, "/code")
    assert told(request) == [SCHEMA]
    assert effects == []
    assert len(model.calls) == 1
    assert await sync_to_async(run.executions.count)() == 0


async def test_a_run_that_has_done_nothing_begins_with_the_code_there_is(
    transactional_db: None, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(agent(*OLD))
    script([refund()], END)
    run = await begin()
    deploy(agent(tool("refund", cents=True), shop.ship))

    runner = Executor(concurrency=5)
    await runner.start()
    run = await until_status(run, RunStatus.WAITING)
    await runner.stop(grace_s=5)

    assert [request.kind for request in await sync_to_async(pending)(run)] == [
        Kind.APPROVAL
    ]
    tools = codec.loads(run.definition)["agents"]["Shop"]["tools"]
    assert "cents" in tools["refund"]["parameters"]["properties"]


async def test_a_message_to_a_waiting_run_is_not_read_under_changed_code(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    """Without an open call too: what the model may do has changed."""
    deploy(agent(*OLD))
    run, model = await waiting([refund()], END)
    deploy(agent(*OLD, shop.look_up))

    await sync_to_async(services.send_message)(run.conversation_id, "And?", by=None)
    await look(run)
    request = await asked(run)

    assert told(request) == [
        ("Shop", "Tool look_up", "not there", "new, runs without asking")
    ]
    assert len(model.calls) == 1


async def test_an_old_row_takes_the_code_there_is(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(agent(*OLD))
    run, _ = await waiting([refund()], END)
    await Run.objects.filter(pk=run.pk).aupdate(definition="")
    deploy(agent(*OLD, shop.look_up))

    [request] = await requests(run)
    await decide(request, "approve", reviewer)
    run = await until_status(run, RunStatus.COMPLETED)

    assert effects == ["refund 1 5"]
    assert "look_up" in codec.loads(run.definition)["agents"]["Shop"]["tools"]


async def test_an_old_row_asks_where_its_open_call_remembers_another_tool(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(agent(*OLD))
    run, _ = await waiting([refund()], END)
    await Run.objects.filter(pk=run.pk).aupdate(definition="")
    deploy(agent(tool("refund", cents=True), shop.ship))

    [approval] = await requests(run)
    await decide(approval, "approve", reviewer)

    assert told(await asked(run)) == [SCHEMA]
    assert effects == []


# Going on, and not


async def test_an_approval_never_carries_over_to_a_changed_call(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(agent(*OLD))
    run, _ = await waiting([refund()], END)
    [old] = await requests(run)
    deploy(agent(tool("refund", cents=True), shop.ship))
    await decide(old, "approve", reviewer)

    await decide(await asked(run), "approve", reviewer)
    await until(lambda: len(pending(run)) == 1, "the new request")
    [new] = await requests(run)

    assert (new.call_key, new.revision) == ("r1", 2)
    assert new.digest != old.digest
    assert effects == []
    await decide(new, "approve", reviewer)
    run = await until_status(run, RunStatus.COMPLETED)
    assert effects == ["refund 1 5.0"]
    assert await statuses(run) == [
        ("/code", 1, "approved"),
        ("r1", 1, "superseded"),
        ("r1", 2, "approved"),
    ]
    assert "cents" in run.definition


async def test_a_pending_call_that_changed_is_put_to_people_anew(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(agent(*OLD))
    run, _ = await waiting([refund()], END)
    deploy(agent(tool("refund", cents=True), shop.ship))
    await look(run)

    await decide(await asked(run), "approve", reviewer)
    await until(lambda: pending(run) and pending(run)[0].revision == 2, "the new one")

    assert await statuses(run) == [
        ("/code", 1, "approved"),
        ("r1", 1, "superseded"),
        ("r1", 2, "pending"),
    ]


async def test_a_call_that_did_not_change_keeps_its_approval(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(agent(*OLD))
    run, _ = await waiting([refund()], END)
    [approval] = await requests(run)
    deploy(agent(*OLD, shop.look_up))

    await decide(approval, "approve", reviewer)
    await decide(await asked(run), "approve", reviewer)
    run = await until_status(run, RunStatus.COMPLETED)

    assert effects == ["refund 1 5"]
    assert await statuses(run) == [("/code", 1, "approved"), ("r1", 1, "approved")]


async def test_arguments_that_fit_no_more_are_the_models_to_hear_of(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    @function_tool(name_override="refund", needs_approval=True)
    async def by_reason(order_id: str, reason: str) -> str:
        raise AssertionError("It must not run.")

    deploy(agent(*OLD))
    run, model = await waiting([refund()], END)
    deploy(agent(by_reason, shop.ship))
    await look(run)
    await decide(await asked(run), "approve", reviewer)
    await until(lambda: pending(run) and pending(run)[0].revision == 2, "the new one")
    [request] = await requests(run)
    await decide(request, "approve", reviewer)
    await until_status(run, RunStatus.COMPLETED)

    assert "reason" in model.last_call.input[-1]["output"]  # type: ignore[union-attr]
    assert effects == []


async def test_a_call_of_a_removed_tool_ends_and_the_model_is_told(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(agent(*OLD))
    run, model = await waiting([refund()], END)
    [approval] = await requests(run)
    deploy(agent(shop.ship))
    await decide(approval, "approve", reviewer)

    request = await asked(run)
    assert told(request) == [("Shop", "Tool refund", "always asks a person", "gone")]
    await decide(request, "approve", reviewer)
    await until_status(run, RunStatus.COMPLETED)

    output = model.last_call.input[-1]["output"]  # type: ignore[union-attr]
    assert output == "There is no tool named 'refund'. The tools are: ship."
    assert await statuses(run) == [("/code", 1, "approved"), ("r1", 1, "superseded")]
    assert effects == []


async def test_a_tool_that_became_gated_is_asked_about(
    doomed: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    """The worker died between the model's answer and the call, which nobody gated."""
    deploy(agent(tool("refund", needs_approval=False), tool("pay")))
    run = await stopped_before_claims(doomed, [refund(), pay()])
    deploy(agent(tool("refund"), tool("pay")))

    runner = Executor(concurrency=5)
    await runner.start()
    request = await asked(run)
    assert told(request) == [
        ("Shop", "Tool refund", "runs without asking", "always asks a person")
    ]
    await decide(request, "approve", reviewer)
    await until(lambda: len(pending(run)) == 2, "both requests")
    await until_status(run, RunStatus.WAITING)

    assert effects == []
    for one in await requests(run):
        await decide(one, "approve", reviewer)
    await until_status(run, RunStatus.COMPLETED)
    await runner.stop(grace_s=5)
    assert sorted(effects) == ["pay 1 5", "refund 1 5"]


async def test_a_tool_that_asks_by_a_new_rule_is_asked_about(
    doomed: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(agent(tool("refund", needs_approval=False), tool("pay")))
    run = await stopped_before_claims(doomed, [refund(), pay()])

    def rule(*_: Any) -> bool:
        return False

    deploy(agent(tool("refund", needs_approval=rule), tool("pay")))
    runner = Executor(concurrency=5)
    await runner.start()
    await decide(await asked(run), "approve", reviewer)
    await until(lambda: len(pending(run)) == 2, "both requests")
    await runner.stop(grace_s=5)

    assert effects == []


async def test_a_call_put_to_people_stays_theirs_when_its_tool_asks_no_more(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(agent(*OLD))
    run, _ = await waiting([refund()], END)
    deploy(agent(tool("refund", needs_approval=False), shop.ship))
    await look(run)

    request = await asked(run)
    assert request.risk == "high"
    await decide(request, "approve", reviewer)
    await until(lambda: len(pending(run)) == 1, "the rest")
    await until_status(run, RunStatus.WAITING)

    assert effects == []
    [approval] = await requests(run)
    await decide(approval, "approve", reviewer)
    await until_status(run, RunStatus.COMPLETED)
    assert effects == ["refund 1 5"]


async def test_to_reject_ends_the_run_and_leaves_its_conversation_usable(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(agent(*OLD))
    run, _ = await waiting([refund()], END)
    [approval] = await requests(run)
    deploy(agent(shop.ship))
    await decide(approval, "approve", reviewer)

    await decide(await asked(run), "reject", reviewer, reason="Too much has changed.")
    run = await until_status(run, RunStatus.FAILED)

    assert run.error == (
        "ada ended the run: it does not go on under changed code. "
        "Reason: Too much has changed."
    )
    assert effects == []
    script(END)
    following = await sync_to_async(services.send_message)(
        run.conversation_id, "Again?", by=None
    )
    await until_status(following, RunStatus.COMPLETED)


async def test_nothing_is_logged_after_the_end_of_a_run_that_may_not_go_on(
    executor: Executor, deploy: Deploy, reviewer: User
) -> None:
    deploy(agent(*OLD))
    run, _ = await waiting([refund()], END)
    deploy(agent(shop.ship))
    await look(run)

    await decide(await asked(run), "reject", reviewer)

    last = await run.events.order_by("seq").alast()
    assert last is not None
    assert (last.kind, last.data["status"]) == (EventKind.STATUS, RunStatus.FAILED)


async def test_a_resumed_run_is_asked_about_again(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(agent(*OLD))
    run, _ = await waiting([refund()], END)
    deploy(agent(*OLD, shop.look_up))
    await look(run)
    first = await asked(run)
    await decide(first, "reject", reviewer)
    await until_status(run, RunStatus.FAILED)

    await sync_to_async(services.resume_run)(run.pk, by=None)
    second = await asked(run)

    assert second.digest == first.digest
    await decide(second, "approve", reviewer)
    await until(lambda: len(pending(run)) == 1, "the rest")
    [approval] = await requests(run)
    await decide(approval, "approve", reviewer)
    await until_status(run, RunStatus.COMPLETED)
    assert effects == ["refund 1 5"]


async def test_a_second_change_replaces_the_question(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(agent(*OLD))
    run, _ = await waiting([refund()], END)
    deploy(agent(*OLD, shop.look_up))
    await look(run)
    first = await asked(run)
    deploy(agent(tool("refund", cents=True), shop.ship))

    # The go-ahead is for a change that is no more: it lets nothing go on.
    await decide(first, "approve", reviewer)
    second = await asked(run)

    assert told(second) == [SCHEMA]
    assert (second.revision, second.digest != first.digest) == (2, True)
    assert effects == []


async def test_new_workers_look_at_the_runs_that_wait_for_a_go_ahead(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(agent(*OLD))
    run, _ = await waiting([refund()], END)
    deploy(agent(*OLD, shop.look_up))
    await look(run)
    first = await asked(run)
    deploy(agent(tool("refund", cents=True), shop.ship))

    other = Executor(concurrency=5)
    await other.start()
    await until(lambda: [r for r in pending(run) if r.revision == 2], "the second")
    await other.stop(grace_s=5)

    await first.arefresh_from_db()
    assert first.status == RequestStatus.SUPERSEDED
    assert told(await asked(run)) == [SCHEMA]


async def test_a_run_that_is_stopped_meanwhile_closes_the_question(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(agent(*OLD))
    run, _ = await waiting([refund()], END)
    deploy(agent(shop.ship))
    await look(run)
    request = await asked(run)

    await sync_to_async(services.stop_run)(run.pk, by=None)
    await until_status(run, RunStatus.CANCELLED)

    await request.arefresh_from_db()
    assert request.status == RequestStatus.CANCELLED


# Who decides


async def test_the_question_is_decided_like_any_other(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    bob = await sync_to_async(make_user)("bob", "operators", "reviewers")
    deploy(agent(*OLD))
    script([refund()], END)
    run = await until_status(await begin(requester=bob), RunStatus.WAITING)
    deploy(agent(*OLD, shop.look_up))
    await look(run)
    request = await asked(run)

    with pytest.raises(NotAllowed, match="You started this run"):
        await decide(request, "approve", bob)
    with pytest.raises(InvalidDecision, match="Each change of the code"):
        await decide(request, "approve", reviewer, always=True)
    with pytest.raises(InvalidDecision, match="Only a call can be answered"):
        await decide(request, "answer", reviewer, output="yes")
    await decide(request, "approve", reviewer)

    assert await sync_to_async(_decided)(request) == ("approve", "ada")
    audited = [
        codec.loads(text)["kind"]
        async for text in AuditEntry.objects.filter(
            object_id=request.pk, action="request"
        ).values_list("payload", flat=True)
    ]
    assert audited == ["upgrade"]


def _decided(request: ApprovalRequest) -> tuple[str, str]:
    decision = Decision.objects.get(request=request)
    return decision.verdict, decision.actor_name


async def test_a_standing_rule_does_not_cover_a_changed_tool(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(agent(*OLD))
    run, _ = await waiting([refund()], [refund("2", "r2"), refund("3", "r3")], END)
    [first] = await requests(run)
    effects.hold("refund")
    await decide(first, "approve", reviewer, always=True)
    await until(lambda: effects == ["refund 1 5"], "the first refund")
    deploy(agent(tool("refund", cents=True), shop.ship))
    await crash(executor)
    effects.release.clear()

    other = Executor(concurrency=5)
    await other.start()
    await until(lambda: [r for r in pending(run) if r.kind == Kind.UPGRADE], "it")
    await other.stop(grace_s=5)

    assert effects == ["refund 1 5"]


# Renames


async def test_a_declared_rename_runs_under_the_approval_it_has(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(agent(*OLD))
    run, _ = await waiting([refund()], END)
    [approval] = await requests(run)
    deploy(agent(tool("pay_back"), shop.ship), {"tools": {"refund": "pay_back"}})

    await decide(approval, "approve", reviewer)
    await until_status(run, RunStatus.COMPLETED)

    assert effects == ["pay_back 1 5"]
    assert await statuses(run) == [("r1", 1, "approved")]


async def test_a_rename_that_changes_the_schema_too_is_asked_about(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(agent(*OLD))
    run, _ = await waiting([refund()], END)
    [approval] = await requests(run)
    renames = {"tools": {"refund": "pay_back"}}
    deploy(agent(tool("pay_back", cents=True), shop.ship), renames)

    await decide(approval, "approve", reviewer)
    request = await asked(run)
    assert told(request) == [("Shop", "Tool pay_back: parameters", *SCHEMA[2:])]
    await decide(request, "approve", reviewer)
    await until(lambda: pending(run) and pending(run)[0].revision == 2, "the new one")

    assert effects == []
    [new] = await requests(run)
    await decide(new, "approve", reviewer)
    await until_status(run, RunStatus.COMPLETED)
    assert effects == ["pay_back 1 5.0"]


async def test_a_rename_nobody_declared_is_a_tool_that_is_gone(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(agent(*OLD))
    run, _ = await waiting([refund()], END)
    [approval] = await requests(run)
    deploy(agent(tool("pay_back"), shop.ship))

    await decide(approval, "approve", reviewer)
    request = await asked(run)
    assert told(request) == [
        ("Shop", "Tool refund", "always asks a person", "gone"),
        ("Shop", "Tool pay_back", "not there", "new, always asks a person"),
    ]
    await decide(request, "approve", reviewer)
    await until_status(run, RunStatus.COMPLETED)
    assert effects == []


async def test_a_rename_says_nothing_of_a_name_in_use_again(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(agent(tool("refund"), tool("pay_back")))
    renames = {"tools": {"refund": "pay_back"}}
    deploy(agent(tool("refund"), tool("pay_back")), renames)
    run, _ = await waiting([refund()], END)

    [approval] = await requests(run)
    await decide(approval, "approve", reviewer)
    await until_status(run, RunStatus.COMPLETED)

    assert effects == ["refund 1 5"]


async def test_a_renamed_agent_goes_on_where_that_is_declared(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(agent(*OLD))
    run, _ = await waiting([refund()], END)
    [approval] = await requests(run)
    deploy(agent(*OLD, name="Store"), {"agents": {"Shop": "Store"}})

    await decide(approval, "approve", reviewer)
    await until_status(run, RunStatus.COMPLETED)

    assert effects == ["refund 1 5"]
    assert await statuses(run) == [("r1", 1, "approved")]


async def test_a_renamed_agent_is_asked_about_where_it_is_not(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(agent(*OLD))
    run, _ = await waiting([refund()], END)
    [approval] = await requests(run)
    deploy(agent(*OLD, name="Store"))

    await decide(approval, "approve", reviewer)
    request = await asked(run)
    assert told(request) == [("Store", "Name of the agent", "Shop", "Store")]
    await decide(request, "approve", reviewer)
    await until_status(run, RunStatus.COMPLETED)

    assert effects == ["refund 1 5"]


# Agents inside agents


def desk(*tools: Any, clerk: str = "Clerk") -> Agent[Any]:
    inner = shop.agent(clerk, list(tools))
    inner.instructions = "Clerk"
    return shop.agent("Desk", [inner.as_tool("delegate", "Let the clerk do it.")])


async def nested_run(*then: Any) -> Run:
    clerk = ScriptedModel(steps=[[refund()], END])
    delegate = function_call("delegate", {"input": "do it"}, call_id="d1")
    outer = ScriptedModel(steps=[[delegate], *(then or [END])])
    shop.use(shop.Cast({"Desk": outer, "Clerk": clerk}))
    return await until_status(await begin(), RunStatus.WAITING)


async def test_the_tool_of_an_agent_inside_is_checked_too(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(desk(*OLD))
    run = await nested_run()
    [approval] = await requests(run)
    deploy(desk(tool("refund", cents=True), shop.ship))

    await decide(approval, "approve", reviewer)
    request = await asked(run)
    assert told(request) == [("Clerk", *SCHEMA[1:])]
    await decide(request, "approve", reviewer)
    await until(lambda: pending(run) and pending(run)[0].revision == 2, "the new one")
    [new] = await requests(run)
    assert (new.call_key, effects) == ("d1/r1", [])
    await decide(new, "approve", reviewer)
    await until_status(run, RunStatus.COMPLETED)
    assert effects == ["refund 1 5.0"]


async def test_what_waits_inside_an_agent_that_is_gone_is_closed(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(desk(*OLD))
    run = await nested_run()
    [approval] = await requests(run)
    deploy(shop.agent("Desk", [shop.ship]))

    await decide(approval, "approve", reviewer)
    await decide(await asked(run), "approve", reviewer)
    await until_status(run, RunStatus.COMPLETED)

    assert effects == []
    assert await statuses(run) == [("/code", 1, "approved"), ("d1/r1", 1, "superseded")]


async def test_a_declared_rename_of_an_agent_inside_is_no_difference(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(desk(*OLD))
    run = await nested_run()
    [approval] = await requests(run)
    deploy(desk(*OLD, clerk="Helper"), {"agents": {"Clerk": "Helper"}})

    await decide(approval, "approve", reviewer)
    await until_status(run, RunStatus.COMPLETED)

    assert effects == ["refund 1 5"]
    assert await statuses(run) == [("d1/r1", 1, "approved")]


# Calls that had started


@pytest.mark.parametrize("now", ["changed", "gone"])
async def test_a_call_in_doubt_is_still_asked_about_under_new_code(
    executor: Executor,
    effects: shop.Effects,
    deploy: Deploy,
    reviewer: User,
    now: str,
) -> None:
    deploy(agent(*OLD))
    run, model = await waiting([refund()], END)
    [approval] = await requests(run)
    effects.hold("refund")
    await decide(approval, "approve", reviewer)
    await until(lambda: effects == ["refund 1 5"], "the refund")
    await crash(executor)
    tools = [shop.ship] if now == "gone" else [tool("refund", cents=True), shop.ship]
    deploy(agent(*tools))

    other = Executor(concurrency=5)
    await other.start()
    await decide(await asked(run), "approve", reviewer)
    await until(lambda: [r for r in pending(run) if r.kind == Kind.RECONCILE], "it")
    await until_status(run, RunStatus.WAITING)
    [doubt] = await requests(run, Kind.RECONCILE)
    assert len(model.calls) == 1
    await decide(doubt, "answer", reviewer, output="It went through.")
    await until_status(run, RunStatus.COMPLETED)
    await other.stop(grace_s=5)

    assert "It went through." in model.last_call.input[-1]["output"]  # type: ignore[union-attr]
    assert effects == ["refund 1 5"]


async def test_a_call_in_doubt_is_not_run_again_by_another_tool(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(agent(*OLD))
    run, model = await waiting([refund()], END)
    [approval] = await requests(run)
    effects.hold("refund")
    await decide(approval, "approve", reviewer)
    await until(lambda: effects == ["refund 1 5"], "the refund")
    await crash(executor)
    idempotent = Review(idempotent=True)
    deploy(agent(tool("refund", cents=True, review=idempotent), shop.ship))

    other = Executor(concurrency=5)
    await other.start()
    await decide(await asked(run), "approve", reviewer)
    await until(lambda: [r for r in pending(run) if r.kind == Kind.RECONCILE], "it")
    [doubt] = await requests(run, Kind.RECONCILE)
    await decide(doubt, "approve", reviewer)
    await until_status(run, RunStatus.COMPLETED)
    await other.stop(grace_s=5)

    output = model.last_call.input[-1]["output"]  # type: ignore[union-attr]
    assert output == "refund has changed since it was called; call it again."
    assert effects == ["refund 1 5"]
    execution = await ToolExecution.objects.aget(run=run)
    assert execution.status == ToolExecution.Status.UNKNOWN


async def test_what_started_inside_an_agent_that_is_gone_is_known_to_be_unknown(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(desk(*OLD))
    run = await nested_run([refund("2", "r2")])
    [approval] = await requests(run)
    effects.hold("refund")
    await decide(approval, "approve", reviewer)
    await until(lambda: effects == ["refund 1 5"], "the refund")
    await crash(executor)
    deploy(shop.agent("Desk", OLD))

    other = Executor(concurrency=5)
    await other.start()
    await decide(await asked(run), "approve", reviewer)
    await until(lambda: [r for r in pending(run) if r.call_key == "r2"], "the rest")
    await other.stop(grace_s=5)

    execution = await ToolExecution.objects.aget(run=run)
    assert execution.status == ToolExecution.Status.UNKNOWN
    assert effects == ["refund 1 5"]


async def test_a_go_ahead_just_before_the_parking_is_not_lost(
    transactional_db: None,
    effects: shop.Effects,
    deploy: Deploy,
    reviewer: User,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the sweeper: the run is looked at again only because it is woken."""
    settings.PLACET_SWEEP_EVERY = timedelta(hours=1)
    unswept = Executor(concurrency=5)
    await unswept.start()
    park = leases.park

    def decided_before(lease: leases.Lease) -> bool:
        for request in ApprovalRequest.objects.filter(
            kind=Kind.UPGRADE, status=RequestStatus.PENDING
        ):
            say("approve", request, reviewer)
        return park(lease)

    deploy(agent(*OLD))
    run, _ = await waiting([refund()], END)
    [approval] = await requests(run)
    deploy(agent(*OLD, shop.look_up))
    monkeypatch.setattr(leases, "park", decided_before)

    await decide(approval, "approve", reviewer)
    await until_status(run, RunStatus.COMPLETED)
    await unswept.stop(grace_s=5)

    assert effects == ["refund 1 5"]


# What is seen


async def test_the_runs_page_has_a_block_of_its_own_for_each_question(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(agent(*OLD))
    run, _ = await waiting([refund()], END)
    deploy(agent(*OLD, shop.look_up))
    await look(run)
    first = await asked(run)
    await decide(first, "approve", reviewer)
    await until(lambda: len(pending(run)) == 1, "the rest")
    deploy(agent(tool("refund", cents=True), shop.ship))
    await look(run)
    second = await asked(run)

    blocks = [
        (block.call.request_id, block.call.state, block.depth)
        for block in await sync_to_async(timeline)(run)
        if block.kind == BlockKind.UPGRADE and block.call is not None
    ]
    assert blocks == [(str(first.pk), "approved", 0), (str(second.pk), "pending", 0)]


def pay() -> Any:
    arguments = {"order_id": "1", "amount_eur": 5}
    return function_call("pay", arguments, call_id="p1")


@pytest.fixture
async def doomed(transactional_db: None) -> AsyncIterator[Executor]:
    """A runner that a test starts and kills; what it held open is closed at the end."""
    runner = Executor(concurrency=5)
    yield runner
    await runner.stop(grace_s=5)


async def stopped_before_claims(runner: Executor, calls: list[Any]) -> Run:
    """Return a run whose worker died once it had stored the model's answer."""
    script(calls, END)
    run = await begin()

    def dies(*_: Any) -> Any:
        raise LeaseLost("It died here.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "claim_call", dies)
        await runner.start()
        await until(lambda: pending(run), "the answer")
        await crash(runner)
    return run


# Handing over


def handing(*ways: Agent[Any], **options: Any) -> Agent[Any]:
    return agent(tool("refund"), handoffs=list(ways), **options)


async def about_to_hand_over(to: str) -> tuple[Run, ScriptedModel]:
    """Return a run that waits in a refund and hands over once it is settled."""
    way = function_call(f"transfer_to_{to}", {}, call_id="h1")
    return await waiting([refund(), way], END)


async def test_a_handoff_that_is_gone_ends_as_any_call_does(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(handing(shop.agent("Ops", [])))
    run, model = await about_to_hand_over("ops")
    [approval] = await requests(run)
    deploy(handing())

    await decide(approval, "approve", reviewer)
    await decide(await asked(run), "approve", reviewer)
    await until_status(run, RunStatus.COMPLETED)

    outputs = [item.get("output") for item in model.last_call.input]  # type: ignore[union-attr]
    gone = "There is no tool named 'transfer_to_ops'. The tools are: refund."
    assert outputs[-2:] == ["done", gone] or outputs[-2:] == [gone, "done"]
    assert effects == ["refund 1 5"]


async def test_a_handoff_to_a_renamed_agent_still_leads_there(
    executor: Executor, effects: shop.Effects, deploy: Deploy, reviewer: User
) -> None:
    deploy(handing(shop.agent("Ops", [])))
    run, _ = await about_to_hand_over("ops")
    [approval] = await requests(run)
    deploy(handing(shop.agent("Works", [])), {"agents": {"Ops": "Works"}})

    await decide(approval, "approve", reviewer)
    run = await until_status(run, RunStatus.COMPLETED)

    assert codec.loads(run.head)["current_agent"] == "Works"
    assert await statuses(run) == [("r1", 1, "approved")]


def test_renames_are_of_agents_and_tools() -> None:
    with pytest.raises(ValueError, match="renames has tool; it takes"):
        registry.register(agent(), key="new", renames={"tool": {"a": "b"}})
