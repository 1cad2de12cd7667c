"""Tools of the model's server in runs: passed through, or asked about."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputItem,
    ResponseReasoningItem,
)
from pydantic import TypeAdapter

from runs.engine import (
    Agent,
    HostedMCPTool,
    InMemoryGate,
    ModelInputData,
    Ports,
    RunConfig,
    Runner,
    UserError,
    Verdict,
    VerdictKind,
    WebSearchTool,
)

from .scripted import (
    END,
    Support,
    approved,
    call_ids,
    look_up,
    model_of,
    paused,
    refund,
    reread,
    scripted,
    waiting,
)

pytestmark = pytest.mark.usefixtures("nothing_left")


def item(raw: dict[str, Any]) -> Any:
    return TypeAdapter(ResponseOutputItem).validate_python(raw)


def request(call_id: str, tool: str = "delete", label: str = "files") -> Any:
    return item(
        {
            "type": "mcp_approval_request",
            "id": call_id,
            "name": tool,
            "server_label": label,
            "arguments": '{"path": "/tmp"}',
        }
    )


def hosted(label: str = "files", **options: Any) -> HostedMCPTool:
    config: Any = {
        "type": "mcp",
        "server_label": label,
        "server_url": "https://mcp.example",
        "require_approval": "always",
    }
    return HostedMCPTool(tool_config=config, **options)


def asking(*steps: Any, **options: Any) -> Agent[Any]:
    return scripted(*steps, tools=[hosted(**options)])


def answers(agent: Agent[Any]) -> list[dict[str, Any]]:
    """Return what the server was last told about its requests."""
    last = model_of(agent).last_call
    assert last is not None
    found = [one for one in last.input if one.get("type") == "mcp_approval_response"]
    return [{key: one.get(key) for key in ANSWER_KEYS if key in one} for one in found]


ANSWER_KEYS = ("approval_request_id", "approve", "reason")


async def test_a_servers_request_waits_for_a_person() -> None:
    state = await reread(asking(), await paused(asking([request("m1")])))
    waits = waiting(state)

    assert (waits.tool_name, waits.call_id) == ("delete", "m1")
    assert waits.arguments == '{"path": "/tmp"}'
    assert "files" in waits.call.why


@pytest.mark.parametrize("stored", [True, False])
async def test_an_approval_is_sent_to_the_server(stored: bool) -> None:
    agent = asking([request("m1")], END)
    state = await paused(agent)

    state.approve(waiting(state))
    result = await Runner.run(agent, await reread(agent, state) if stored else state)

    assert result.final_output == "end"
    assert answers(agent) == [{"approval_request_id": "m1", "approve": True}]
    assert [one.type for one in result.new_items] == [
        "mcp_approval_request_item",
        "mcp_approval_response_item",
        "message_output_item",
    ]


@pytest.mark.parametrize("reason", ["not today", None])
async def test_a_rejection_is_sent_to_the_server_with_its_reason(
    reason: str | None,
) -> None:
    agent = asking([request("m1")], END)
    state = await paused(agent)

    state.reject(waiting(state), rejection_message=reason)
    await Runner.run(agent, await reread(agent, state))

    said: dict[str, Any] = {"approval_request_id": "m1", "approve": False}
    assert answers(agent) == [said | ({"reason": reason} if reason else {})]


async def test_several_requests_are_answered_one_by_one() -> None:
    agent = asking([request("m1"), request("m2", "read")], END)
    state = await paused(agent)

    state.approve(waiting(state, "m2"))
    result = await Runner.run(agent, state)
    assert call_ids(result.interruptions) == ["m1"]
    assert len(model_of(agent).calls) == 1
    state = await reread(agent, result.to_state())
    state.reject(waiting(state))
    await Runner.run(agent, state)

    assert {one["approval_request_id"]: one["approve"] for one in answers(agent)} == {
        "m1": False,
        "m2": True,
    }


async def test_a_standing_decision_is_of_one_server_and_one_tool() -> None:
    agent = scripted(
        [request("m1")],
        [request("m2"), request("m3", "read"), request("m4", label="mail")],
        END,
        tools=[hosted(), hosted("mail")],
    )
    state = await paused(agent)

    state.approve(waiting(state), always_approve=True)
    result = await Runner.run(agent, await reread(agent, state))

    assert call_ids(result.interruptions) == ["m3", "m4"]


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("later", [True, False])
async def test_code_may_answer_without_a_pause(allowed: bool, later: bool) -> None:
    seen: list[Any] = []

    def decide(asked: Any) -> Any:
        seen.append((asked.data.name, asked.data.server_label))
        return {"approve": allowed, "reason": "house rules"}

    async def decide_later(asked: Any) -> Any:
        return decide(asked)

    agent = asking(
        [request("m1")], END, on_approval_request=decide_later if later else decide
    )

    result = await Runner.run(agent, "go")

    assert result.final_output == "end"
    assert seen == [("delete", "files")]
    [said] = answers(agent)
    assert said["approve"] is allowed
    assert ("reason" in said) is not allowed


async def test_code_that_raises_ends_the_run_with_a_state_to_go_on_from() -> None:
    broken = [True]

    def decide(asked: Any) -> Any:
        if broken[0]:
            raise LookupError("no rules")
        return {"approve": True}

    agent = asking([request("m1")], END, on_approval_request=decide)

    with pytest.raises(Exception, match="no rules") as error:
        await Runner.run(agent, "go")
    broken[0] = False
    state = await reread(agent, error.value.run_state)  # type: ignore[attr-defined]
    await Runner.run(agent, state)

    assert answers(agent) == [{"approval_request_id": "m1", "approve": True}]


async def test_a_gate_may_answer_a_server() -> None:
    gate = InMemoryGate()
    agent = asking([request("m1")], END)
    state = await paused(agent, ports=Ports(gate=gate))

    gate.decide("m1", Verdict(kind=VerdictKind.REJECT, message="no"))
    result = await Runner.run(agent, state, ports=Ports(gate=gate))

    assert result.final_output == "end"
    assert answers(agent)[0]["reason"] == "no"


async def test_a_server_takes_no_edit() -> None:
    state = await paused(asking([request("m1")]))

    with pytest.raises(UserError, match="approve or reject"):
        state.approve(waiting(state), arguments={"path": "/"})


async def test_items_of_the_servers_own_tools_are_kept_and_sent_back() -> None:
    search = item(
        {
            "type": "web_search_call",
            "id": "ws_1",
            "status": "completed",
            "action": {"type": "search", "query": "refunds"},
        }
    )
    support = Support([search, refund("c1")], END, tools=[WebSearchTool()])

    state = await reread(support.agent, await paused(support.agent))
    result = await approved(support.agent, state)

    assert result.new_items[0].type == "tool_call_item"
    last = support.model.last_call
    assert last is not None
    assert last.input[1]["type"] == "web_search_call"
    assert last.input[1]["action"]["query"] == "refunds"
    assert result.final_output == "end"


async def test_an_item_of_a_kind_nobody_knows_is_kept() -> None:
    odd = ResponseFunctionToolCall.model_construct(type="hologram", id="h1", beam=3)
    agent = scripted([odd, look_up("c1")], END, tools=[Support().look_up()])

    result = await Runner.run(agent, "go")
    again = await reread(agent, result.to_state())

    assert again.new_items[0].raw["beam"] == 3
    assert again.new_items[0].type == "other_item"


# What the model reads back


def thought() -> Any:
    return ResponseReasoningItem(type="reasoning", id="rs_1", summary=[])


@pytest.mark.parametrize(
    ("policy", "kept"), [("omit", False), ("preserve", True), (None, True)]
)
async def test_reasoning_goes_back_with_or_without_its_id(
    policy: Any, kept: bool
) -> None:
    support = Support([thought(), refund("c1")], [thought(), look_up("c2")], END)
    config = RunConfig(reasoning_item_id_policy=policy)
    state = await reread(support.agent, await paused(support.agent, run_config=config))

    await approved(support.agent, state)  # the policy is the state's by now

    last = support.model.last_call
    assert last is not None
    thoughts = [one for one in last.input if one.get("type") == "reasoning"]
    assert [("id" in one) for one in thoughts] == [kept, kept]


async def test_a_states_reasoning_policy_may_be_changed() -> None:
    support = Support([thought(), refund("c1")], END)
    state = await paused(support.agent)

    state.set_reasoning_item_id_policy("omit")
    await approved(support.agent, await reread(support.agent, state))

    last = support.model.last_call
    assert last is not None
    assert "id" not in next(one for one in last.input if one.get("type") == "reasoning")
    assert state.all_items[1].raw["id"] == "rs_1"


@pytest.mark.parametrize("later", [True, False])
async def test_a_filter_edits_each_request_and_nothing_else(later: bool) -> None:
    def edited(data: Any) -> ModelInputData:
        seen.append((data.agent, data.context))
        return ModelInputData(input=data.model_data.input[-1:], instructions="filtered")

    async def edited_later(data: Any) -> ModelInputData:
        return edited(data)

    seen: list[Any] = []
    support = Support([look_up("c1")], END, instructions="own")
    config = RunConfig(call_model_input_filter=edited_later if later else edited)

    result = await Runner.run(support.agent, "go", context="ada", run_config=config)

    assert [len(asked.input) for asked in support.model.calls] == [1, 1]
    assert support.model.calls[1].system_instructions == "filtered"
    assert seen == [(support.agent, "ada")] * 2
    assert len(result.to_input_list()) == 4


async def test_a_filter_that_gives_something_else_ends_the_run() -> None:
    config = RunConfig(call_model_input_filter=lambda data: None)  # type: ignore[arg-type,return-value]

    with pytest.raises(UserError, match="ModelInputData"):
        await Runner.run(scripted(END), "go", run_config=config)
