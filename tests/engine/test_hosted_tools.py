"""Tools beside functions: what a server is sent, and the ones that are run here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from runs.engine.agent import Agent
from runs.engine.context import RunContextWrapper, ToolContext
from runs.engine.errors import UserError
from runs.engine.hosted.custom_tools import CustomTool, CustomToolCustomDataContext
from runs.engine.hosted.hosted_tools import (
    CodeInterpreterTool,
    FileSearchTool,
    HostedMCPTool,
    ImageGenerationTool,
    ProgrammaticToolCallingTool,
    ToolSearchTool,
    WebSearchTool,
)
from runs.engine.hosted.local_tools import LocalToolBase, local_tool_of
from runs.engine.hosted.patch_tools import (
    ApplyPatchOperation,
    ApplyPatchResult,
    ApplyPatchTool,
)
from runs.engine.hosted.shell_tools import (
    LocalShellCommandRequest,
    LocalShellTool,
    ShellTool,
)
from runs.engine.hosted.shell_types import (
    ShellCallOutcome,
    ShellCommandOutput,
    ShellCommandRequest,
    ShellResult,
)
from runs.engine.model_settings import MCPToolChoice, ModelSettings
from runs.engine.models import (
    ModelTracing,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    close_clients,
)
from runs.engine.prompts import GenerateDynamicPromptData, Prompt, prompt_payload
from runs.engine.tools.tool import FunctionTool
from runs.engine.tools.tool_names import tool_namespace
from tests.fake_openai import FakeOpenAI, text

CONTEXT: RunContextWrapper[Any] = RunContextWrapper(context=None)
TOOL_CONTEXT: ToolContext[Any] = ToolContext(context=None)
MCP: Any = {
    "type": "mcp",
    "server_label": "shop",
    "server_url": "https://mcp.test/",
    "require_approval": "always",
}


@dataclass
class Transfer:
    """As much of a handoff as an adapter reads."""

    tool_name: str = "transfer_to_desk"
    tool_description: str = "Hand over to the desk."
    strict_json_schema: bool = True

    @property
    def input_json_schema(self) -> dict[str, Any]:
        return {"type": "object", "properties": {}}


class Editor:
    """Keeps the changes it is asked to make."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def create_file(self, operation: ApplyPatchOperation) -> str:
        self.made.append(f"create {operation.path}: {operation.diff}")
        return f"made {operation.path}"

    async def update_file(self, operation: ApplyPatchOperation) -> ApplyPatchResult:
        self.made.append(f"update {operation.path}: {operation.diff}")
        return ApplyPatchResult("failed", "no such line")

    def delete_file(self, operation: ApplyPatchOperation) -> None:
        raise PermissionError("read-only")


def function(name: str = "refund") -> FunctionTool:
    return FunctionTool(name, f"Do {name}.", {"type": "object"}, _never)


def late(name: str) -> FunctionTool:
    tool = function(name)
    vars(tool)["defer_loading"] = True
    return tool


def mcp(**more: Any) -> HostedMCPTool:
    config: Any = {**MCP, **more}
    return HostedMCPTool(config)


def payload(name: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "function",
        "name": name,
        "description": f"Do {name}.",
        "parameters": function(name).params_json_schema,
        "strict": True,
        **more,
    }


async def _never(ctx: Any, arguments: str) -> Any:
    raise AssertionError("No adapter runs a tool.")


async def sent(
    *tools: Any, chat: bool = False, prompt: Any = None, handoffs: Any = (), **more: Any
) -> dict[str, Any]:
    """Return the request that a model makes of the tools."""
    kind: Any = OpenAIChatCompletionsModel if chat else OpenAIResponsesModel
    with FakeOpenAI([text("Hi.")]) as server:
        model = kind("fake", api_key="key", base_url=server.base_url)
        await model.get_response(
            None,
            "hi",
            ModelSettings(**more),
            list(tools),
            None,
            list(handoffs),
            ModelTracing.DISABLED,
            prompt=prompt,
        )
        await close_clients()
    return server.requests[0].body


# What the server is sent


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        (
            WebSearchTool(),
            {
                "type": "web_search",
                "filters": None,
                "user_location": None,
                "search_context_size": "medium",
            },
        ),
        (
            FileSearchTool(["vs_1"], 3, ranking_options={"ranker": "auto"}),
            {
                "type": "file_search",
                "vector_store_ids": ["vs_1"],
                "max_num_results": 3,
                "ranking_options": {"ranker": "auto"},
            },
        ),
        (
            FileSearchTool(["vs_1"], 0),
            {"type": "file_search", "vector_store_ids": ["vs_1"]},
        ),
        (
            CodeInterpreterTool({"type": "code_interpreter", "container": "cntr_1"}),
            {"type": "code_interpreter", "container": "cntr_1"},
        ),
        (
            ImageGenerationTool({"type": "image_generation", "quality": "low"}),
            {"type": "image_generation", "quality": "low"},
        ),
        (HostedMCPTool(MCP), MCP),
        (LocalShellTool(lambda request: ""), {"type": "local_shell"}),
        (
            ShellTool(lambda request: "", allowed_callers=["direct"]),
            {
                "type": "shell",
                "environment": {"type": "local"},
                "allowed_callers": ["direct"],
            },
        ),
        (
            ShellTool(environment={"type": "container_auto"}),
            {"type": "shell", "environment": {"type": "container_auto"}},
        ),
        (ApplyPatchTool(Editor()), {"type": "apply_patch"}),
        (
            CustomTool("sql", "Ask.", lambda ctx, given: "", format={"type": "text"}),
            {
                "type": "custom",
                "name": "sql",
                "description": "Ask.",
                "format": {"type": "text"},
            },
        ),
    ],
)
async def test_hosted_tool_is_sent_as_it_is(
    tool: Any, expected: dict[str, Any]
) -> None:
    body = await sent(function(), tool)

    assert body["tools"] == [payload("refund"), expected]
    assert "include" not in body


async def test_search_results_are_asked_for() -> None:
    web = WebSearchTool(
        filters={"allowed_domains": ["a.test"]},  # type: ignore[arg-type]
        external_web_access=False,
        search_content_types=["text", "image"],
        image_settings={"max_results": 2},
    )
    files = FileSearchTool(["vs_1"], include_search_results=True)

    body = await sent(web, files, response_include=["file_search_call.results"])

    assert body["include"] == ["web_search_call.results", "file_search_call.results"]
    assert body["tools"][0] == {
        "type": "web_search",
        "filters": {"allowed_domains": ["a.test"]},
        "user_location": None,
        "search_context_size": "medium",
        "external_web_access": False,
        "search_content_types": ["text", "image"],
        "image_settings": {"max_results": 2},
    }


async def test_handoffs_come_behind_the_tools() -> None:
    responses = await sent(function(), handoffs=[Transfer()])
    chat = await sent(handoffs=[Transfer()], chat=True, parallel_tool_calls=False)

    offered = {
        "name": "transfer_to_desk",
        "description": "Hand over to the desk.",
        "parameters": {"type": "object", "properties": {}},
        "strict": True,
    }
    assert responses["tools"] == [payload("refund"), {"type": "function", **offered}]
    assert chat["tools"] == [{"type": "function", "function": offered}]
    assert chat["parallel_tool_calls"] is False


async def test_namespace_holds_its_tools_where_its_first_one_stands() -> None:
    crm = tool_namespace(
        name=" crm ", description="Customers.", tools=[function("find"), late("merge")]
    )

    body = await sent(crm[0], function(), crm[1], ToolSearchTool(description="Look."))

    assert body["tools"] == [
        {
            "type": "namespace",
            "name": "crm",
            "description": "Customers.",
            "tools": [payload("find"), payload("merge", defer_loading=True)],
        },
        payload("refund"),
        {"type": "tool_search", "description": "Look."},
    ]


def test_namespace_leaves_the_tool_itself_alone() -> None:
    tool = function()

    tool_namespace(name="crm", description="Customers.", tools=[tool])

    assert tool.namespace is None


@pytest.mark.parametrize(
    "given",
    [
        {"name": " ", "description": "d", "tools": []},
        {"name": "crm", "description": None, "tools": []},
        {"name": "crm", "description": "d", "tools": [WebSearchTool()]},
        {"name": "refund", "description": "d", "tools": [function()]},
    ],
)
def test_namespace_refuses_what_it_cannot_hold(given: Any) -> None:
    with pytest.raises(UserError):
        tool_namespace(**given)


def in_space(about: str) -> FunctionTool:
    return tool_namespace(name="crm", description=about, tools=[function(about)])[0]


@pytest.mark.parametrize(
    ("tools", "match"),
    [
        ([late("a")], "ToolSearchTool"),
        ([mcp(defer_loading=True)], "ToolSearchTool"),
        ([ToolSearchTool(), function()], "finds nothing"),
        ([ToolSearchTool(), ToolSearchTool(), late("a")], "is enough"),
        ([in_space("one"), in_space("two")], "two descriptions"),
        ([ProgrammaticToolCallingTool()], "nothing to call"),
        (
            [mcp(allowed_callers=["programmatic"])],
            "ProgrammaticToolCallingTool",
        ),
        ([FileSearchTool(["vs_1"], 51)], "max_num_results"),
        (["refund"], "is no tool"),
    ],
)
async def test_tools_that_do_not_go_together_are_refused(
    tools: list[Any], match: str
) -> None:
    with pytest.raises(UserError, match=match):
        await sent(*tools)


async def test_prompt_may_bring_what_a_search_finds() -> None:
    body = await sent(ToolSearchTool(), prompt={"id": "pmpt_1"})

    assert body["tools"] == [{"type": "tool_search"}]


async def test_programs_are_offered_with_what_they_call() -> None:
    server = mcp(allowed_callers=["programmatic"])

    body = await sent(ProgrammaticToolCallingTool(), server)

    assert body["tools"][0] == {"type": "programmatic_tool_calling"}


@pytest.mark.parametrize("callers", [[], ["anyone"], ["direct", "direct"], "direct"])
def test_callers_are_a_list_of_two_at_most(callers: Any) -> None:
    with pytest.raises(UserError, match="allowed_callers"):
        ShellTool(lambda request: "", allowed_callers=callers)
    with pytest.raises(UserError, match="allowed_callers"):
        mcp(allowed_callers=callers)


def test_web_search_filters_have_known_names() -> None:
    with pytest.raises(TypeError, match="domains"):
        WebSearchTool(filters={"domains": ["a.test"]})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("required", "required"),
        ("web_search", {"type": "web_search"}),
        ("mcp", {"type": "mcp"}),
        ("shell", {"type": "shell"}),
        ("apply_patch", {"type": "function", "name": "apply_patch"}),
        ("refund", {"type": "function", "name": "refund"}),
        ("transfer_to_desk", {"type": "function", "name": "transfer_to_desk"}),
        (
            MCPToolChoice("shop", "refund"),
            {"type": "mcp", "server_label": "shop", "name": "refund"},
        ),
    ],
)
async def test_tool_choice_names_the_tool_or_its_kind(
    choice: Any, expected: Any
) -> None:
    shell = ShellTool(lambda request: "")

    body = await sent(function(), shell, handoffs=[Transfer()], tool_choice=choice)

    assert body["tool_choice"] == expected


@pytest.mark.parametrize("choice", ["find", "crm", "merge", "tool_search"])
async def test_what_is_found_by_searching_cannot_be_chosen(choice: str) -> None:
    crm = tool_namespace(name="crm", description="C.", tools=[function("find")])

    with pytest.raises(UserError, match="searching"):
        await sent(*crm, late("merge"), ToolSearchTool(), tool_choice=choice)


async def test_name_that_is_offered_too_can_be_chosen() -> None:
    crm = tool_namespace(name="crm", description="C.", tools=[function("find")])

    body = await sent(*crm, function("find"), tool_choice="find")

    assert body["tool_choice"] == {"type": "function", "name": "find"}


async def test_prompt_without_tools_of_ours_needs_no_choice_among_them() -> None:
    named = await sent(prompt={"id": "pmpt_1"}, tool_choice="refund")
    word = await sent(prompt={"id": "pmpt_1"}, tool_choice="required")

    assert "tool_choice" not in named
    assert word["tool_choice"] == "required"


@pytest.mark.parametrize(
    ("tools", "settings", "match"),
    [
        ([WebSearchTool()], {}, "WebSearchTool"),
        ([CustomTool("sql", "Ask.", lambda ctx, given: "")], {}, "CustomTool"),
        ([late("a")], {}, "defer_loading"),
        ([in_space("one")], {}, "tool_namespace"),
        ([function()], {"tool_choice": MCPToolChoice("shop", "refund")}, "MCPTool"),
    ],
)
async def test_chat_refuses_what_only_responses_know(
    tools: list[Any], settings: Any, match: str
) -> None:
    with pytest.raises(UserError, match=match):
        await sent(*tools, chat=True, **settings)


# Names


@pytest.mark.parametrize(
    ("tool", "name"),
    [
        (WebSearchTool(), "web_search"),
        (FileSearchTool([]), "file_search"),
        (HostedMCPTool(MCP), "hosted_mcp"),
        (LocalShellTool(lambda request: ""), "local_shell"),
        (ShellTool(lambda request: ""), "shell"),
        (ApplyPatchTool(Editor()), "apply_patch"),
        (ToolSearchTool(), "tool_search"),
        (ProgrammaticToolCallingTool(), "programmatic_tool_calling"),
    ],
)
def test_tools_have_the_names_of_their_kind(tool: Any, name: str) -> None:
    assert tool.name == name


# Run here


def shell_call(*commands: str, **action: Any) -> dict[str, Any]:
    return {
        "type": "shell_call",
        "call_id": "c1",
        "action": {"commands": list(commands), **action},
        "caller": {"type": "direct"},
    }


def patch_call(**operation: Any) -> dict[str, Any]:
    return {"type": "apply_patch_call", "call_id": "c1", "operation": operation}


CREATE = {"type": "create_file", "path": "a.txt", "diff": "+hi"}


async def test_shell_runs_the_commands_and_tells_all_they_gave() -> None:
    asked: list[ShellCommandRequest] = []

    def execute(request: ShellCommandRequest) -> ShellResult:
        asked.append(request)
        return ShellResult(
            [
                ShellCommandOutput("one\n", command="a", outcome=outcome(0)),
                ShellCommandOutput("", "bad\n", outcome=outcome(2)),
                ShellCommandOutput(outcome=ShellCallOutcome("timeout")),
            ]
        )

    given = await ShellTool(execute).answer(
        TOOL_CONTEXT, shell_call("a", "b", timeout_ms=0)
    )

    assert asked[0].data.action.commands == ["a", "b"]
    assert asked[0].data.action.timeout_ms is None
    assert given.text == "$ a\none\n\nstderr:\nbad\nexit code: 2\n\nstatus: timeout"
    assert given.item == {
        "type": "shell_call_output",
        "call_id": "c1",
        "output": [
            {
                "stdout": "one\n",
                "stderr": "",
                "outcome": {"type": "exit", "exit_code": 0},
            },
            {
                "stdout": "",
                "stderr": "bad\n",
                "outcome": {"type": "exit", "exit_code": 2},
            },
            {"stdout": "", "stderr": "", "outcome": {"type": "timeout"}},
        ],
        "status": "completed",
        "caller": {"type": "direct"},
    }


def outcome(code: int) -> ShellCallOutcome:
    return ShellCallOutcome("exit", code)


@pytest.mark.parametrize("limits", [(3, None), (9, 3), (3, 9)])
async def test_shell_output_is_cut_to_the_smaller_limit(
    limits: tuple[int, int | None],
) -> None:
    async def execute(request: ShellCommandRequest) -> ShellResult:
        return ShellResult([ShellCommandOutput("ab", "cd")], limits[1])

    given = await ShellTool(execute).answer(
        TOOL_CONTEXT, shell_call("a", max_output_length=limits[0])
    )

    output = given.item["output"][0]
    assert (output["stdout"], output["stderr"]) == ("ab", "c")
    assert (len(given.text), given.item["max_output_length"]) == (3, 3)


async def test_shell_may_give_a_text() -> None:
    given = await ShellTool(lambda request: "hello").answer(
        TOOL_CONTEXT, shell_call("a", max_output_length=4)
    )

    assert given.text == given.item["output"][0]["stdout"] == "hell"


@pytest.mark.parametrize(
    "call",
    [
        {"type": "shell_call", "call_id": "c1"},
        shell_call(),
        shell_call("a", timeout_ms=-1),
        shell_call("a", timeout_ms="soon"),
        {**shell_call("a"), "action": {"commands": "rm"}},
    ],
)
async def test_malformed_shell_call_is_an_output_and_never_runs(call: Any) -> None:
    def execute(request: ShellCommandRequest) -> str:
        raise AssertionError("It ran.")

    tool = ShellTool(execute, needs_approval=lambda ctx, action, call_id: False)
    given = await tool.answer(TOOL_CONTEXT, call)

    assert given.failed
    assert "shell call" in given.item["output"][0]["stderr"]
    assert (await tool.gate(CONTEXT, call))[0]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"environment": {"type": "container_auto"}, "executor": lambda request: ""},
        {"environment": {"type": "container_auto"}, "needs_approval": True},
        {"environment": "local", "executor": lambda request: ""},
    ],
)
def test_shell_is_here_with_an_executor_or_there_without(given: Any) -> None:
    with pytest.raises(UserError):
        ShellTool(**given)


async def test_local_shell_gives_its_text() -> None:
    def execute(request: LocalShellCommandRequest) -> str:
        return f"ran {request.data.action.command}"

    call = {
        "type": "local_shell_call",
        "call_id": "c1",
        "action": {"type": "exec", "command": ["ls"]},
    }
    given = await LocalShellTool(execute).answer(TOOL_CONTEXT, call)

    assert given.item == {
        "type": "local_shell_call_output",
        "call_id": "c1",
        "output": "ran ['ls']",
    }


async def test_patch_is_made_by_the_editor() -> None:
    editor = Editor()
    tool = ApplyPatchTool(editor)

    made = await tool.answer(TOOL_CONTEXT, patch_call(**CREATE))
    update = {"type": "update_file", "path": "a.txt", "diff": "-hi"}
    failed = await tool.answer(TOOL_CONTEXT, patch_call(**update))
    refused = await tool.answer(
        TOOL_CONTEXT, patch_call(type="delete_file", path="a.txt")
    )

    assert editor.made == ["create a.txt: +hi", "update a.txt: -hi"]
    assert made.item == {
        "type": "apply_patch_call_output",
        "call_id": "c1",
        "status": "completed",
        "output": "made a.txt",
    }
    assert (failed.item["status"], failed.text) == ("failed", "no such line")
    assert (refused.item["status"], refused.text) == ("failed", "read-only")


@pytest.mark.parametrize(
    "operation",
    [
        {},
        {**CREATE, "type": "chmod"},
        {**CREATE, "path": ""},
        {**CREATE, "diff": None},
        {**CREATE, "move_to": 3},
    ],
)
async def test_malformed_patch_is_an_output_and_changes_nothing(
    operation: dict[str, Any],
) -> None:
    editor = Editor()
    tool = ApplyPatchTool(editor, needs_approval=lambda ctx, change, call_id: False)

    given = await tool.answer(TOOL_CONTEXT, patch_call(**operation))

    assert given.failed
    assert "patch" in given.text
    assert editor.made == []
    assert (await tool.gate(CONTEXT, patch_call(**operation)))[0]


async def test_custom_tool_takes_and_gives_raw_text() -> None:
    kept: list[CustomToolCustomDataContext] = []

    def note(given: CustomToolCustomDataContext) -> dict[str, Any]:
        kept.append(given)
        return {"rows": 1}

    def invoke(ctx: ToolContext[Any], given: str) -> int:
        return len(given)

    tool = CustomTool("sql", "Ask.", invoke, custom_data_extractor=note)
    call = {"type": "custom_tool_call", "call_id": "c1", "name": "sql", "input": "ab"}
    given = await tool.answer(TOOL_CONTEXT, call)

    assert given.item == {
        "type": "custom_tool_call_output",
        "call_id": "c1",
        "output": "2",
    }
    assert given.custom_data == {"rows": 1}
    assert (kept[0].input, kept[0].output) == ("ab", "2")


@pytest.mark.parametrize(
    ("rule", "gated"),
    [
        (True, True),
        (False, False),
        (lambda ctx, given, call_id: given == "drop" and call_id == "c1", True),
        (lambda ctx, given, call_id: None, False),
        (lambda ctx, given, call_id: 1 / 0, True),
    ],
)
async def test_gate_asks_the_rule_and_fails_closed(rule: Any, gated: bool) -> None:
    call = {"type": "custom_tool_call", "call_id": "c1", "name": "sql", "input": "drop"}
    tool = CustomTool("sql", "Ask.", lambda ctx, given: "", needs_approval=rule)

    assert (await tool.gate(CONTEXT, call))[0] is gated


@pytest.mark.parametrize(
    ("tool", "call"),
    [
        (ShellTool(lambda request: ""), shell_call("a")),
        (ApplyPatchTool(Editor()), patch_call(**CREATE)),
        (
            CustomTool("sql", "Ask.", lambda ctx, given: ""),
            {"type": "custom_tool_call", "call_id": "c1", "name": "sql", "input": "x"},
        ),
    ],
)
def test_rejection_is_an_output_of_the_calls_own_kind(
    tool: LocalToolBase, call: dict[str, Any]
) -> None:
    item = tool.output_item(call, "Not allowed.", failed=True)

    assert item["type"] == f"{call['type']}_output"
    assert item["call_id"] == "c1"
    assert "Not allowed." in str(item["output"])


def test_call_goes_to_the_tool_that_carries_it_out() -> None:
    there = ShellTool(environment={"type": "container_auto"})
    here = ShellTool(lambda request: "")
    one, two = (CustomTool(name, "", lambda ctx, given: "") for name in ("a", "b"))
    tools = [function(), there, here, one, two]

    assert local_tool_of(tools, shell_call("a")) is here
    assert local_tool_of([there], shell_call("a")) is None
    assert local_tool_of(tools, {"type": "custom_tool_call", "name": "b"}) is two
    assert local_tool_of(tools, {"type": "function_call", "name": "refund"}) is None


def test_what_a_person_approves_is_what_is_asked_for() -> None:
    assert ShellTool(lambda request: "").arguments(shell_call("a")) == (
        '{"commands": ["a"]}'
    )


# Prompts


def agent_with(prompt: Any) -> Agent[Any]:
    agent: Agent[Any] = Agent(name="shop")
    vars(agent)["prompt"] = prompt
    return agent


async def test_prompt_is_a_dict_or_a_function_that_gives_one() -> None:
    seen: list[GenerateDynamicPromptData] = []

    async def chosen(data: GenerateDynamicPromptData) -> Prompt:
        seen.append(data)
        return {"id": "pmpt_2", "variables": {"city": "Rome"}}

    fixed = agent_with({"id": "pmpt_1", "version": "3"})
    agent = agent_with(chosen)

    assert await prompt_payload(agent_with(None), CONTEXT) is None
    assert await prompt_payload(fixed, CONTEXT) == {
        "id": "pmpt_1",
        "version": "3",
        "variables": None,
    }
    assert await prompt_payload(agent, CONTEXT) == {
        "id": "pmpt_2",
        "version": None,
        "variables": {"city": "Rome"},
    }
    assert (seen[0].agent, seen[0].context) == (agent, CONTEXT)


@pytest.mark.parametrize("prompt", [{}, {"version": "1"}, lambda data: "pmpt_1"])
async def test_prompt_without_an_id_is_refused(
    prompt: dict[str, Any] | Callable[..., Any],
) -> None:
    with pytest.raises(UserError, match="shop"):
        await prompt_payload(agent_with(prompt), CONTEXT)
