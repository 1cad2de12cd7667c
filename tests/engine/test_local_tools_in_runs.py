"""Shells, patches and custom tools in a run: approvals, resumes, failures."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.responses import ResponseCustomToolCall
from openai.types.responses.response_output_item import LocalShellCall

from runs.engine import (
    Agent,
    ApplyPatchOperation,
    ApplyPatchResult,
    ApplyPatchTool,
    CodeChanged,
    CustomTool,
    InMemoryJournal,
    LocalShellTool,
    ModelBehaviorError,
    Ports,
    Runner,
    RunState,
    ShellTool,
    UserError,
)
from runs.engine.testing import ModelStep

from .scripted import (
    END,
    approved,
    call_ids,
    model_of,
    paused,
    reread,
    scripted,
    told,
    waiting,
)

pytestmark = pytest.mark.usefixtures("nothing_left")


def item(raw: dict[str, Any]) -> Any:
    """Return an answer with one item as the model's server writes it."""
    from openai.types.responses import ResponseOutputItem
    from pydantic import TypeAdapter

    return TypeAdapter(ResponseOutputItem).validate_python(raw)


def shell(call_id: str = "s1", command: str = "ls") -> Any:
    return item(
        {
            "type": "shell_call",
            "id": "sh_1",
            "call_id": call_id,
            "status": "completed",
            "action": {"commands": [command], "timeout_ms": None},
        }
    )


def patch(call_id: str = "p1", path: str = "a.txt") -> Any:
    return item(
        {
            "type": "apply_patch_call",
            "id": "ap_1",
            "call_id": call_id,
            "status": "completed",
            "operation": {"type": "create_file", "path": path, "diff": "+hi"},
        }
    )


def sql(call_id: str = "q1", text: str = "select 1") -> Any:
    return ResponseCustomToolCall(
        type="custom_tool_call", id="ct_1", call_id=call_id, name="sql", input=text
    )


class Editor:
    def __init__(self, done: list[str]) -> None:
        self.done = done

    def create_file(self, operation: ApplyPatchOperation) -> ApplyPatchResult:
        self.done.append(f"create {operation.path}")
        return ApplyPatchResult(status="completed", output="made")

    update_file = delete_file = create_file


class Machine:
    """An agent with a shell, an editor and a custom tool, gated or not."""

    def __init__(self, *steps: Any, gated: Any = True, **tools: Any) -> None:
        self.done: list[str] = []
        self.agent: Agent[Any] = scripted(
            *steps,
            name="Machine",
            tools=[
                ShellTool(self.execute, needs_approval=gated, **tools),
                ApplyPatchTool(Editor(self.done), needs_approval=gated, **tools),
                CustomTool("sql", "", self.query, needs_approval=gated, **tools),
            ],
        )

    async def execute(self, request: Any) -> str:
        self.done.append(f"run {request.data.action.commands[0]}")
        return "listing"

    def query(self, ctx: Any, text: str) -> str:
        self.done.append(f"query {text}")
        return "rows"


CALLS = [
    pytest.param(shell(), "s1", "shell", "run ls", id="shell"),
    pytest.param(patch(), "p1", "apply_patch", "create a.txt", id="patch"),
    pytest.param(sql(), "q1", "sql", "query select 1", id="custom"),
]


@pytest.mark.parametrize(("asked", "call_id", "name", "did"), CALLS)
async def test_an_ungated_call_runs_and_its_output_is_of_its_form(
    asked: Any, call_id: str, name: str, did: str
) -> None:
    machine = Machine([asked], END, gated=False)

    result = await Runner.run(machine.agent, "go")

    assert result.final_output == "end"
    assert machine.done == [did]
    output = result.new_items[1]
    assert output.type == "tool_call_output_item"
    assert output.raw["type"] == f"{asked.type}_output"
    assert output.raw["call_id"] == call_id


@pytest.mark.parametrize(("asked", "call_id", "name", "did"), CALLS)
async def test_a_gated_call_waits_over_a_round_trip_and_runs_once(
    asked: Any, call_id: str, name: str, did: str
) -> None:
    machine = Machine([asked], END, END)
    state = await reread(machine.agent, await paused(machine.agent))
    waits = waiting(state)
    assert (waits.tool_name, waits.call_id) == (name, call_id)
    assert machine.done == []
    state.approve(waits)
    saved, ports = state.to_string(), Ports(journal=InMemoryJournal())

    for _ in range(2):
        again = await RunState.from_string(machine.agent, saved)
        result = await Runner.run(machine.agent, again, ports=ports)
        assert result.final_output == "end"
        assert call_id in told(machine.agent)

    assert machine.done == [did]


@pytest.mark.parametrize(("asked", "call_id", "name", "did"), CALLS)
async def test_a_rejected_call_tells_the_model_in_its_own_form(
    asked: Any, call_id: str, name: str, did: str
) -> None:
    machine = Machine([asked], END)
    state = await paused(machine.agent)

    state.reject(waiting(state), rejection_message="not here")
    result = await Runner.run(machine.agent, await reread(machine.agent, state))

    assert result.final_output == "end"
    assert machine.done == []
    output = result.new_items[1].raw
    assert output["type"] == f"{asked.type}_output"
    assert "not here" in str(output["output"])


@pytest.mark.parametrize(("asked", "call_id", "name", "did"), CALLS)
async def test_a_persons_answer_stands_for_the_output(
    asked: Any, call_id: str, name: str, did: str
) -> None:
    machine = Machine([asked], END)
    state = await paused(machine.agent)

    state.respond(waiting(state), "done by hand")
    await Runner.run(machine.agent, state)

    assert machine.done == []
    assert "done by hand" in str(told(machine.agent)[call_id])


@pytest.mark.parametrize(("asked", "call_id", "name", "did"), CALLS)
@pytest.mark.parametrize("allowed", [True, False])
async def test_code_may_decide_before_any_person(
    asked: Any, call_id: str, name: str, did: str, allowed: bool
) -> None:
    seen: list[Any] = []

    async def decide(ctx: Any, waits: Any) -> Any:
        seen.append((waits.tool_name, waits.call_id))
        return {"approve": allowed, "reason": "the house rules"}

    machine = Machine([asked], END, on_approval=decide)

    result = await Runner.run(machine.agent, "go")

    assert result.final_output == "end"
    assert seen == [(name, call_id)]
    assert machine.done == ([did] if allowed else [])
    assert ("house rules" in str(told(machine.agent)[call_id])) is not allowed


@pytest.mark.parametrize(("asked", "call_id", "name", "did"), CALLS)
async def test_a_rule_that_raises_asks_a_person(
    asked: Any, call_id: str, name: str, did: str
) -> None:
    def rule(*given: Any) -> bool:
        raise LookupError("no rules")

    state = await paused(Machine([asked], END, gated=rule).agent)

    assert "no rules" in waiting(state).call.why


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (shell("x", "ls"), shell("x", "rm -rf /")),
        (patch("x", "a"), patch("x", "b")),
        (sql("x", "select 1"), sql("x", "drop")),
    ],
)
async def test_a_call_id_used_again_for_something_else_ends_the_run(
    first: Any, second: Any
) -> None:
    machine = Machine([first], [second], gated=False)

    with pytest.raises(ModelBehaviorError, match="call id"):
        await Runner.run(machine.agent, "go")

    assert len(machine.done) == 1


@pytest.mark.parametrize(("asked", "call_id", "name", "did"), CALLS)
async def test_a_call_changed_in_a_saved_state_never_runs(
    asked: Any, call_id: str, name: str, did: str
) -> None:
    machine = Machine([asked], END)
    state = await paused(machine.agent)
    state.approve(waiting(state))
    saved = state.to_json()
    raw = saved["items"][1]["raw"]
    raw.update(
        input="drop",
        action={"commands": ["rm"]},
        operation={"type": "delete_file", "path": "a"},
    )

    with pytest.raises(ModelBehaviorError, match="not the one"):
        await RunState.from_json(machine.agent, saved)


@pytest.mark.parametrize(("asked", "call_id", "name", "did"), CALLS)
async def test_a_tool_that_is_gone_is_named(
    asked: Any, call_id: str, name: str, did: str
) -> None:
    machine = Machine([asked], END)
    saved = (await paused(machine.agent)).to_json()
    machine.agent.tools = []

    with pytest.raises(CodeChanged, match=f"{name}.*no longer has"):
        await RunState.from_json(machine.agent, saved)


async def test_a_standing_approval_covers_later_commands() -> None:
    machine = Machine([shell("s1", "ls")], [shell("s2", "pwd"), sql()], END)
    state = await paused(machine.agent)

    state.approve(waiting(state), always_approve=True)
    result = await Runner.run(machine.agent, await reread(machine.agent, state))

    assert machine.done == ["run ls", "run pwd"]
    assert call_ids(result.interruptions) == ["q1"]


async def test_calls_of_every_form_run_beside_each_other() -> None:
    machine = Machine([shell(), patch(), sql()], END)
    state = await paused(machine.agent)
    assert call_ids(state.get_interruptions()) == ["s1", "p1", "q1"]

    result = await approved(machine.agent, await reread(machine.agent, state))

    assert result.final_output == "end"
    assert sorted(machine.done) == ["create a.txt", "query select 1", "run ls"]
    assert list(told(machine.agent)) == ["s1", "p1", "q1"]


async def test_an_executor_that_raises_is_the_calls_output() -> None:
    def broken(request: Any) -> str:
        raise OSError("disk full")

    agent = scripted([shell()], END, tools=[ShellTool(broken)])

    result = await Runner.run(agent, "go")

    assert result.final_output == "end"
    assert "disk full" in str(told(agent)["s1"])


async def test_the_older_local_shell_runs_ungated() -> None:
    asked = LocalShellCall.model_validate(
        {
            "type": "local_shell_call",
            "id": "ls_1",
            "call_id": "l1",
            "status": "completed",
            "action": {"type": "exec", "command": ["ls"], "env": {}},
        }
    )
    tool = LocalShellTool(lambda request: " ".join(request.data.action.command))
    agent = scripted([asked], END, tools=[tool])

    await Runner.run(agent, "go")

    assert told(agent) == {"l1": "ls"}


async def test_a_custom_tools_data_survives_a_round_trip() -> None:
    tool = CustomTool(
        "sql", "", lambda ctx, text: "rows", custom_data_extractor=lambda c: {"n": 3}
    )
    agent = scripted([sql()], END, tools=[tool])
    result = await Runner.run(agent, "go")

    again = await reread(agent, result.to_state())

    for items in (result.new_items, again.new_items):
        assert items[1].custom_data == {"n": 3}  # type: ignore[attr-defined]
    asked = model_of(agent).last_call
    assert asked is not None
    assert "custom_data" not in str(asked.input)


async def test_stop_on_first_tool_does_not_take_a_shells_words() -> None:
    # As in the SDK: only function tools can end a run.
    agent = scripted(
        [shell()], END, tools=[ShellTool(lambda request: "listing")],
        tool_use_behavior="stop_on_first_tool",
    )  # fmt: skip

    assert (await Runner.run(agent, "go")).final_output == "end"


async def test_a_shell_of_the_server_is_passed_through_and_not_run() -> None:
    environment: Any = {"type": "container_auto"}
    agent = scripted([shell()], END, tools=[ShellTool(environment=environment)])

    result = await Runner.run(agent, "go")

    assert result.final_output == "end"
    assert [one.type for one in result.new_items] == [
        "tool_call_item",
        "message_output_item",
    ]


async def test_a_shell_that_nothing_executes_is_refused_when_made() -> None:
    with pytest.raises(UserError):
        ShellTool()


async def test_a_step_may_answer_from_the_request() -> None:
    machine = Machine(
        ModelStep.respond(lambda call: [sql("q1", str(len(call.input)))]),
        END,
        gated=False,
    )

    await Runner.run(machine.agent, "go")

    assert machine.done == ["query 1"]
