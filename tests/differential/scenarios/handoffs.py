"""Handoffs: who answers next, what it is shown, and what is told about it."""

from typing import Any

from pydantic import BaseModel

from ..registry import scenario
from ..script import call, reasoning, text
from ..sides import Side
from .approvals import approve_all, decided, gated, pay

HANDOFFS = "Handoffs"
PAUSED = "Handoff"


class Reason(BaseModel):
    why: str
    urgent: bool = False


def pair(side: Side, *answers: Any, made: Any = None, **fields: Any) -> tuple[Any, Any]:
    """Return agents (main, other); main hands off to other, by `made` if given."""
    other = side.agent(*(answers or ([text("other's")],)), name="Other Desk")
    offered = made(other) if made else other
    main = side.agent([call("transfer_to_other_desk")], handoffs=[offered], **fields)
    return main, other


@scenario(HANDOFFS)
async def handoff_to_an_agent(side: Side) -> None:
    main, other = pair(side, instructions="Hand off.")
    other.handoff_description = "Knows more."
    other.instructions = "Answer."
    await side.run(main, "hi")


@scenario(HANDOFFS)
async def handoff_there_and_back(side: Side) -> None:
    main, other = pair(side, [call("transfer_to_main", id="c2")])
    other.handoffs = [main]
    main.model.answers.append([text("main again")])
    await side.run(main, "hi")


@scenario(HANDOFFS)
async def handoff_made_with_names_of_its_own(side: Side) -> None:
    def made(other: Any) -> Any:
        return side.handoff(
            other, tool_name_override="escalate", tool_description_override="Up."
        )

    main, _ = pair(side, made=made)
    main.model.answers[0] = [call("escalate")]
    await side.run(main, "hi")


@scenario(HANDOFFS)
async def handoff_with_a_callback(side: Side) -> None:
    def called(ctx: Any) -> None:
        side.note("called", ctx.context)

    async def called_later(ctx: Any) -> None:
        side.note("called later", ctx.context)

    for func in (called, called_later):
        main, _ = pair(
            side, made=lambda other, f=func: side.handoff(other, on_handoff=f)
        )
        await side.run(main, "hi", context="ctx")


@scenario(HANDOFFS)
async def handoff_with_input(side: Side) -> None:
    def called(ctx: Any, reason: Any) -> None:
        side.note(type(reason).__name__, reason)

    for written in ('{"why": "lost", "urgent": true}', '{"why": 7}', "{", ""):
        main, _ = pair(
            side,
            made=lambda other: side.handoff(
                other, on_handoff=called, input_type=Reason
            ),
        )
        main.model.answers = [
            [call("transfer_to_other_desk", written)],
            [text("main's")],
        ]
        await side.run(main, "hi")


@scenario(HANDOFFS)
async def handoff_callbacks_that_cannot_be(side: Side) -> None:
    other = side.agent(name="other")
    await side.failure(lambda: side.handoff(other, input_type=Reason))
    await side.failure(lambda: side.handoff(other, on_handoff=lambda: None))
    await side.failure(
        lambda: side.handoff(other, on_handoff=lambda ctx: None, input_type=Reason)
    )
    await side.failure(lambda: side.handoff(other, on_handoff=7))


@scenario(HANDOFFS)
async def handoff_input_filtered(side: Side) -> None:
    def only_last(data: Any) -> Any:
        side.note(data.input_history, len(data.pre_handoff_items), len(data.new_items))
        side.note(data.run_context.context)
        return data.clone(input_history=({"role": "user", "content": "filtered"},))

    main, _ = pair(side, made=lambda other: side.handoff(other, input_filter=only_last))
    await side.run(main, "hi", context="ctx")


@scenario(HANDOFFS)
async def handoff_input_filtered_by_the_run(side: Side) -> None:
    async def none_new(data: Any) -> Any:
        return data.clone(new_items=(), pre_handoff_items=())

    main, _ = pair(side)
    config = side.RunConfig(handoff_input_filter=none_new)
    await side.run(main, "hi", run_config=config)


@scenario(HANDOFFS)
async def handoff_filter_that_gives_nonsense(side: Side) -> None:
    main, _ = pair(
        side, made=lambda other: side.handoff(other, input_filter=lambda data: 7)
    )
    await side.run(main, "hi")


@scenario(HANDOFFS)
async def handoff_with_all_tools_removed(side: Side) -> None:
    tool = gated(side, needs_approval=False)
    main, _ = pair(
        side,
        made=lambda other: side.handoff(other, input_filter=side.remove_all_tools),
        tools=[tool],
    )
    main.model.answers.insert(0, [reasoning("think"), pay(1, "c0")])
    given = [
        {"role": "user", "content": "hi"},
        {"type": "function_call", "call_id": "o1", "name": "pay", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "o1", "output": "old"},
    ]
    await side.run(main, given)


@scenario(HANDOFFS)
async def handoff_with_history_nested(side: Side) -> None:
    tool = gated(side, needs_approval=False)
    main, _ = pair(side, tools=[tool])
    main.model.answers.insert(0, [text("one moment", "m0"), pay(1, "c0")])
    config = side.RunConfig(nest_handoff_history=True)
    await side.run(main, "hi", run_config=config)


@scenario(HANDOFFS)
async def handoff_with_history_nested_twice(side: Side) -> None:
    main, other = pair(side, [call("transfer_to_third", id="c2")])
    other.handoffs = [side.agent([text("third's")], name="third")]
    config = side.RunConfig(nest_handoff_history=True)
    await side.run(main, "hi", run_config=config)


@scenario(HANDOFFS)
async def handoff_history_mapped(side: Side) -> None:
    def mapper(items: Any) -> Any:
        side.note("mapping", items)
        return [{"role": "assistant", "content": f"{len(items)} items before"}]

    main, _ = pair(side)
    config = side.RunConfig(nest_handoff_history=True, handoff_history_mapper=mapper)
    await side.run(main, "hi", run_config=config)


@scenario(HANDOFFS)
async def handoff_history_nested_by_the_handoff_alone(side: Side) -> None:
    main, _ = pair(
        side, made=lambda other: side.handoff(other, nest_handoff_history=True)
    )
    await side.run(main, "hi")


@scenario(HANDOFFS)
async def history_wrappers_changed(side: Side) -> None:
    side.note(side.get_conversation_history_wrappers())
    side.set_conversation_history_wrappers(start="<<", end=">>")
    try:
        side.note(side.get_conversation_history_wrappers())
        main, _ = pair(side)
        config = side.RunConfig(nest_handoff_history=True)
        await side.run(main, "hi", run_config=config)
    finally:
        side.reset_conversation_history_wrappers()


@scenario(HANDOFFS)
async def handoffs_enabled_or_not(side: Side) -> None:
    third = side.agent([text("third's")], name="third")
    main, _ = pair(
        side,
        made=lambda other: side.handoff(
            other, is_enabled=lambda ctx, agent: ctx.context == "ada"
        ),
    )
    main.handoffs.append(side.handoff(third, is_enabled=False))
    await side.run(main, "hi", context="ada")
    main.model.answers += [[call("transfer_to_other_desk")], [text("main's")]]
    await side.run(main, "hi", context="bob")


@scenario(HANDOFFS)
async def two_handoffs_in_one_answer(side: Side) -> None:
    main, _ = pair(side)
    third = side.agent([text("third's")], name="third")
    main.handoffs.append(third)
    main.model.answers[0].append(call("transfer_to_third", id="c2"))
    await side.run(main, "hi")


@scenario(HANDOFFS)
async def handoff_beside_a_tool_call(side: Side) -> None:
    main, _ = pair(side, tools=[gated(side, needs_approval=False)])
    main.model.answers[0].append(pay(1, "c2"))
    await side.run(main, "hi")


@scenario(HANDOFFS)
async def handoff_hooks_and_settings_of_the_target(side: Side) -> None:
    main, other = pair(side, model_settings=side.ModelSettings(temperature=0.1))
    other.model_settings = side.ModelSettings(temperature=0.9)
    other.tools = [gated(side)]
    other.output_type = str
    await side.run(main, "hi")


@scenario(HANDOFFS)
async def recommended_prefix(side: Side) -> None:
    side.note(len(side.RECOMMENDED_PROMPT_PREFIX) > 0)
    told = side.prompt_with_handoff_instructions("Mine.")
    side.note(told.endswith("Mine."), len(told) > len("Mine."))


@scenario(PAUSED)
async def pause_after_a_handoff(side: Side) -> None:
    main, other = pair(side, [pay(1, "c2")], [text("x")])
    other.tools = [gated(side)]
    await decided(side, main, await side.run(main, "hi"), approve_all)


@scenario(PAUSED)
async def gated_call_beside_a_handoff(side: Side) -> None:
    main, _ = pair(side, tools=[gated(side)])
    main.model.answers[0].insert(0, pay(1, "c2"))
    await decided(side, main, await side.run(main, "hi"), approve_all)


@scenario(PAUSED)
async def resume_with_the_agent_handed_to(side: Side) -> None:
    main, other = pair(side, [pay(1, "c2")], [text("x")])
    other.tools = [gated(side)]
    state = (await side.run(main, "hi")).to_state()
    state.approve(state.get_interruptions()[0])
    await side.run(other, state)
