"""Agents as tools: what goes in, what comes out, approvals inside."""

import json
from typing import Any

from pydantic import BaseModel

from ..record import OUR_OWN_EVENTS, event
from ..registry import scenario
from ..script import call, text
from ..sides import Side
from .approvals import approve_all, decided, gated, pay, reject_all

NESTED = "Nested agent as tool"
AS_TOOL = "Agents: as_tool"


class Job(BaseModel):
    place: str
    days: int = 1


def ask(words: str = "do it", id: str = "o1") -> Any:
    return call("helper", {"input": words}, id)


def outer_of(side: Side, inner: Any, *answers: Any, **options: Any) -> Any:
    """Return an agent with `inner` as its tool `helper`."""
    tool = inner.as_tool("helper", "Helps.", **options)
    return side.agent(
        *(answers or ([ask()], [text("done")])), name="outer", tools=[tool]
    )


@scenario(AS_TOOL)
async def agent_as_a_tool(side: Side) -> None:
    inner = side.agent(
        [pay(1)],
        [text("inner's")],
        name="Inner Agent",
        tools=[gated(side, needs_approval=False)],
    )
    await side.run(outer_of(side, inner), "hi", context={"user": "ada"})


@scenario(AS_TOOL)
async def agent_as_a_tool_with_names_of_its_own(side: Side) -> None:
    inner = side.agent([text("inner's")], name="Inner Agent")
    tool = inner.as_tool(None, None)
    side.note(tool.name, tool.description, tool.params_json_schema)
    agent = side.agent([call(tool.name, {"input": "x"})], [text("done")], tools=[tool])
    await side.run(agent, "hi")


@scenario(AS_TOOL)
async def agent_as_a_tool_output_extracted(side: Side) -> None:
    async def extract(result: Any) -> str:
        side.note(result.final_output, [each.type for each in result.new_items])
        invocation = result.agent_tool_invocation
        side.note(
            invocation.tool_name, invocation.tool_call_id, invocation.tool_arguments
        )
        return f"extracted {result.final_output}"

    inner = side.agent([text("inner's")], name="inner")
    await side.run(outer_of(side, inner, custom_output_extractor=extract), "hi")


@scenario(AS_TOOL)
async def agent_as_a_tool_with_parameters(side: Side) -> None:
    inner = side.agent([text("inner's")], [text("more")], name="inner")
    for options in ({}, {"include_input_schema": True}):
        agent = outer_of(
            side,
            inner,
            [call("helper", {"place": "Oslo", "days": 2})],
            [text("done")],
            parameters=Job,
            **options,
        )
        await side.run(agent, "hi")


@scenario(AS_TOOL)
async def agent_as_a_tool_with_an_input_builder(side: Side) -> None:
    async def build(options: Any) -> Any:
        side.note(options)
        return [{"role": "user", "content": "built"}]

    inner = side.agent([text("inner's")], name="inner")
    agent = outer_of(
        side,
        inner,
        [call("helper", {"place": "Oslo", "days": 2})],
        [text("done")],
        parameters=Job,
        input_builder=build,
    )
    await side.run(agent, "hi")


@scenario(AS_TOOL)
async def agent_as_a_tool_with_arguments_that_do_not_fit(side: Side) -> None:
    for written in ("{", "{}", '{"input": 7}'):
        inner = side.agent([text("inner's")], name="inner")
        agent = outer_of(side, inner, [call("helper", written)], [text("done")])
        await side.run(agent, "hi")


@scenario(AS_TOOL)
async def agent_as_a_tool_streamed(side: Side) -> None:
    def seen(told: Any) -> None:
        kind = event(told["event"])
        if kind not in OUR_OWN_EVENTS:
            side.note(kind, told["agent"].name, told["tool_call"].call_id)

    inner = side.agent([text("inner's")], name="inner")
    await side.run(outer_of(side, inner, on_stream=seen), "hi")


@scenario(AS_TOOL)
async def agent_as_a_tool_runs_out_of_turns(side: Side) -> None:
    inner = side.agent(
        [pay(1)], name="inner", tools=[gated(side, needs_approval=False)]
    )
    await side.run(outer_of(side, inner, max_turns=1), "hi")
    inner.model.answers.append([pay(1)])
    await side.run(
        outer_of(side, inner, max_turns=1, failure_error_function=None), "hi"
    )


@scenario(AS_TOOL)
async def agent_as_a_tool_with_hooks_and_config(side: Side) -> None:
    class Noting(side.RunHooks):  # type: ignore[name-defined, misc]
        async def on_agent_start(self, context: Any, agent: Any) -> None:
            side.note("start", agent.name)

        async def on_agent_end(self, context: Any, agent: Any, output: Any) -> None:
            side.note("end", agent.name, output)

    inner = side.agent([text("inner's")], name="inner")
    agent = outer_of(
        side,
        inner,
        hooks=Noting(),
        run_config=side.RunConfig(model_settings=side.ModelSettings(temperature=0.5)),
    )
    await side.run(agent, "hi")


@scenario(AS_TOOL)
async def agent_as_a_tool_enabled_or_not(side: Side) -> None:
    inner = side.agent([text("inner's")], name="inner")
    agent = outer_of(side, inner, [text("alone")], is_enabled=False)
    await side.run(agent, "hi")


@scenario(AS_TOOL)
async def agent_as_a_tool_ends_the_run(side: Side) -> None:
    inner = side.agent([text("inner's")], name="inner")
    agent = outer_of(side, inner)
    agent.tool_use_behavior = "stop_on_first_tool"
    await side.run(agent, "hi")


@scenario(AS_TOOL)
async def context_of_a_nested_run(side: Side) -> None:
    def instructions(ctx: Any, agent: Any) -> str:
        side.note(ctx.context, ctx.tool_input, ctx.usage.requests)
        return "Help."

    inner = side.agent([text("inner's")], name="inner", instructions=instructions)
    await side.run(outer_of(side, inner), "hi", context={"user": "ada"})


def gated_inner(side: Side, **options: Any) -> Any:
    inner = side.agent(
        [pay(1, "i1")], [text("inner's")], name="inner", tools=[gated(side)]
    )
    return outer_of(side, inner, **options)


@scenario(NESTED)
async def inner_approval_on_the_outer_result(side: Side) -> None:
    agent = gated_inner(side)
    await decided(side, agent, await side.run(agent, "hi"), approve_all)


@scenario(NESTED)
async def inner_rejection(side: Side) -> None:
    agent = gated_inner(side)
    await decided(side, agent, await side.run(agent, "hi"), reject_all)


@scenario(NESTED)
async def inner_approval_in_this_process(side: Side) -> None:
    agent = gated_inner(side)
    result = await side.run(agent, "hi")
    state = result.to_state()
    state.approve(state.get_interruptions()[0])
    await side.run(agent, state)


@scenario(NESTED)
async def both_layers_gated(side: Side) -> None:
    agent = gated_inner(side, needs_approval=True)
    result = await decided(side, agent, await side.run(agent, "hi"), approve_all)
    await decided(side, agent, result, approve_all)


@scenario(NESTED)
async def outer_layer_rejected(side: Side) -> None:
    agent = gated_inner(side, needs_approval=True)
    await decided(side, agent, await side.run(agent, "hi"), reject_all)


@scenario(NESTED)
async def inner_always_approved(side: Side) -> None:
    inner = side.agent(
        [pay(1, "i1")], [pay(2, "i2")], [text("x")], name="inner", tools=[gated(side)]
    )
    agent = outer_of(side, inner)
    await decided(
        side,
        agent,
        await side.run(agent, "hi"),
        lambda state, items: state.approve(items[0], always_approve=True),
    )


@scenario(NESTED)
async def two_inner_runs_paused_at_once(side: Side) -> None:
    inner = side.agent(
        [pay(1, "i1")],
        [pay(2, "i2")],
        [text("one")],
        [text("two")],
        name="inner",
        tools=[gated(side)],
    )
    agent = outer_of(side, inner, [ask("a", "o1"), ask("b", "o2")], [text("done")])
    await decided(side, agent, await side.run(agent, "hi"), approve_all)


@scenario(NESTED)
async def outer_and_inner_calls_gated_in_one_turn(side: Side) -> None:
    inner = side.agent(
        [pay(1, "i1")], [text("inner's")], name="inner", tools=[gated(side)]
    )
    agent = outer_of(side, inner, [ask(), pay(2, "o2", "give")], [text("done")])
    agent.tools.append(gated(side, "give"))
    result = await side.run(agent, "hi")
    result = await decided(
        side, agent, result, lambda state, items: state.approve(items[-1])
    )
    await decided(side, agent, result, approve_all)


@scenario(NESTED)
async def three_layers(side: Side) -> None:
    deepest = side.agent(
        [pay(1, "i1")], [text("deepest's")], name="deepest", tools=[gated(side)]
    )
    inner = side.agent(
        [call("deep", {"input": "go"}, "m1")],
        [text("inner's")],
        name="inner",
        tools=[deepest.as_tool("deep", "Deep.")],
    )
    agent = outer_of(side, inner)
    await decided(side, agent, await side.run(agent, "hi"), approve_all)


@scenario(NESTED)
async def resumed_with_the_inner_agent(side: Side) -> None:
    inner = side.agent(
        [pay(1, "i1")], [text("inner's")], name="inner", tools=[gated(side)]
    )
    agent = outer_of(side, inner)
    state = (await side.run(agent, "hi")).to_state()
    written = json.loads(json.dumps(state.to_json()))
    await side.failure(lambda: side.RunState.from_json(inner, written))


@scenario(AS_TOOL)
async def items_tell_of_the_tool_that_was_called(side: Side) -> None:
    helper = side.agent([text("inner's")], name="inner").as_tool("helper", "Helps.")
    agent = side.agent(
        [ask(id="o1"), pay(1, "o2", "give"), pay(1, "o3", "look")],
        [text("done")],
        tools=[helper, gated(side, "give"), gated(side, "look", needs_approval=False)],
    )
    result = await side.run(agent, "hi")
    _note_tools(side, result)
    side.note([each.tool_origin for each in result.interruptions])
    side.note([each.tool_lookup_key for each in result.interruptions])
    result = await decided(side, agent, result, approve_all)
    _note_tools(side, result)


def _note_tools(side: Side, result: Any) -> None:
    for item in result.new_items:
        if item.type == "tool_call_item":
            side.note(item.description, item.title, item.tool_origin)
        elif item.type == "tool_call_output_item":
            side.note(item.tool_origin)
