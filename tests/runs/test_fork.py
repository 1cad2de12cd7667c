"""Forks: a new run from a step of another, driven to its end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from approvals.models import ApprovalRequest, AuditEntry, Decision
from runs import registry, services
from runs.engine import Agent, handoff, remove_all_tools
from runs.engine.testing import function_call
from runs.executor import Executor
from runs.models import EventKind, Run, RunStatus
from runs.registry import RegisteredAgent
from runs.services.prune import prune_states
from tests.factories import make_user
from tests.shop import agents as shop

from .test_executor import (
    END,
    begin,
    decide_all,
    open_requests,
    refund,
    script,
    ship,
)
from .test_nested import begin as begin_nested
from .test_nested import (
    cast,
    delegate,
    told,
    until_completed,
    until_waiting,
    words,
)

pytestmark = pytest.mark.django_db(transaction=True)

Play = Callable[[Agent[Any]], None]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    def stand_in(agent: Agent[Any]) -> None:
        registry.all_agents()
        entry = RegisteredAgent(
            key="shop", agent=agent, title=agent.name, description=""
        )
        monkeypatch.setitem(registry._agents, "shop", entry)

    return stand_in


@sync_to_async
def fork(run: Run, seq: int, text: str = "", name: str = "olga") -> Run:
    return services.fork_run(run.pk, seq, by=make_user(name, "operators"), text=text)


@sync_to_async
def seq_of(run: Run, kind: str, nth: int = 0) -> int:
    """Return the seq of the run's nth item of that kind, at any depth."""
    items = run.events.filter(kind=EventKind.ITEM).order_by("seq")
    return [row.seq for row in items if row.data["type"] == kind][nth]


@sync_to_async
def rows_of(run: Run) -> list[Any]:
    """Return all that is stored of a run, to see that nothing of it changes."""
    row = Run.objects.filter(pk=run.pk).values().get()
    events = list(run.events.order_by("seq").values())
    requests = list(ApprovalRequest.objects.filter(run=run).order_by("pk").values())
    return [row, events, requests, list(run.executions.values())]


async def test_a_fork_goes_on_from_a_step_and_leaves_the_other_run_as_it_is(
    executor: Executor, effects: shop.Effects
) -> None:
    model = script([ship()], [refund()], END, words("forked"))
    run = await until_waiting(await begin())
    await decide_all(run)
    run = await until_completed(run)
    before = await rows_of(run)

    forked = await until_completed(await fork(run, await seq_of(run, "tool_output")))

    assert forked.final_output == "forked"
    assert told(model) == ["go", "ship", "Order 1 is on its way."]
    assert effects == ["ship 1", "refund 1 5"]
    assert (forked.parent_id, forked.conversation_id == run.conversation_id) == (
        run.pk,
        False,
    )
    assert await rows_of(run) == before


async def test_a_fork_asks_anew_for_what_was_approved_in_the_other_run(
    executor: Executor, effects: shop.Effects
) -> None:
    script([ship()], [refund()], END, [refund()], END)
    run = await until_waiting(await begin())
    await decide_all(run)
    run = await until_completed(run)

    forked = await until_waiting(await fork(run, await seq_of(run, "tool_output")))

    [request] = await open_requests(forked)
    assert (request.call_key, request.revision, request.votes) == ("r1", 1, 0)
    assert await Decision.objects.filter(request__run=forked).acount() == 0
    assert effects == ["ship 1", "refund 1 5"]


async def test_an_always_of_the_other_run_says_nothing_in_a_fork(
    executor: Executor, effects: shop.Effects
) -> None:
    script([refund()], [refund(call_id="r2")], END, [refund(call_id="r2")])
    run = await until_waiting(await begin())
    await decide_all(run, always=True)
    run = await until_completed(run)
    assert effects == ["refund 1 5", "refund 1 5"]

    forked = await until_waiting(await fork(run, await seq_of(run, "tool_output")))

    assert len(await open_requests(forked)) == 1


async def test_a_waiting_run_is_forked_before_its_open_calls_which_stay_open_in_it(
    executor: Executor, effects: shop.Effects
) -> None:
    model = script([ship(), refund()], words("another way"), END)
    run = await until_waiting(await begin())
    before = await rows_of(run)

    # In the middle of calls made together: the fork begins before all of them.
    forked = await until_completed(await fork(run, await seq_of(run, "tool_output")))

    assert forked.final_output == "another way"
    assert told(model) == ["go"]
    assert await rows_of(run) == before
    await decide_all(run)
    run = await until_completed(run)
    assert effects == ["ship 1", "refund 1 5"]


async def test_a_fork_inside_an_agent_used_as_a_tool_begins_before_its_call(
    executor: Executor, effects: shop.Effects
) -> None:
    models = cast(
        manager=[[delegate()], words("first"), [delegate()], words("second")],
        clerk=[[ship()], words("shipped"), [refund()], words("refunded")],
    )
    run = await until_completed(await begin_nested())
    inner = await seq_of(run, "tool_output")  # the clerk's, of `ship`

    forked = await until_waiting(await fork(run, inner))
    assert told(models["Manager"]) == ["go"]
    await decide_all(forked)
    forked = await until_completed(forked)

    assert forked.final_output == "second"
    assert effects == ["ship 1", "refund 1 5"]


def desk(**options: Any) -> Agent[Any]:
    cashier = shop.agent("Cashier", [shop.refund])
    return shop.agent("Desk", [shop.ship], handoffs=[handoff(cashier, **options)])


def transfer() -> Any:
    return function_call("transfer_to_cashier", {}, call_id="h1")


async def test_a_fork_after_a_handoff_is_the_turn_of_the_agent_that_took_over(
    executor: Executor, effects: shop.Effects, play: Play
) -> None:
    play(desk(input_filter=remove_all_tools))
    models = cast(
        desk=[[ship()], [transfer()]],
        cashier=[[refund()], words("refunded"), words("not this time")],
    )
    run = await until_waiting(await begin())

    forked = await fork(run, await seq_of(run, "handoff_output"))
    forked = await until_completed(forked)

    # What the handoff's filter had taken away is not read in the fork either.
    assert told(models["Cashier"]) == ["go"]
    assert forked.final_output == "refunded"


async def test_the_next_message_to_a_fork_reads_all_that_the_fork_read(
    executor: Executor, effects: shop.Effects
) -> None:
    model = script([ship()], END, words("forked"), words("and on"), words("twice"))
    run = await until_completed(await begin())
    forked = await until_completed(await fork(run, await seq_of(run, "tool_output")))
    said = ["go", "ship", "Order 1 is on its way.", "forked"]

    following = await sync_to_async(services.send_message)(
        forked.conversation_id, "And now?", by=None
    )
    await until_completed(following)
    assert told(model) == [*said, "And now?"]

    again = await fork(following, await seq_of(following, "message"), "More", "otto")
    await until_completed(again)
    assert told(model) == [*said, "And now?", "and on", "More"]


async def test_a_fork_after_the_last_word_needs_something_to_go_on_with(
    executor: Executor, effects: shop.Effects
) -> None:
    script(words("done"))
    run = await until_completed(await begin())

    with pytest.raises(services.EmptyInput, match="last word"):
        await fork(run, run.last_seq)

    assert await Run.objects.acount() == 1


async def test_whoever_spoke_in_the_other_run_decides_nothing_in_its_fork(
    executor: Executor, effects: shop.Effects
) -> None:
    script([ship()], END, [refund()])
    speaker = await sync_to_async(make_user)("rosa", "reviewers", "operators")
    run = await until_completed(await begin(requester=speaker))
    forked = await until_waiting(await fork(run, await seq_of(run, "tool_output")))

    names = {user.username async for user in forked.speakers.all()}
    assert names == {"rosa", "olga"}


async def test_a_fork_is_put_down_in_its_audit_trail(
    executor: Executor, effects: shop.Effects
) -> None:
    script(words("done"), words("again"))
    run = await until_completed(await begin())
    first = await seq_of(run, "input")

    forked = await fork(run, first)

    entry = await AuditEntry.objects.aget(chain=f"run:{forked.pk}")
    assert (entry.actor, entry.action) == ("olga", "fork")
    assert str(run.pk) in entry.payload


@sync_to_async
def age(*runs: Run) -> None:
    old = timezone.now() - timedelta(days=100)
    Run.objects.filter(pk__in=[run.pk for run in runs]).update(updated_at=old)


async def test_clean_up_leaves_what_a_fork_still_reads(
    executor: Executor, effects: shop.Effects
) -> None:
    script(words("done"), words("again"))
    run = await until_completed(await begin())
    forked = await until_completed(await fork(run, await seq_of(run, "input")))
    prune = sync_to_async(prune_states)

    await age(run)
    assert await prune(timedelta(days=30)) == 0
    await age(run, forked)
    assert await prune(timedelta(days=30)) == 1  # the fork, which nobody reads
    assert await prune(timedelta(days=30)) == 1

    with pytest.raises(services.NotForkable, match="cleaned up"):
        await fork(run, run.last_seq, "x", "otto")


async def test_a_running_answer_that_guardrails_have_not_let_pass_is_not_forked(
    executor: Executor, effects: shop.Effects
) -> None:
    script([ship()], words("secret"), words("other"))
    run = await until_completed(await begin())
    await Run.objects.filter(pk=run.pk).aupdate(status=RunStatus.RUNNING)

    forked = await fork(run, run.last_seq)

    last = await seq_of(run, "tool_output")
    assert forked.fork_seq is not None
    assert last <= forked.fork_seq < await seq_of(run, "message")
