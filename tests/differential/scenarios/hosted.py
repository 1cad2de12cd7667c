"""Tools that run at the model's server, and their approvals."""

from typing import Any

from ..registry import scenario
from ..script import call, item, mcp_request, text
from ..sides import Side
from .approvals import approve_all, decided, gated, pay, reject_all

HOSTED = "Hosted tools and MCP"
APPROVAL = "Hosted MCP"


def docs_server(side: Side, **options: Any) -> Any:
    config = {
        "type": "mcp",
        "server_label": "docs",
        "server_url": "https://docs.example/mcp",
        "require_approval": "always",
    }
    return side.HostedMCPTool(tool_config=config, **options)


@scenario(HOSTED)
async def hosted_tools_are_offered(side: Side) -> None:
    tools = [
        side.WebSearchTool(),
        side.FileSearchTool(vector_store_ids=["vs_1"], max_num_results=3),
        side.CodeInterpreterTool(
            tool_config={"type": "code_interpreter", "container": {"type": "auto"}}
        ),
        side.ImageGenerationTool(tool_config={"type": "image_generation"}),
        docs_server(side),
    ]
    await side.run(side.agent([text("x")], tools=tools), "hi")


@scenario(HOSTED)
async def hosted_calls_pass_through(side: Side) -> None:
    searched = item(
        type="web_search_call",
        id="ws_1",
        status="completed",
        action={"type": "search", "query": "oslo"},
    )
    found = item(
        type="file_search_call",
        id="fs_1",
        status="completed",
        queries=["oslo"],
        results=None,
    )
    ran = item(
        type="code_interpreter_call",
        id="ci_1",
        status="completed",
        code="1+1",
        container_id="cntr_1",
        outputs=None,
    )
    drawn = item(
        type="image_generation_call", id="ig_1", status="completed", result="AA=="
    )
    tools = [side.WebSearchTool(), gated(side, needs_approval=False)]
    agent = side.agent([searched, found, ran, drawn, pay(1)], [text("x")], tools=tools)
    await side.run(agent, "hi")


@scenario(HOSTED)
async def hosted_mcp_items_pass_through(side: Side) -> None:
    listed = item(
        type="mcp_list_tools",
        id="mcpl_1",
        server_label="docs",
        tools=[{"name": "search", "input_schema": {"type": "object"}}],
    )
    called = item(
        type="mcp_call",
        id="mcp_1",
        server_label="docs",
        name="search",
        arguments="{}",
        output="found",
    )
    await side.run(
        side.agent([listed, called, text("x")], tools=[docs_server(side)]), "hi"
    )


@scenario(HOSTED)
async def compaction_item_passes_through(side: Side) -> None:
    compacted = item(type="compaction", id="cmp_1", encrypted_content="xyz")
    agent = side.agent(
        [compacted, pay(1)], [text("x")], tools=[gated(side, needs_approval=False)]
    )
    await side.run(agent, "hi")


@scenario(APPROVAL)
async def hosted_mcp_approved(side: Side) -> None:
    agent = side.agent([mcp_request()], [text("x")], tools=[docs_server(side)])
    await decided(side, agent, await side.run(agent, "hi"), approve_all)


@scenario(APPROVAL)
async def hosted_mcp_rejected_with_a_reason(side: Side) -> None:
    def reject(state: Any, items: Any) -> None:
        state.reject(items[0], rejection_message="Not today.")

    for decide in (reject_all, reject):
        agent = side.agent([mcp_request()], [text("x")], tools=[docs_server(side)])
        await decided(side, agent, await side.run(agent, "hi"), decide)


@scenario(APPROVAL)
async def hosted_mcp_decided_in_code(side: Side) -> None:
    def decide(request: Any) -> Any:
        side.note(request.data.name, request.data.arguments, request.data.id)
        if request.data.name == "search":
            return {"approve": True}
        return {"approve": False, "reason": "No."}

    tools = [docs_server(side, on_approval_request=decide)]
    agent = side.agent(
        [mcp_request()], [mcp_request("mcpr_2", "delete")], [text("x")], tools=tools
    )
    await side.run(agent, "hi")


@scenario(APPROVAL)
async def hosted_mcp_always_approved(side: Side) -> None:
    def always(state: Any, items: Any) -> None:
        state.approve(items[0], always_approve=True)

    agent = side.agent(
        [mcp_request()],
        [mcp_request("mcpr_2")],
        [mcp_request("mcpr_3", "delete")],
        tools=[docs_server(side)],
    )
    await decided(side, agent, await side.run(agent, "hi"), always)


@scenario(APPROVAL)
async def hosted_mcp_beside_a_function_tool(side: Side) -> None:
    agent = side.agent(
        [mcp_request(), pay(1)], [text("x")], tools=[docs_server(side), gated(side)]
    )
    result = await side.run(agent, "hi")
    result = await decided(
        side, agent, result, lambda state, items: state.approve(items[0])
    )
    await decided(side, agent, result, approve_all)


@scenario(APPROVAL)
async def hosted_mcp_in_a_server_conversation(side: Side) -> None:
    agent = side.agent([mcp_request()], [text("x")], tools=[docs_server(side)])
    result = await side.run(agent, "hi", conversation_id="conv_1")
    await decided(side, agent, result, approve_all)


@scenario(HOSTED)
async def call_of_a_hosted_tool_by_function(side: Side) -> None:
    agent = side.agent([call("web_search")], [text("x")], tools=[side.WebSearchTool()])
    await side.run(agent, "hi")
