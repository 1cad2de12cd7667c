"""What the outputs of tools do to the run: go on, or end it."""

from typing import Any

from ..registry import scenario
from ..script import call
from ..sides import Side
from .schemas import Place
from .tools import giver

BEHAVIOUR = "Agents: tool_use_behavior"


@scenario(BEHAVIOUR)
async def stop_on_first_tool(side: Side) -> None:
    answers = [[call("give", {"a": 1}, "c1"), call("give", {"a": 2}, "c2")]]
    agent = side.agent(
        *answers, tools=[give(side)], tool_use_behavior="stop_on_first_tool"
    )
    await side.run(agent, "hi")


@scenario(BEHAVIOUR)
async def stop_at_named_tools(side: Side) -> None:
    other = side.function_tool(lambda: "other", name_override="other")
    agent = side.agent(
        [call("other", id="c0")],
        [call("other", id="c1"), call("give", {"a": 2}, "c2")],
        tools=[give(side), other],
        tool_use_behavior={"stop_at_tool_names": ["give"]},
    )
    await side.run(agent, "hi")


@scenario(BEHAVIOUR)
async def behaviour_decided_by_a_callable(side: Side) -> None:
    def decide(ctx: Any, results: Any) -> Any:
        side.note([[each.tool.name, each.output] for each in results])
        side.note(ctx.context, [each.run_item.type for each in results])
        last = results[-1].output
        return side.ToolsToFinalOutputResult(
            is_final_output=last > 1, final_output=f"final {last}"
        )

    agent = side.agent(
        [call("give", {"a": 1}, "c1")],
        [call("give", {"a": 2}, "c2")],
        tools=[give(side)],
        tool_use_behavior=decide,
    )
    await side.run(agent, "hi", context="ctx")


@scenario(BEHAVIOUR)
async def behaviour_decided_by_a_coroutine(side: Side) -> None:
    async def decide(ctx: Any, results: Any) -> Any:
        return side.ToolsToFinalOutputResult(is_final_output=True, final_output=None)

    agent = side.agent(
        [call("give", {"a": 1}, "c1")], tools=[give(side)], tool_use_behavior=decide
    )
    await side.run(agent, "hi")


@scenario(BEHAVIOUR)
async def stop_on_first_tool_with_an_output_type(side: Side) -> None:
    place = giver(side, Place(city="Oslo"))
    agent = side.agent(
        [call("give")],
        tools=[place],
        output_type=Place,
        tool_use_behavior="stop_on_first_tool",
    )
    await side.run(agent, "hi")


def give(side: Side) -> Any:
    @side.function_tool
    def give(a: int) -> int:
        return a

    return give
