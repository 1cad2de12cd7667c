"""Handoffs, guardrails, hosted servers and turn limits, on executor and database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction
from openai.types.responses.response_output_item import McpApprovalRequest, McpCall

from approvals.models import ApprovalRequest
from runs import registry, services
from runs.engine import (
    Agent,
    GuardrailFunctionOutput,
    HostedMCPTool,
    function_tool,
    handoff,
    input_guardrail,
    output_guardrail,
    remove_all_tools,
)
from runs.engine.testing import assistant_message, function_call
from runs.executor import Executor
from runs.models import EventKind, Run, RunStatus
from runs.registry import RegisteredAgent
from runs.timeline import CallState, timeline
from tests.factories import start, until, until_status
from tests.shop import agents as shop

from .test_executor import END, decide_all, open_requests, refund, script
from .test_executor import ship as ship_call
from .test_nested import cast, restarted, told, until_completed, until_waiting, words

pytestmark = pytest.mark.django_db(transaction=True)

Play = Callable[[Agent[Any]], None]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    """Return a function that lets an agent stand under the shop's key."""

    def stand_in(agent: Agent[Any]) -> None:
        registry.all_agents()
        entry = RegisteredAgent(
            key="shop", agent=agent, title=agent.name, description=""
        )
        monkeypatch.setitem(registry._agents, "shop", entry)

    return stand_in


async def begin(text: str = "go") -> Run:
    return await sync_to_async(start)(text)


async def until_failed(run: Run) -> Run:
    run = await until_status(
        run, RunStatus.FAILED, RunStatus.COMPLETED, RunStatus.CANCELLED
    )
    assert run.status == RunStatus.FAILED
    return run


async def kinds(run: Run) -> list[str]:
    return [event.kind async for event in run.events.order_by("seq")]


# Handoffs


def transfer() -> Any:
    return function_call("transfer_to_cashier", {}, call_id="h1")


def desk(**options: Any) -> Agent[Any]:
    """A desk that ships, and hands over to a cashier, who refunds."""
    cashier = shop.agent("Cashier", [shop.refund])
    return shop.agent("Desk", [shop.ship], handoffs=[handoff(cashier, **options)])


async def test_a_run_that_was_handed_over_goes_on_in_the_right_agent(
    executor: Executor, effects: shop.Effects, play: Play
) -> None:
    play(desk())
    models = cast(desk=[[transfer()]], cashier=[[refund()], words("refunded")])
    run = await until_waiting(await begin())
    [request] = await open_requests(run)

    assert request.agent_path == "Cashier"
    other = await restarted(executor)
    await decide_all(run)
    run = await until_completed(run)
    await other.stop()

    assert run.final_output == "refunded"
    assert effects == ["refund 1 5"]
    assert told(models["Cashier"])[:2] == ["go", "transfer_to_cashier"]


async def test_what_a_handoffs_filter_let_through_is_read_after_a_restart(
    executor: Executor, effects: shop.Effects, play: Play
) -> None:
    play(desk(input_filter=remove_all_tools))
    models = cast(
        desk=[[ship_call()], [transfer()]],
        cashier=[[refund()], words("refunded")],
    )
    run = await until_waiting(await begin())
    before = told(models["Cashier"])

    other = await restarted(executor)
    await decide_all(run)
    await until_completed(run)
    await other.stop()

    assert before == ["go"]
    assert told(models["Cashier"]) == ["go", "refund", "Refunded 5 EUR to order 1."]
    assert EventKind.VIEW in await kinds(run)


async def test_the_next_run_reads_what_the_last_agent_read(
    executor: Executor, effects: shop.Effects, play: Play
) -> None:
    play(desk(input_filter=remove_all_tools))
    models = cast(
        desk=[[ship_call()], [transfer()], words("hello again")],
        cashier=[[refund()], words("refunded")],
    )
    run = await until_waiting(await begin())
    await decide_all(run)
    await until_completed(run)

    following = await sync_to_async(services.send_message)(
        run.conversation_id, "And now?", by=None
    )
    await until_completed(following)

    assert told(models["Desk"]) == [
        "go",
        "refund",
        "Refunded 5 EUR to order 1.",
        "refunded",
        "And now?",
    ]


async def test_the_page_says_who_was_handed_over_to(
    executor: Executor, effects: shop.Effects, play: Play
) -> None:
    play(desk())
    cast(desk=[[transfer()]], cashier=[words("here")])
    run = await until_completed(await begin())

    blocks = await sync_to_async(timeline)(run)

    [call] = [block.call for block in blocks if block.call]
    assert (call.handed_to, call.state) == ("Cashier", CallState.SUCCEEDED)


async def test_a_rule_of_one_agent_does_not_cover_the_one_handed_over_to(
    executor: Executor, effects: shop.Effects, play: Play
) -> None:
    cashier = shop.agent("Cashier", [shop.refund])
    play(shop.agent("Desk", [shop.refund], handoffs=[cashier]))
    cast(desk=[[refund()], [transfer()]], cashier=[[refund("2", "r2")]])
    run = await until_waiting(await begin())

    await decide_all(run, always=True)
    await until_status(run, RunStatus.RUNNING, RunStatus.QUEUED, RunStatus.WAITING)
    run = await until_waiting(run)

    assert [request.call_key for request in await open_requests(run)] == ["r2"]
    assert effects == ["refund 1 5"]


# Outputs in the order of their calls


async def test_the_order_in_which_outputs_were_read_outlives_a_restart(
    executor: Executor, effects: shop.Effects
) -> None:
    release = effects.hold("ship")
    quick = function_call("look_up", {"order_id": "2"}, call_id="l1")
    model = script([ship_call(), quick], [refund()], END, words("again"))
    run = await begin()
    quick_rows = run.events.filter(kind=EventKind.ITEM, call_key="l1")
    await until(lambda: quick_rows.count() == 2, "the quick one's output")
    release.set()
    run = await until_waiting(run)
    assert EventKind.ORDER in await kinds(run)

    other = await restarted(executor)
    await decide_all(run)
    await until_completed(run)
    outputs = ["Order 1 is on its way.", "Order 2: one lamp."]
    assert told(model)[3:5] == outputs
    following = await sync_to_async(services.send_message)(
        run.conversation_id, "And now?", by=None
    )
    await until_completed(following)
    await other.stop()

    assert told(model)[3:5] == outputs


# Guardrails


@input_guardrail
def no_swearing(context: Any, agent: Any, given: Any) -> GuardrailFunctionOutput:
    return GuardrailFunctionOutput({"words": 1}, "damn" in str(given))


@output_guardrail
def no_secrets(context: Any, agent: Any, output: Any) -> GuardrailFunctionOutput:
    return GuardrailFunctionOutput(None, "secret" in str(output))


async def test_an_input_guardrail_fails_the_run_and_says_so(
    executor: Executor, effects: shop.Effects, play: Play
) -> None:
    play(shop.agent("Shop", [shop.ship], input_guardrails=[no_swearing]))
    cast(shop=[END])

    run = await until_failed(await begin("damn"))

    assert run.error == "The input guardrail no_swearing stopped the run."
    assert EventKind.GUARDRAIL in await kinds(run)
    assert not await ApprovalRequest.objects.aexists()


async def test_an_output_guardrail_fails_the_run_and_says_so(
    executor: Executor, effects: shop.Effects, play: Play
) -> None:
    play(shop.agent("Shop", [], output_guardrails=[no_secrets]))
    cast(shop=[words("a secret")])

    run = await until_failed(await begin())

    assert run.error == "The output guardrail no_secrets stopped the run."
    assert run.final_output == ""


async def test_a_tool_output_that_a_guardrail_blocked_is_not_read_by_the_next_run(
    executor: Executor, effects: shop.Effects, play: Play
) -> None:
    @function_tool
    def peek() -> str:
        return "a secret"

    agent = shop.agent(
        "Shop",
        [peek],
        output_guardrails=[no_secrets],
        tool_use_behavior="stop_on_first_tool",
    )
    play(agent)
    models = cast(shop=[[function_call("peek", {}, call_id="p1")], END])
    run = await until_failed(await begin())

    following = await sync_to_async(services.send_message)(
        run.conversation_id, "And now?", by=None
    )
    await until_completed(following)

    assert "a secret" not in str(told(models["Shop"]))
    assert "peek" in told(models["Shop"])


async def test_what_a_guardrail_said_before_a_pause_is_known_after_it(
    executor: Executor, effects: shop.Effects, play: Play
) -> None:
    play(shop.agent("Shop", [shop.refund], input_guardrails=[no_swearing]))
    models = cast(shop=[[refund()], END])
    run = await until_waiting(await begin())

    other = await restarted(executor)
    await decide_all(run)
    await until_completed(run)
    await other.stop()

    assert len(models["Shop"].calls) == 2
    assert (await kinds(run)).count(EventKind.GUARDRAIL) == 1


# Servers that the model's server calls


def hosted() -> HostedMCPTool:
    return HostedMCPTool(
        tool_config={
            "type": "mcp",
            "server_label": "wiki",
            "server_url": "https://wiki.example/mcp",
            "require_approval": "always",
        }
    )


def asks(call_id: str = "mcpr_1", page: str = "Home") -> McpApprovalRequest:
    return McpApprovalRequest(
        id=call_id,
        type="mcp_approval_request",
        server_label="wiki",
        name="delete_page",
        arguments=f'{{"page": "{page}"}}',
    )


async def test_a_hosted_servers_call_is_a_request_and_the_answer_reaches_the_model(
    executor: Executor, effects: shop.Effects, play: Play
) -> None:
    play(shop.agent("Shop", [hosted()]))
    deleted = McpCall(
        id="mcp_1",
        type="mcp_call",
        server_label="wiki",
        name="delete_page",
        arguments='{"page": "Home"}',
        output="deleted",
    )
    models = cast(shop=[[asks()], [deleted, assistant_message("gone")]])
    run = await until_waiting(await begin())
    [request] = await open_requests(run)

    assert (request.tool, request.agent_path) == ("delete_page", "Shop / wiki")
    assert request.arguments == '{"page": "Home"}'
    other = await restarted(executor)
    await decide_all(run)
    run = await until_completed(run)
    await other.stop()

    last = models["Shop"].last_call
    assert last is not None
    assert last.input[-1] == {
        "type": "mcp_approval_response",
        "approval_request_id": "mcpr_1",
        "approve": True,
    }
    calls = [block.call for block in await sync_to_async(timeline)(run) if block.call]
    assert [(call.tool, call.state, call.output) for call in calls] == [
        ("delete_page", CallState.SUCCEEDED, "The model's server may call it."),
        ("delete_page", CallState.SUCCEEDED, "deleted"),
    ]


async def test_a_hosted_servers_call_that_is_rejected_is_told_with_the_reason(
    executor: Executor, effects: shop.Effects, play: Play
) -> None:
    play(shop.agent("Shop", [hosted()]))
    models = cast(shop=[[asks()], END])
    run = await until_waiting(await begin())

    await decide_all(run, "reject", reason="We need it.")
    await until_completed(run)

    last = models["Shop"].last_call
    assert last is not None
    assert last.input[-1]["approve"] is False
    assert "We need it." in last.input[-1]["reason"]


async def test_a_hosted_servers_open_question_is_answered_for_the_next_run(
    executor: Executor, effects: shop.Effects, play: Play
) -> None:
    play(shop.agent("Shop", [hosted()]))
    models = cast(shop=[[asks()], END])
    run = await until_waiting(await begin())
    await sync_to_async(services.stop_run)(run.pk, by=None)

    following = await sync_to_async(services.send_message)(
        run.conversation_id, "And now?", by=None
    )
    await until_completed(following)

    last = models["Shop"].last_call
    assert last is not None
    answer = last.input[2]
    assert (answer["type"], answer["approve"]) == ("mcp_approval_response", False)


# Turns


async def test_a_handed_over_run_that_used_its_turns_is_resumed_with_more(
    executor: Executor, effects: shop.Effects, play: Play
) -> None:
    play(desk())
    models = cast(desk=[[transfer()]], cashier=[[refund()], words("refunded")])

    @sync_to_async
    @transaction.atomic
    def begin_with_one_turn() -> Run:
        run = start()
        Run.objects.filter(pk=run.pk).update(max_turns=1)
        return run

    run = await until_failed(await begin_with_one_turn())
    assert "1 turns" in run.error
    await sync_to_async(services.resume_run)(run.pk, by=None)
    await until_waiting(run)
    await decide_all(run)
    run = await until_completed(run)

    assert run.final_output == "refunded"
    assert len(models["Desk"].calls) == 1
