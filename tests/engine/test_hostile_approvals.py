"""Ways around an approval: what a person saw is what runs, or nothing runs."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import (
    ResponseApplyPatchToolCall,
    ResponseCustomToolCall,
    ResponseFunctionShellToolCall,
)
from openai.types.responses.response_output_item import McpApprovalRequest

from runs.engine import (
    Agent,
    ApplyPatchTool,
    Claim,
    ClaimStatus,
    CustomTool,
    HostedMCPTool,
    InMemoryGate,
    InMemoryJournal,
    InvalidRunState,
    ModelBehaviorError,
    Ports,
    Runner,
    RunResult,
    RunState,
    ShellTool,
    UserError,
    Verdict,
    VerdictKind,
    function_tool,
    handoff,
    tool_namespace,
)
from runs.engine.calls import key_of
from runs.engine.digest import call_digest
from runs.engine.testing import ScriptedModel, assistant_message, function_call

END = [assistant_message("end")]
APPROVE = Verdict(kind=VerdictKind.APPROVE)


def agent(*steps: Any, name: str = "A", **settings: Any) -> Agent[Any]:
    return Agent(name=name, model=ScriptedModel([*steps, END]), **settings)


def paying(done: list[Any], name: str = "pay") -> Any:
    @function_tool(needs_approval=True, name_override=name)
    async def pay(eur: int) -> str:
        done.append(eur)
        return "paid"

    return pay


def pay_call(eur: int = 1, call_id: str = "1", name: str = "pay") -> Any:
    return function_call(name, {"eur": eur}, call_id=call_id)


async def approved(root: Agent[Any], state: RunState[Any], **how: Any) -> RunResult:
    for item in state.get_interruptions():
        state.approve(item, **how)
    return await Runner.run(root, state)


def custom_call(text: str = "drop", call_id: str = "1") -> ResponseCustomToolCall:
    return ResponseCustomToolCall(
        call_id=call_id, input=text, name="sql", type="custom_tool_call", id=f"i{text}"
    )


def sql(done: list[str], **settings: Any) -> CustomTool:
    def run(_: Any, text: str) -> str:
        done.append(text)
        return "done"

    return CustomTool("sql", "Runs it.", run, **settings)


# Names


async def test_a_namespaced_call_is_read_again_and_its_edits_are_checked() -> None:
    done: list[Any] = []
    [tool] = tool_namespace(name="bank", description="B", tools=[paying(done)])
    call = pay_call().model_copy(update={"namespace": "bank"})
    root = agent([call], tools=[tool])
    paused = await Runner.run(root, "go")

    state = await RunState.from_json(root, paused.to_state().to_json())
    [item] = state.get_interruptions()
    with pytest.raises(UserError, match="does not take"):
        state.approve(item, arguments={"eur": "all"})
    result = await approved(root, state)

    assert (result.final_output, done) == ("end", [1])


async def test_of_two_tools_of_one_name_the_offered_one_is_read_and_runs() -> None:
    first: list[Any] = []
    second: list[Any] = []

    @function_tool(needs_approval=True)
    async def pay(usd: str) -> str:
        second.append(usd)
        return "paid"

    call = function_call("pay", {"usd": "1"}, call_id="1")
    root = agent([call], tools=[paying(first), pay])
    paused = await Runner.run(root, "go")

    state = await RunState.from_json(root, paused.to_state().to_json())
    await approved(root, state, arguments={"usd": "2"})

    assert (first, second) == ([], ["2"])


async def test_always_covers_no_other_agent_of_the_same_name() -> None:
    done: list[Any] = []
    other = agent([pay_call(2, "2")], name="Shop", tools=[paying(done)])
    root = agent(
        [pay_call(1, "1")],
        [function_call("go", {}, call_id="h")],
        name="Shop",
        tools=[paying(done)],
        handoffs=[handoff(other, tool_name_override="go")],
    )
    paused = await Runner.run(root, "go")

    result = await approved(root, paused.to_state(), always_approve=True)

    assert done == [1]
    assert [item.call.agent_path for item in result.interruptions] == ["Shop#2"]


async def test_always_covers_no_tool_whose_parameters_are_others_by_now() -> None:
    done: list[Any] = []
    root = agent([pay_call(1, "1")], [pay_call(2, "2")], tools=[paying(done)])
    root.tools.append(paying(done, "other"))
    paused = await Runner.run(root, "go")
    state = paused.to_state()
    state.approve(state.get_interruptions()[0], always_approve=True)

    @function_tool(needs_approval=True)
    async def pay(eur: int, iban: str = "") -> str:
        done.append("another")
        return "paid"

    saved = state.to_json()
    saved["sticky"][0]["schema_hash"] = pay.schema_hash
    result = await Runner.run(root, await RunState.from_json(root, saved))

    assert done == [1]
    assert [item.call_id for item in result.interruptions] == ["2"]


texts = st.text(
    st.characters(codec=None, categories=["L", "N", "P", "Cs"]) | st.sampled_from("/%"),
    min_size=1,
    max_size=8,
)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(one=st.lists(texts, min_size=1, max_size=3), two=st.lists(texts, max_size=3))
def test_no_call_ids_make_the_key_of_another_frame(
    one: list[str], two: list[str]
) -> None:
    keys = []
    for ids in (one, two):
        key = ""
        for call_id in ids:
            key = key_of(key, call_id)
        keys.append(key)

    assert (keys[0] == keys[1]) == (one == two)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(parts=st.lists(st.text(max_size=6) | texts, min_size=4, max_size=4), at=texts)
def test_every_part_of_a_call_makes_another_digest(parts: list[str], at: str) -> None:
    names = ("tool", "schema_hash", "agent_path", "arguments")
    digest = call_digest(**dict(zip(names, parts, strict=True)))

    for index, name in enumerate(names):
        changed = dict(zip(names, parts, strict=True)) | {name: parts[index] + at}
        if parts[index] + at != parts[index]:
            assert call_digest(**changed) != digest


@pytest.mark.parametrize("call_id", ["", "\x00", "x" * 501, "\ud800"])
async def test_a_call_id_that_cannot_be_kept_ends_the_run(call_id: str) -> None:
    done: list[Any] = []
    root = agent([pay_call(call_id=call_id)], tools=[paying(done)])

    with pytest.raises(ModelBehaviorError):
        await Runner.run(root, "go")


async def test_a_name_that_is_no_text_to_others_is_no_tool() -> None:
    root = agent([function_call("\ud800", "\ud800", call_id="1")])

    result = await Runner.run(root, "go")

    assert result.final_output == "end"


# Tools with calls of a form of their own


async def test_a_patch_shows_the_operation_that_runs() -> None:
    done: list[str] = []

    class Editor:
        def delete_file(self, operation: Any) -> None:
            done.append(operation.path)

        create_file = update_file = delete_file

    call = ResponseApplyPatchToolCall.model_construct(
        id="p",
        call_id="1",
        type="apply_patch_call",
        status="completed",
        operation={"type": "delete_file", "path": "accounts.db"},
        operations={"type": "update_file", "path": "README", "diff": "+hello"},
    )
    tool = ApplyPatchTool(editor=Editor(), needs_approval=True)
    root = agent([call], tools=[tool])
    paused = await Runner.run(root, "go")

    [item] = paused.interruptions
    assert "accounts.db" in item.arguments
    assert "README" not in item.arguments
    await approved(root, paused.to_state())
    assert done == ["accounts.db"]


async def test_changing_an_interruption_changes_no_command() -> None:
    done: list[Any] = []
    call = ResponseFunctionShellToolCall.model_construct(
        id="s", call_id="1", type="shell_call", action={"commands": ["ls"]}
    )

    def execute(request: Any) -> str:
        done.append(request.data.action.commands)
        return ""

    tool = ShellTool(executor=execute, needs_approval=True)
    root = agent([call], tools=[tool])
    state = (await Runner.run(root, "go")).to_state()

    [item] = state.get_interruptions()
    item.raw["action"]["commands"].append("rm -rf /")
    await approved(root, state)

    assert done == [["ls"]]


async def test_a_command_changed_in_the_run_itself_does_not_run() -> None:
    done: list[Any] = []
    root = agent([custom_call("select")], tools=[sql(done, needs_approval=True)])
    state = (await Runner.run(root, "go")).to_state()

    for item in state.all_items:
        item.raw.update({"input": "drop"} if "input" in item.raw else {})
    result = await approved(root, state)

    assert (done, result.final_output) == ([], "end")


async def test_a_local_call_cannot_be_ungated_in_a_saved_state() -> None:
    done: list[str] = []
    root = agent([custom_call()], tools=[sql(done, needs_approval=True)])
    saved = (await Runner.run(root, "go")).to_state().to_json()
    saved["open"][0]["gated"] = False

    result = await Runner.run(root, await RunState.from_json(root, saved))

    assert done == []
    assert [item.call_id for item in result.interruptions] == ["1"]


async def test_a_local_tool_that_asks_by_now_does_not_run_unasked() -> None:
    done: list[str] = []
    first, second = sql(done), sql(done, needs_approval=True)
    root = agent([custom_call()], tools=[first])

    class Swapping(InMemoryJournal):
        async def claim(self, state: Any, call: Any) -> Claim:
            root.tools[:] = [second]
            return await super().claim(state, call)

    await Runner.run(root, "go", ports=Ports(journal=Swapping()))

    assert done == []


@pytest.mark.parametrize("said", ["no", "false", 1, [0], {"yes": 1}])
async def test_only_true_approves(said: Any) -> None:
    done: list[str] = []
    tool = sql(done, needs_approval=True, on_approval=lambda *_: {"approve": said})

    await Runner.run(agent([custom_call()], tools=[tool]), "go")

    assert done == []


@pytest.mark.parametrize("said", ["no", "false", 1, [0], {"yes": 1}])
async def test_only_true_approves_a_servers_call(said: Any) -> None:
    tool = HostedMCPTool(
        tool_config={"type": "mcp", "server_label": "s", "server_url": "http://s"},
        on_approval_request=lambda _: {"approve": said},
    )
    asked = McpApprovalRequest(
        id="1", arguments="{}", name="n", server_label="s", type="mcp_approval_request"
    )

    result = await Runner.run(agent([asked], tools=[tool]), "go")

    [answer] = [
        item.raw
        for item in result.new_items
        if item.raw.get("type") == "mcp_approval_response"
    ]
    assert answer["approve"] is False


async def test_what_a_journal_knows_as_rejected_a_server_is_not_told_to_do() -> None:
    tool = HostedMCPTool(
        tool_config={"type": "mcp", "server_label": "s", "server_url": "http://s"}
    )
    asked = McpApprovalRequest(
        id="1", arguments="{}", name="n", server_label="s", type="mcp_approval_request"
    )
    root = agent([asked], END, tools=[tool])
    ports = Ports(journal=InMemoryJournal())
    paused = await Runner.run(root, "go", ports=ports)
    rejecting, approving = paused.to_state(), paused.to_state()
    rejecting.reject(rejecting.get_interruptions()[0])
    approving.approve(approving.get_interruptions()[0])

    await Runner.run(root, rejecting, ports=ports)
    result = await Runner.run(root, approving, ports=ports)

    [answer] = [item.raw for item in result.new_items if "approve" in item.raw]
    assert answer["approve"] is False


@pytest.mark.parametrize("second", ["b", "a"])
async def test_an_id_used_for_two_commands_ends_the_run(second: str) -> None:
    done: list[str] = []
    root = agent([custom_call("a"), custom_call(second)], tools=[sql(done)])

    if second == "a":
        await Runner.run(root, "go")
    else:
        with pytest.raises(ModelBehaviorError, match="again"):
            await Runner.run(root, "go")

    assert done == (["a"] if second == "a" else [])


@pytest.mark.parametrize("kind", ["handoff", "local", "hosted_mcp", "nothing"])
async def test_a_stored_call_is_of_the_kind_its_item_is(kind: str) -> None:
    root = agent([pay_call()], tools=[paying([])])
    saved = (await Runner.run(root, "go")).to_state().to_json()
    saved["open"][0]["kind"] = kind

    with pytest.raises(InvalidRunState):
        await RunState.from_json(root, saved)


async def test_a_servers_request_without_arguments_ends_the_run() -> None:
    asked = McpApprovalRequest.model_construct(
        id="1", name="n", server_label="s", type="mcp_approval_request"
    )

    with pytest.raises(ModelBehaviorError, match="arguments"):
        await Runner.run(agent([asked]), "go")


# Decisions


async def test_a_held_call_is_not_claimed_again_without_news() -> None:
    done: list[Any] = []

    class Holding(InMemoryJournal):
        asked = 0

        async def claim(self, state: Any, call: Any) -> Claim:
            self.asked += 1
            return Claim(status=ClaimStatus.HELD)

    gate, journal = InMemoryGate(), Holding()
    gate.decide("1", APPROVE)
    inner = agent([pay_call()], name="B", tools=[paying(done)])
    gate.decide("2/1", APPROVE)
    both = [pay_call(), function_call("b", {"input": "x"}, call_id="2")]
    root = agent(both, tools=[paying(done), inner.as_tool("b", "B")])

    result = await Runner.run(root, "go", ports=Ports(journal=journal, gate=gate))

    assert (result.final_output, done, journal.asked) == (None, [], 2)


def _is_no_edit(value: Any) -> bool:
    return value is not None and value != {"eur": 1}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(arguments=json_values.filter(_is_no_edit) | st.text(max_size=30))
async def test_hostile_edits_are_refused_and_decide_nothing(arguments: Any) -> None:
    done: list[Any] = []
    root = agent([pay_call()], tools=[paying(done)])
    state = (await Runner.run(root, "go")).to_state()
    before = copy.deepcopy(state.to_json())
    with pytest.raises((UserError, TypeError)):
        state.approve(state.get_interruptions()[0], arguments=arguments)

    assert state.to_json() == before
