"""What an agent is made of, and how two such definitions differ."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from runs.engine import Agent, HostedMCPTool, Review, ShellTool, function_tool, handoff
from runs.engine.state.definition import (
    Difference,
    change_digest,
    definition_of,
    differences,
    living_renames,
)

from .mcp_servers import MemoryServer


def tool(name: str = "refund", *, cents: bool = False, **options: Any) -> Any:
    async def in_euros(order: str, eur: int) -> str:
        return ""

    async def in_cents(order: str, eur: float, cents: int) -> str:
        return ""

    body = in_cents if cents else in_euros
    return function_tool(body, name_override=name, **options)


def agent(*tools: Any, name: str = "Shop", **options: Any) -> Agent[Any]:
    return Agent(name=name, tools=list(tools), **options)


def changed(old: Agent[Any], new: Agent[Any], renames: Any = None) -> list[Difference]:
    """Compare as a store would: one of the two has been text."""
    before = json.loads(json.dumps(definition_of(old)))
    return differences(before, definition_of(new), renames)


def told(*args: Any) -> list[tuple[str, str, str, str]]:
    return [(d.agent, d.what, d.before, d.now) for d in changed(*args)]


def test_the_same_agent_made_again_has_the_same_definition() -> None:
    one, other = (
        agent(tool(), tool("look"), handoffs=[agent(name="Ops")]) for _ in range(2)
    )

    assert definition_of(one) == definition_of(other)
    assert json.loads(json.dumps(definition_of(one))) == definition_of(one)
    assert changed(one, other) == []


def test_every_agent_that_can_be_reached_is_part_of_it() -> None:
    ops = agent(tool("restart"), name="Ops")
    clerk = agent(tool(), name="Clerk", handoffs=[ops])
    root = agent(clerk.as_tool("delegate", "Let the clerk do it."), name="Desk")
    ops.handoffs.append(root)

    agents = definition_of(root)["agents"]

    assert list(agents) == ["Desk", "Clerk", "Ops"]
    assert agents["Desk"]["tools"]["delegate"]["agent"] == "Clerk"
    assert agents["Ops"]["handoffs"]["transfer_to_desk"]["to"] == "Desk"


def test_two_agents_of_one_name_are_told_apart() -> None:
    root = agent(handoffs=[agent(name="Ops"), handoff(agent(name="Ops"), "second")])

    has = definition_of(root)

    assert list(has["agents"]) == ["Shop", "Ops", "Ops#2"]
    assert has["agents"]["Shop"]["handoffs"]["second"]["to"] == "Ops#2"


def test_a_changed_schema_is_told_in_words() -> None:
    assert told(agent(tool()), agent(tool(cents=True))) == [
        (
            "Shop",
            "Tool refund: parameters",
            "order: string, eur: integer",
            "cents is new; eur was integer and is number",
        )
    ]


def test_other_words_about_a_parameter_are_a_change_of_the_schema() -> None:
    def described(text: str) -> Any:
        async def refund(order: str) -> str:
            return ""

        refund.__doc__ = f"Refund.\n\nArgs:\n    order: {text}"
        return function_tool(refund)

    [found] = changed(agent(described("Its number.")), agent(described("Its name.")))

    assert found.now == "order has another description or other limits"


def test_tools_come_and_go() -> None:
    asks, rule = tool("pay", needs_approval=True), tool(needs_approval=lambda *_: True)

    assert told(agent(asks), agent(rule)) == [
        ("Shop", "Tool pay", "always asks a person", "gone"),
        (
            "Shop",
            "Tool refund",
            "not there",
            "new, asks a person where its rule says so",
        ),
    ]


@pytest.mark.parametrize(
    ("before", "now", "loosens"),
    [
        (True, False, True),
        (False, True, False),
        (True, lambda *_: True, True),
        (lambda *_: True, False, True),
        (False, lambda *_: True, False),
    ],
)
def test_what_a_tool_asks_is_compared(before: Any, now: Any, loosens: bool) -> None:
    [found] = changed(
        agent(tool(needs_approval=before)), agent(tool(needs_approval=now))
    )

    assert (found.what, found.asks, found.loosens) == ("Tool refund", True, loosens)


def test_who_must_approve_is_compared() -> None:
    two = Review(approvals=2, reviewers="finance", risk="high")

    [found] = changed(agent(tool(review=two)), agent(tool(review=Review())))

    assert found == Difference(
        agent="Shop",
        what="Review of refund",
        before="2 approvals of finance, high risk",
        now="1 approval, medium risk",
        loosens=True,
    )


def test_a_tool_that_may_be_repeated_now_asks_less() -> None:
    again = Review(idempotent=True)

    [found] = changed(agent(tool()), agent(tool(review=again)))

    assert (found.now, found.loosens) == (
        "1 approval, medium risk, may be repeated",
        True,
    )


def test_an_agent_in_the_place_of_a_function_is_a_difference() -> None:
    clerk, driver = agent(name="Clerk"), agent(name="Driver")
    by_clerk, by_driver = (one.as_tool("go", "Go.") for one in (clerk, driver))

    assert ("Shop", "Tool go", "runs the agent Clerk", "runs the agent Driver") in told(
        agent(by_clerk), agent(by_driver)
    )
    assert "runs a function" in [
        now for *_, now in told(agent(by_clerk), agent(tool("go")))
    ]


def test_handoffs_answers_and_agents_are_compared() -> None:
    class Report(BaseModel):
        text: str

    ops = agent(tool("restart"), name="Ops")

    assert told(agent(), agent(handoffs=[ops], output_type=Report)) == [
        ("Ops", "Agent", "not there", "new, with restart (runs without asking)"),
        ("Shop", "Handoff transfer_to_ops", "not there", "to Ops"),
        ("Shop", "Type of its answer", "text", "Report"),
    ]
    assert told(agent(handoffs=[ops]), agent()) == [
        ("Ops", "Agent", "there", "gone"),
        ("Shop", "Handoff transfer_to_ops", "to Ops", "gone"),
    ]


def test_instructions_and_models_are_told_and_ask_nobody() -> None:
    old = agent(instructions="Be kind.", model="small")
    new = agent(instructions="Be quick.", model="large")

    found = changed(old, new)

    assert [(one.what, one.asks) for one in found] == [
        ("Model", False),
        ("Instructions", False),
    ]
    assert "kind" not in json.dumps(definition_of(old))


def test_what_mcp_servers_offer_is_left_out_and_the_servers_are_not() -> None:
    old, new = agent(), agent(mcp_servers=[MemoryServer()])
    name = MemoryServer().name

    assert told(old, new) == [("Shop", f"MCP server {name}", "not there", "new")]
    assert told(new, old) == [("Shop", f"MCP server {name}", "there", "gone")]
    assert definition_of(new)["agents"]["Shop"]["tools"] == {}


def test_tools_without_parameters_are_compared_by_what_they_are() -> None:
    def server(how: Literal["always", "never"]) -> HostedMCPTool:
        return HostedMCPTool(
            tool_config={
                "type": "mcp",
                "server_label": "files",
                "server_url": "https://files.example",
                "require_approval": how,
            }
        )

    def run(_: Any) -> str:
        return ""

    address = "https://files.example"
    assert told(agent(server("always")), agent(server("never"))) == [
        (
            "Shop",
            "Tool hosted_mcp files",
            "always asks a person",
            "runs without asking",
        ),
        (
            "Shop",
            "Settings of hosted_mcp files",
            f'{address}: "all its tools", approval "always"',
            f'{address}: "all its tools", approval "never"',
        ),
    ]
    asks, free = ShellTool(executor=run, needs_approval=True), ShellTool(executor=run)
    [found] = changed(agent(asks), agent(free))
    assert (found.now, found.loosens) == ("runs without asking", True)
    again = ShellTool(executor=run, needs_approval=True)
    assert changed(agent(asks), agent(again)) == []


def test_a_declared_rename_is_no_difference() -> None:
    old = agent(tool(), handoffs=[agent(name="Ops")])
    new = agent(tool("pay_back"), name="Store", handoffs=[agent(name="Works")])
    renames = {
        "tools": {"refund": "pay_back"},
        "agents": {"Shop": "Store", "Ops": "Works"},
    }

    assert changed(old, new, renames) == []
    assert len(changed(old, new)) == 7


def test_a_renamed_tool_is_compared_all_the_same() -> None:
    renames = {"tools": {"refund": "pay_back"}}

    found = changed(agent(tool()), agent(tool("pay_back", cents=True)), renames)

    assert [one.what for one in found] == ["Tool pay_back: parameters"]


def test_the_agent_a_run_begins_with_is_known_by_its_place() -> None:
    assert told(agent(tool()), agent(tool(cents=True), name="Store")) == [
        ("Store", "Name of the agent", "Shop", "Store"),
        (
            "Store",
            "Tool refund: parameters",
            "order: string, eur: integer",
            "cents is new; eur was integer and is number",
        ),
    ]


def test_a_name_in_use_was_not_given_up() -> None:
    new = definition_of(agent(tool(), tool("pay_back"), name="Shop"))
    renames = {
        "tools": {"refund": "pay_back", "pay": "pay_back"},
        "agents": {"Shop": "Store", "Ops": "Works"},
    }

    assert living_renames(new, renames) == {
        "agents": {"Ops": "Works"},
        "tools": {"pay": "pay_back", "transfer_to_ops": "transfer_to_works"},
    }


def test_the_digest_is_of_this_run_and_this_change() -> None:
    digests = {
        change_digest(*parts)
        for parts in [
            ("1", "a", "b"),
            ("2", "a", "b"),
            ("1", "b", "a"),
            ("1", "a", "c"),
        ]
    }

    assert len(digests) == 4
