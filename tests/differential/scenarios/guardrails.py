"""Guardrails of inputs, outputs and tools; what runs again on resume."""

from typing import Any

from ..registry import scenario
from ..script import call, text
from ..sides import Side
from .approvals import approve_all, decided, gated, pay, reject_all

GUARDRAILS = "Guardrails"
RESUME = "Guardrails and hooks on resume"


def says(side: Side, trip: bool, where: str) -> Any:
    """Return a guardrail's function that notes where it ran."""

    async def judge(ctx: Any, agent: Any, given: Any) -> Any:
        side.note(where, agent.name, ctx.context, given)
        return side.GuardrailFunctionOutput(
            output_info={"at": where}, tripwire_triggered=trip
        )

    return judge


@scenario(GUARDRAILS)
async def input_guardrails_that_pass(side: Side) -> None:
    one = side.input_guardrail(says(side, False, "one"))
    two = side.InputGuardrail(
        guardrail_function=says(side, False, "two"), name="named", run_in_parallel=False
    )
    side.note(one.get_name(), two.get_name(), one.run_in_parallel)
    agent = side.agent([text("x")], input_guardrails=[one, two])
    await side.run(agent, "hi", context="ctx")


@scenario(GUARDRAILS)
async def sync_guardrails(side: Side) -> None:
    @side.input_guardrail(name="in")
    def inward(ctx: Any, agent: Any, given: Any) -> Any:
        return side.GuardrailFunctionOutput(output_info=1, tripwire_triggered=False)

    @side.output_guardrail(name="out")
    def outward(ctx: Any, agent: Any, given: Any) -> Any:
        return side.GuardrailFunctionOutput(output_info=2, tripwire_triggered=False)

    agent = side.agent(
        [text("x")], input_guardrails=[inward], output_guardrails=[outward]
    )
    await side.run(agent, "hi")


@scenario(GUARDRAILS)
async def blocking_input_guardrail_trips(side: Side) -> None:
    guard = side.input_guardrail(run_in_parallel=False)(says(side, True, "in"))
    agent = side.agent([text("never")], input_guardrails=[guard])
    await side.run(agent, "hi")


@scenario(GUARDRAILS)
async def parallel_input_guardrail_trips(side: Side) -> None:
    guard = side.input_guardrail(says(side, True, "in"))
    agent = side.agent([text("maybe")], input_guardrails=[guard])
    await side.run(agent, "hi")


@scenario(GUARDRAILS)
async def input_guardrail_runs_once_over_turns(side: Side) -> None:
    guard = side.input_guardrail(says(side, False, "in"))
    tool = gated(side, needs_approval=False)
    agent = side.agent([pay(1)], [text("x")], tools=[tool], input_guardrails=[guard])
    await side.run(agent, [{"role": "user", "content": "hi"}])


@scenario(GUARDRAILS)
async def input_guardrail_of_the_agent_handed_to_does_not_run(side: Side) -> None:
    other = side.agent(
        [text("x")],
        name="other",
        input_guardrails=[side.input_guardrail(says(side, True, "other"))],
    )
    await side.run(side.agent([call("transfer_to_other")], handoffs=[other]), "hi")


@scenario(GUARDRAILS)
async def output_guardrail_of_the_last_agent_only(side: Side) -> None:
    other = side.agent(
        [text("x")],
        name="other",
        output_guardrails=[side.output_guardrail(says(side, False, "other"))],
    )
    main = side.agent(
        [call("transfer_to_other")],
        handoffs=[other],
        output_guardrails=[side.output_guardrail(says(side, True, "main"))],
    )
    await side.run(main, "hi")


@scenario(GUARDRAILS)
async def output_guardrail_trips(side: Side) -> None:
    guard = side.output_guardrail(says(side, True, "out"))
    await side.run(side.agent([text("secret")], output_guardrails=[guard]), "hi")


@scenario(GUARDRAILS)
async def guardrails_of_the_run(side: Side) -> None:
    config = side.RunConfig(
        input_guardrails=[side.input_guardrail(says(side, False, "run in"))],
        output_guardrails=[side.output_guardrail(says(side, False, "run out"))],
    )
    agent = side.agent(
        [text("x")],
        input_guardrails=[side.input_guardrail(says(side, False, "agent in"))],
        output_guardrails=[side.output_guardrail(says(side, False, "agent out"))],
    )
    await side.run(agent, "hi", run_config=config)


@scenario(GUARDRAILS)
async def guardrails_that_raise(side: Side) -> None:
    async def broken(ctx: Any, agent: Any, given: Any) -> Any:
        raise KeyError("no")

    await side.run(
        side.agent([text("x")], input_guardrails=[side.input_guardrail(broken)]), "hi"
    )
    await side.run(
        side.agent([text("x")], output_guardrails=[side.output_guardrail(broken)]), "hi"
    )


def tool_guard(side: Side, kind: str, behaviour: str, info: Any = None) -> Any:
    """Return a tool guardrail (`input` or `output`) that answers with `behaviour`."""

    def judge(data: Any) -> Any:
        side.note(kind, data.context.tool_name, data.context.tool_call_id)
        side.note(data.agent.name, data.context.tool_arguments)
        if kind == "output":
            side.note(data.output)
        made = side.ToolGuardrailFunctionOutput
        if behaviour == "reject":
            return made.reject_content(f"{kind} refused", output_info=info)
        if behaviour == "raise":
            return made.raise_exception(output_info=info)
        return made.allow(output_info=info)

    return getattr(side, f"tool_{kind}_guardrail")(judge)


@scenario(GUARDRAILS)
async def tool_guardrails_of_every_behaviour(side: Side) -> None:
    for kind in ("input", "output"):
        for behaviour in ("allow", "reject", "raise"):
            side.note(kind, behaviour)
            guard = tool_guard(side, kind, behaviour, {"k": 1})
            options: dict[str, Any] = {f"tool_{kind}_guardrails": [guard]}
            tool = gated(side, needs_approval=False, **options)
            await side.run(side.agent([pay(1)], [text("x")], tools=[tool]), "hi")


@scenario(GUARDRAILS)
async def first_tool_guardrail_that_refuses_is_the_last(side: Side) -> None:
    guards = [tool_guard(side, "input", each) for each in ("allow", "reject", "raise")]
    tool = gated(side, needs_approval=False, tool_input_guardrails=guards)
    await side.run(side.agent([pay(1)], [text("x")], tools=[tool]), "hi")


@scenario(RESUME)
async def input_guardrails_do_not_run_again(side: Side) -> None:
    guard = side.input_guardrail(says(side, False, "in"))
    agent = side.agent(
        [pay(1)], [text("x")], tools=[gated(side)], input_guardrails=[guard]
    )
    await decided(side, agent, await side.run(agent, "hi"), approve_all)


@scenario(RESUME)
async def output_guardrails_run_on_the_final_output(side: Side) -> None:
    guard = side.output_guardrail(says(side, False, "out"))
    agent = side.agent(
        [pay(1)], [text("x")], tools=[gated(side)], output_guardrails=[guard]
    )
    await decided(side, agent, await side.run(agent, "hi"), approve_all)


@scenario(RESUME)
async def tool_guardrails_run_after_approval(side: Side) -> None:
    tool = gated(
        side,
        tool_input_guardrails=[tool_guard(side, "input", "allow")],
        tool_output_guardrails=[tool_guard(side, "output", "allow")],
    )
    agent = side.agent([pay(1)], [text("x")], tools=[tool])
    result = await side.run(agent, "hi")
    side.note("paused")
    await decided(side, agent, result, approve_all)


@scenario(RESUME)
async def tool_guardrails_refuse_after_approval(side: Side) -> None:
    for kind in ("input", "output"):
        options: dict[str, Any] = {
            f"tool_{kind}_guardrails": [tool_guard(side, kind, "reject")]
        }
        tool = gated(side, **options)
        agent = side.agent([pay(1)], [text("x")], tools=[tool])
        await decided(side, agent, await side.run(agent, "hi"), approve_all)


@scenario(RESUME)
async def tool_guardrails_before_approval(side: Side) -> None:
    config = side.RunConfig(
        tool_execution=side.ToolExecutionConfig(pre_approval_tool_input_guardrails=True)
    )
    for behaviour in ("allow", "reject", "raise"):
        side.note(behaviour)
        guard = tool_guard(side, "input", behaviour)
        tool = gated(side, tool_input_guardrails=[guard])
        agent = side.agent([pay(1)], [text("x")], tools=[tool])
        result = await side.run(agent, "hi", run_config=config)
        if result is not None and result.interruptions:
            side.note("paused")
            await decided(side, agent, result, approve_all, run_config=config)


@scenario(RESUME)
async def rejected_calls_meet_no_guardrail(side: Side) -> None:
    tool = gated(
        side,
        tool_input_guardrails=[tool_guard(side, "input", "raise")],
        tool_output_guardrails=[tool_guard(side, "output", "raise")],
    )
    agent = side.agent([pay(1)], [text("x")], tools=[tool])
    await decided(side, agent, await side.run(agent, "hi"), reject_all)
