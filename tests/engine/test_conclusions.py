"""The end of a run: what tools gave as its answer, and what a guardrail blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from openai.types.responses.response_output_item import McpApprovalRequest

from runs.engine import (
    Agent,
    Call,
    Claim,
    ClaimStatus,
    FunctionTool,
    GuardrailFunctionOutput,
    HostedMCPTool,
    NoJournal,
    OutputGuardrailTripwireTriggered,
    Ports,
    RunConfig,
    Runner,
    RunState,
    function_tool,
    output_guardrail,
    tool_namespace,
)
from runs.engine.testing import ScriptedModel, function_call

SECRET = "the password"


@function_tool
def look() -> str:
    return SECRET


@output_guardrail
def keeps_secrets(ctx: Any, agent: Any, output: Any) -> GuardrailFunctionOutput:
    return GuardrailFunctionOutput(None, SECRET in output)


def ending(tools: Sequence[FunctionTool], *calls: Any, **settings: Any) -> Agent[Any]:
    behavior = settings.pop("tool_use_behavior", "stop_on_first_tool")
    return Agent(
        name="A",
        tools=list(tools),
        model=ScriptedModel(steps=[list(calls)]),
        tool_use_behavior=behavior,
        **settings,
    )


def broken(args: Any) -> str:
    raise ValueError("no")


@pytest.mark.parametrize(
    ("message", "read"),
    [
        (None, "A guardrail blocked the output of this tool."),
        ("Hidden.", "Hidden."),
        (lambda args: f"{args.guardrail_name} said no", "keeps_secrets said no"),
        (lambda args: None, "A guardrail blocked the output of this tool."),
        (broken, "A guardrail blocked the output of this tool."),
    ],
)
async def test_what_a_guardrail_blocks_of_a_tool_is_hidden(
    message: Any, read: str
) -> None:
    agent = ending(
        [look],
        function_call("look", {}, call_id="c"),
        output_guardrails=[keeps_secrets],
    )
    config = RunConfig(output_guardrail_blocked_message=message)

    with pytest.raises(OutputGuardrailTripwireTriggered) as raised:
        await Runner.run(agent, "go", run_config=config)

    state, data = raised.value.run_state, raised.value.run_data
    assert state is not None
    assert data is not None
    assert [item.raw.get("output") for item in data.new_items] == [None, read]
    again = await RunState.from_json(agent, state.to_json())
    assert again.model_input()[-1]["output"] == read
    assert again.to_json() == state.to_json()


async def test_a_namespaced_tool_may_end_the_run() -> None:
    @function_tool(name_override="find")
    def north() -> str:
        return "from the north"

    @function_tool(name_override="find")
    def south() -> str:
        return "from the south"

    tools = [
        *tool_namespace(name="north", description="N.", tools=[north]),
        *tool_namespace(name="south", description="S.", tools=[south]),
    ]
    call = function_call("find", {}, call_id="c").model_copy(
        update={"namespace": "north"}
    )
    agent = ending(
        tools, call, tool_use_behavior={"stop_at_tool_names": ["north.find"]}
    )

    result = await Runner.run(agent, "go")

    assert result.final_output == "from the north"


class Doubtful(NoJournal):
    """Cannot say whether a call was answered."""

    async def claim(self, state: RunState[Any], call: Call) -> Claim:
        return Claim(status=ClaimStatus.IN_DOUBT)


async def test_a_hosted_call_in_doubt_is_not_approved() -> None:
    config: Any = {
        "type": "mcp",
        "server_label": "files",
        "server_url": "https://files.example",
    }
    request = McpApprovalRequest(
        type="mcp_approval_request",
        id="m1",
        name="read",
        arguments="{}",
        server_label="files",
    )
    agent: Agent[Any] = Agent(
        name="A",
        tools=[HostedMCPTool(tool_config=config)],
        model=ScriptedModel(steps=[[request]]),
    )
    state = (await Runner.run(agent, "go")).to_state()
    state.approve(state.get_interruptions()[0])

    result = await Runner.run(agent, state, ports=Ports(journal=Doubtful()))

    assert [item.call_id for item in result.interruptions] == ["m1"]
    assert "mcp_approval_response_item" not in [item.type for item in result.new_items]
