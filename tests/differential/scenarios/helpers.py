"""What agents' authors use beside runs: readers of items, schemas, usage, results."""

from typing import Any

from pydantic import BaseModel

from ..record import output_schema, tool, usage
from ..registry import scenario
from ..script import call, refusal, text
from ..sides import Side
from .approvals import gated, pay

HELPERS = "Helpers"
TOOLS = "Function tools"


class Report(BaseModel):
    total: int


@scenario(HELPERS)
async def readers_of_items(side: Side) -> None:
    agent = side.agent(
        [text("one ", "m1"), pay(1)],
        [text("two", "m2")],
        tools=[gated(side, needs_approval=False)],
    )
    result = await side.run(agent, "hi")
    helpers = side.ItemHelpers
    side.note(helpers.text_message_outputs(result.new_items))
    side.note(helpers.text_message_output(result.new_items[0]))
    side.note(helpers.input_to_new_input_list("hi"))
    given = [{"role": "user", "content": "hi"}]
    side.note(helpers.input_to_new_input_list(given))
    side.note(helpers.input_to_new_input_list(given) is given)
    for message in (text("said"), refusal("refused"), call("pay")):
        side.note(helpers.extract_last_content(message))
        side.note(helpers.extract_last_text(message))
    side.note(helpers.tool_call_output_item(call("pay"), "told"))


@scenario(HELPERS)
async def input_list_in_both_modes(side: Side) -> None:
    other = side.agent([text("x")], name="other")
    offered = side.handoff(other, input_filter=side.remove_all_tools)
    main = side.agent([call("transfer_to_other")], handoffs=[offered])
    result = await side.run(main, "hi")
    for mode in ("preserve_all", "normalized"):
        side.note(result.to_input_list(mode=mode))


@scenario(HELPERS)
async def usage_added_up(side: Side) -> None:
    total = side.Usage()
    side.note(usage(total))
    for _ in range(2):
        total.add(
            side.Usage(requests=1, input_tokens=3, output_tokens=2, total_tokens=5)
        )
    side.note(usage(total))
    side.note([each.total_tokens for each in total.request_usage_entries])


@scenario(HELPERS)
async def schema_of_a_function(side: Side) -> None:
    @side.takes_context
    def work(ctx: Any, a: int, *rest: str, b: float = 0.5, **named: int) -> str:
        """Work.

        Args:
            a: How much.
        """
        return ""

    schema = side.function_schema(work, strict_json_schema=False)
    side.note(schema.name, schema.description, schema.params_json_schema)
    side.note(schema.takes_context, schema.strict_json_schema)
    data = schema.params_pydantic_model(a=1, rest=["x"], b=2.0, named={"k": 1})
    side.note(schema.to_call_args(data))
    told = side.generate_func_documentation(work)
    side.note(told.name, told.description, told.param_descriptions)


@scenario(HELPERS)
async def schemas_made_strict(side: Side) -> None:
    loose: list[dict[str, Any]] = [
        {},
        {"type": "object", "properties": {"a": {"type": "string", "default": None}}},
        {
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/A", "description": "an a"}},
            "$defs": {"A": {"type": "object", "properties": {"b": {"type": "string"}}}},
        },
        {"type": "object", "properties": {"a": {"anyOf": [{"type": "object"}]}}},
        {"type": "array", "items": {"type": "object", "properties": {}}},
        {"allOf": [{"type": "object", "properties": {"a": {"type": "string"}}}]},
        {"type": "object", "additionalProperties": True},
    ]
    for schema in loose:

        def made(given: dict[str, Any] = schema) -> None:
            side.note(side.ensure_strict_json_schema(given))

        await side.failure(made)


@scenario(HELPERS)
async def agent_asked_for_its_parts(side: Side) -> None:
    hidden = gated(side, "hidden", is_enabled=False)
    agent = side.agent(
        instructions=lambda ctx, agent: f"For {ctx.context}.",
        tools=[gated(side), hidden],
        prompt={"id": "pmpt_1"},
    )
    context = side.RunContextWrapper("ada")
    side.note(await agent.get_system_prompt(context))
    side.note([tool(each) for each in await agent.get_all_tools(context)])
    side.note(await agent.get_prompt(context))
    side.note(await agent.get_mcp_tools(context))
    side.note(output_schema(side.AgentOutputSchema(Report)))


@scenario(TOOLS)
async def output_of_a_declared_type(side: Side) -> None:
    @side.function_tool(output_type=Report)
    def report() -> dict[str, int]:
        return {"total": 3}

    @side.function_tool(output_json_schema={"type": "object"})
    def other() -> dict[str, int]:
        return {"total": 4}

    side.note(report.output_json_schema, other.output_json_schema)
    agent = side.agent(
        [call("report", id="c1"), call("other", id="c2")],
        [text("x")],
        tools=[report, other],
    )
    await side.run(agent, "hi")


@scenario(TOOLS)
async def custom_data_beside_an_output(side: Side) -> None:
    def extract(given: Any) -> dict[str, Any]:
        side.note(given.tool.name, given.output, given.raw_item)
        side.note(given.tool_context.tool_call_id)
        return {"kept": given.output}

    @side.function_tool(custom_data_extractor=extract)
    def work() -> str:
        return "worked"

    agent = side.agent([call("work")], [text("x")], tools=[work])
    result = await side.run(agent, "hi")
    side.note(result.new_items[1].custom_data)


@scenario(TOOLS)
async def tool_invoked_by_itself(side: Side) -> None:
    @side.function_tool
    def double(a: int) -> int:
        return a * 2

    context = side.ToolContext(
        context=None, tool_name="double", tool_call_id="c1", tool_arguments='{"a": 4}'
    )
    side.note(await double.on_invoke_tool(context, '{"a": 4}'))
    side.note(await double.on_invoke_tool(context, "{"))
