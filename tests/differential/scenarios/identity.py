"""Tools in namespaces, and tools the model finds by searching: whose grant is whose."""

import json
from typing import Any

from ..registry import scenario
from ..script import item, text
from ..sides import Side
from .approvals import approve_all, decided, gated

KEYS = "Sticky keys"


def spaced(name: str, space: str, sum: int, id: str) -> Any:
    """Return a call of the tool `name` in the namespace `space`."""
    return item(
        type="function_call",
        id=f"fc_{id}",
        call_id=id,
        name=name,
        namespace=space,
        arguments=json.dumps({"sum": sum}),
        status="completed",
    )


def banks(side: Side) -> list[Any]:
    """Return two tools of one name, each in a namespace, and the search for them."""
    return [
        tool
        for space in ("north", "south")
        for tool in side.tool_namespace(
            name=space,
            description=f"The {space} bank.",
            tools=[gated(side, defer_loading=True)],
        )
    ] + [side.ToolSearchTool()]


@scenario(KEYS)
async def namespaced_tools_are_called(side: Side) -> None:
    agent = side.agent(
        [spaced("pay", "north", 1, "c1"), spaced("pay", "south", 2, "c2")],
        [text("x")],
        tools=banks(side),
    )
    result = await side.run(agent, "hi")
    side.note([each.qualified_name for each in result.interruptions])
    await decided(side, agent, result, approve_all)


@scenario(KEYS)
async def grant_of_one_namespace_is_not_the_others(side: Side) -> None:
    agent = side.agent(
        [spaced("pay", "north", 1, "c1")],
        [spaced("pay", "north", 2, "c2"), spaced("pay", "south", 3, "c3")],
        [text("x")],
        tools=banks(side),
    )
    await decided(
        side,
        agent,
        await side.run(agent, "hi"),
        lambda state, items: state.approve(items[0], always_approve=True),
    )


@scenario(KEYS)
async def tool_found_by_searching(side: Side) -> None:
    searched = item(
        type="tool_search_call",
        id="ts_1",
        call_id=None,
        arguments={"query": "pay"},
        execution="server",
        status="completed",
    )
    found = item(
        type="tool_search_output",
        id="tso_1",
        call_id=None,
        execution="server",
        status="completed",
        tools=[{"type": "function", "name": "pay", "parameters": {}, "strict": True}],
    )
    agent = side.agent(
        [searched, found, spaced("pay", "pay", 1, "c1")],
        [spaced("pay", "pay", 2, "c2")],
        [text("x")],
        tools=[gated(side, defer_loading=True), side.ToolSearchTool()],
    )
    await decided(
        side,
        agent,
        await side.run(agent, "hi"),
        lambda state, items: state.approve(items[0], always_approve=True),
    )


@scenario(KEYS)
async def namespaces_that_cannot_be(side: Side) -> None:
    tool = gated(side)
    wrong: list[dict[str, Any]] = [
        {"name": "", "description": "d", "tools": [tool]},
        {"name": "n", "description": "", "tools": [tool]},
        {"name": "n", "description": "d", "tools": ["pay"]},
    ]
    for fields in wrong:
        await side.failure(lambda given=fields: side.tool_namespace(**given))  # type: ignore[misc]
