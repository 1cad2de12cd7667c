"""Tools of MCP servers as an agent's: names, schemas, approvals, outputs, runs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from runs.engine import (
    Agent,
    AgentsException,
    FunctionTool,
    RunContextWrapper,
    Runner,
    ToolCallOutputItem,
    UserError,
)
from runs.engine.errors import MCPToolCancellationError
from runs.engine.mcp import (
    MCPServerStdio,
    MCPServerStreamableHttp,
    MCPUtil,
    create_static_tool_filter,
)
from runs.engine.mcp.approval import approval_policy
from runs.engine.mcp.names import prefixed_names
from runs.engine.testing import ScriptedModel, assistant_message, function_call
from runs.engine.tools.custom_data import custom_data_of
from runs.engine.tools.tool import InvalidToolArguments
from runs.engine.tools.tool_origin import ToolOrigin, ToolOriginType
from runs.engine.tracing import (
    TracingProcessor,
    function_span,
    set_trace_processors,
    trace,
)

from .mcp_servers import (
    AGENT,
    CONTEXT,
    MemoryServer,
    listed,
    listening,
    result,
    stdio,
    tool_context,
    tools_of,
    until,
)


async def output_of(tool: FunctionTool, arguments: str = "{}") -> Any:
    return await tool.on_invoke_tool(tool_context(), arguments)


async def only_output(server: MemoryServer, arguments: str = "{}") -> Any:
    [tool] = await tools_of(server)
    return await output_of(tool, arguments)


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return done.stdout.decode().strip()


# the optional package


def test_the_package_is_loaded_by_no_import_of_ours() -> None:
    code = (
        "import sys, runs.engine\n"
        "from runs.engine.mcp import MCPServerStdio, MCPServerStreamableHttp\n"
        "MCPServerStdio({'command': 'x'})\n"
        "print([name for name in sys.modules if name.split('.')[0] == 'mcp'])"
    )
    assert python(code) == "[]"


def test_without_the_package_connecting_names_the_extra() -> None:
    code = (
        "import sys, asyncio\n"
        "sys.modules['mcp'] = None\n"
        "from runs.engine.mcp import MCPServerStdio, MCPPackageMissing\n"
        "try:\n"
        "    asyncio.run(MCPServerStdio({'command': 'x'}).connect())\n"
        "except MCPPackageMissing as error:\n"
        "    print(error)"
    )
    assert "pip install 'placet[mcp]'" in python(code)


def test_a_package_of_version_1_is_refused() -> None:
    pytest.importorskip("mcp")
    code = (
        "import importlib.metadata\n"
        "importlib.metadata.version = lambda name: '1.28.1'\n"
        "from runs.engine.mcp.package import load, MCPPackageMissing\n"
        "try:\n"
        "    load()\n"
        "except MCPPackageMissing as error:\n"
        "    print(error)"
    )
    assert "1.28.1 is installed" in python(code)


# a real server


async def test_a_real_servers_tools_run_in_a_run_that_pauses_and_resumes() -> None:
    options: Any = {
        "require_approval": {"always": {"tool_names": ["add"]}},
        "custom_data_extractor": lambda call: {"asked": dict(call.arguments)},
    }
    async with stdio(**options) as server:
        model = ScriptedModel(
            steps=[
                [
                    function_call("add", {"a": 2, "b": 3}, call_id="c1"),
                    function_call("weather", {"city": "Porto"}, call_id="c2"),
                    function_call("fail", {"why": "a secret"}, call_id="c3"),
                ],
                [assistant_message("end")],
            ]
        )
        agent: Agent[Any] = Agent(name="A", model=model, mcp_servers=[server])

        paused = await Runner.run(agent, "go")
        [item] = paused.interruptions
        state = paused.to_state()
        state.approve(item)
        ended = await Runner.run(agent, state)

    assert (item.name, item.call_id) == ("add", "c1")
    assert ended.final_output == "end"
    assert model.last_call is not None
    outputs = {
        entry["call_id"]: str(entry["output"])
        for entry in model.last_call.input
        if entry.get("type") == "function_call_output"
    }
    assert "5" in outputs["c1"]
    assert "celsius" in outputs["c2"]
    assert "Error executing tool fail" in outputs["c3"]
    kept = [
        item.custom_data
        for item in ended.new_items
        if isinstance(item, ToolCallOutputItem)
    ]
    assert {"asked": {"a": 2, "b": 3}} in kept


async def test_a_rejected_call_does_not_reach_the_server() -> None:
    server = MemoryServer(listed("pay"), require_approval="always")
    model = ScriptedModel(
        steps=[[function_call("pay", {}, call_id="c1")], [assistant_message("end")]]
    )
    agent: Agent[Any] = Agent(name="A", model=model, tools=await tools_of(server))

    state = (await Runner.run(agent, "go")).to_state()
    state.reject(state.get_interruptions()[0])
    await Runner.run(agent, state)

    assert server.calls == []


async def test_a_real_server_gives_each_kind_of_content() -> None:
    async with stdio() as server:
        tools = {tool.name: tool for tool in await tools_of(server)}
        picture = await output_of(tools["picture"])
        text, audio, resource = await output_of(tools["mixed"])
        silent = await output_of(tools["fail_silently"])
        server.use_structured_content = True
        weather = await output_of(tools["weather"], '{"city": "Porto"}')
        failed = await output_of(tools["fail"], '{"why": "x"}')
        prompts = await server.list_prompts()
        prompt = await server.get_prompt("greet", {"name": "Ada"})
        resources = await server.list_resources()
        note = await server.read_resource("note://one")

    assert picture["type"] == "image"
    assert picture["image_url"].startswith("data:image/png;base64,iVBOR")
    assert text == {"type": "text", "text": "first"}
    assert json.loads(audio["text"])["type"] == "audio"
    assert "in the file" in json.loads(resource["text"])["resource"]["text"]
    assert silent["text"] == "The tool failed and did not say why."
    assert json.loads(weather) == {"city": "Porto", "celsius": 21}
    assert failed == {"type": "text", "text": "Error executing tool fail"}
    assert [prompt.name for prompt in prompts.prompts] == ["greet"]
    assert prompt.messages[0].content.text == "Greet Ada."
    assert [str(resource.uri) for resource in resources.resources] == ["note://one"]
    assert note.contents[0].text == "a note"


async def test_a_real_server_over_http_answers_calls_side_by_side() -> None:
    async with listening() as url:
        params: Any = {"url": f"{url}?token=secret"}
        async with MCPServerStreamableHttp(params) as server:
            calls = [server.call_tool("add", {"a": n}) for n in range(5)]
            sums = [answer.content[0].text for answer in await asyncio.gather(*calls)]
            tools = await tools_of(server, include_server_in_tool_names=True)

    assert sums == ["1", "2", "3", "4", "5"]
    assert "secret" not in tools[0].name


async def test_arguments_that_a_listed_tool_requires_are_asked_for_here() -> None:
    async with stdio() as server:
        await server.list_tools()
        with pytest.raises(UserError, match="lacks the required city"):
            await server.call_tool("weather", {})


# approvals


@pytest.mark.parametrize(
    ("setting", "asked"),
    [
        (None, []),
        (True, ["a", "b", "c"]),
        (False, []),
        ("always", ["a", "b", "c"]),
        ("never", []),
        ({"always": {"tool_names": ["a"]}, "never": {"tool_names": ["b"]}}, ["a"]),
        ({"never": {"tool_names": ["b"]}}, []),
        ({"a": "always", "b": "never"}, ["a"]),
        ({"a": True, "b": False}, ["a"]),
        ({"always": "always"}, []),
    ],
)
async def test_require_approval_says_which_tools_ask(
    setting: Any, asked: list[str]
) -> None:
    tools = [listed(name) for name in "abc"]
    server = MemoryServer(*tools, require_approval=setting)

    found = [tool.name for tool in await tools_of(server) if tool.needs_approval]

    assert found == asked


@pytest.mark.parametrize(
    "setting",
    [
        "sometimes",
        {"a": "sometimes"},
        {"always": {"tool_names": "a"}},
        {"always": {"tool_names": [1]}},
        {"always": {"tool_names": ["a"]}, "never": {"tool_names": ["a"]}},
        {"always": {"tool_names": ["a"]}, "a": "never"},
        {"always": {"tool_names": ["a"]}, "never": "b"},
        7,
    ],
)
def test_a_setting_in_none_of_the_forms_is_refused(setting: Any) -> None:
    with pytest.raises(UserError, match="require_approval"):
        approval_policy(setting)


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_callable_decides_with_context_agent_and_tool(is_async: bool) -> None:
    def rule(ctx: RunContextWrapper[Any], agent: Agent[Any], tool: Any) -> bool:
        return bool(ctx.context == "live" and agent is AGENT and tool.name == "pay")

    async def later(*args: Any) -> bool:
        return rule(*args)

    tools = [listed("pay"), listed("look")]
    server = MemoryServer(*tools, require_approval=later if is_async else rule)
    pay, look = await tools_of(server)

    for context, asked in [("live", (True, False)), ("test", (False, False))]:
        wrapper: RunContextWrapper[Any] = RunContextWrapper(context)
        rules: list[Any] = [pay.needs_approval, look.needs_approval]
        assert tuple([await asks(wrapper, {}, "c1") for asks in rules]) == asked


async def test_a_callable_without_an_agent_asks_for_every_call() -> None:
    server = MemoryServer(require_approval=lambda *_: False)

    assert MCPUtil.to_function_tool(listed("t"), server, False).needs_approval is True


# filters


def test_a_static_filter_of_nothing_is_none() -> None:
    assert create_static_tool_filter() is None
    assert create_static_tool_filter([], ["b"]) == {
        "allowed_tool_names": [],
        "blocked_tool_names": ["b"],
    }


async def test_filters_choose_tools() -> None:
    seen: list[Any] = []

    async def dynamic(context: Any, tool: Any) -> bool:
        seen.append((context.agent, context.server_name))
        tool.input_schema.clear()
        if tool.name == "t1":
            raise RuntimeError("no idea")
        return True

    async with stdio("pages", cache_tools_list=True) as server:
        names: dict[str, list[str]] = {}
        filters: dict[str, Any] = {
            "allow": create_static_tool_filter(["t0", "t1"], ["t1"]),
            "none": create_static_tool_filter([]),
            "block": create_static_tool_filter(blocked_tool_names=["t0"]),
            "dynamic": dynamic,
        }
        for key, server.tool_filter in filters.items():
            found = await server.list_tools(CONTEXT, AGENT)
            names[key] = [tool.name for tool in found]
            assert all(tool.input_schema for tool in found)
        with pytest.raises(UserError, match="context and the agent"):
            await server.list_tools()

    assert names == {
        "allow": ["t0"],
        "none": [],
        "block": ["t1", "t2"],
        "dynamic": ["t0", "t2"],
    }
    assert seen == [(AGENT, "tests")] * 3


# names


async def test_equal_names_across_servers_are_refused() -> None:
    servers = [MemoryServer(listed("t"), name=name) for name in ("one", "two")]

    with pytest.raises(UserError, match=r"Duplicate tool names.*'t' \(one, two\)"):
        await tools_of(*servers)


async def test_names_can_hold_the_server() -> None:
    one = MemoryServer(listed("read"), listed("x" * 70), name="my files")
    two = MemoryServer(listed("read"), name="my/files")
    three = MemoryServer(listed("read"), name="other")

    async def names(*servers: MemoryServer) -> dict[str, str]:
        tools = await tools_of(
            *servers,
            include_server_in_tool_names=True,
            reserved_tool_names={"mcp_other__read"},
        )
        for tool in tools:
            await output_of(tool)
        return {
            f"{s.name}:{call[0]}": tool.name
            for s, call, tool in zip(
                [s for s in servers for _ in s.tools],
                [call for s in servers for call in s.calls],
                tools,
                strict=True,
            )
        }

    found = await names(one, two, three)
    again = await names(
        *[MemoryServer(*s.tools, name=s.name) for s in (three, two, one)]
    )

    assert again == found
    assert len(set(found.values())) == 4
    assert all(len(name) <= 64 for name in found.values())
    assert found["my files:read"].startswith("mcp_my_files__read_")
    digest = hashlib.sha1(b"other\0read", usedforsecurity=False).hexdigest()
    assert found["other:read"] == f"mcp_other__read_{digest[:8]}"
    taken = {"mcp_other__read", found["other:read"]}
    [moved] = prefixed_names([("other", "read")], taken)
    assert moved not in taken


async def test_hostile_names_become_names_that_a_model_api_takes() -> None:
    async with stdio("names") as server:
        tools = await tools_of(server)
        echoed = await output_of(tools[1], '{"a": 1}')

    assert len({tool.name for tool in tools}) == 6
    assert all(re.fullmatch("[A-Za-z0-9_-]{1,64}", tool.name) for tool in tools)
    assert tools[-1].name == "ok"
    assert json.loads(echoed["text"])["arguments"] == {"a": 1}


async def test_a_function_may_choose_the_names() -> None:
    [tool] = await MCPUtil.get_function_tools(
        MemoryServer(listed("t")),
        False,
        CONTEXT,
        AGENT,
        tool_name_override=lambda tool: f"my_{tool.name}",
    )
    assert tool.name == "my_t"


async def test_one_name_listed_twice_by_a_server_is_refused() -> None:
    server = MemoryServer(listed("same"), listed("same"))
    with pytest.raises(UserError, match="lists several tools named 'same'"):
        await tools_of(server, include_server_in_tool_names=True)


async def test_more_tools_than_any_agent_can_use_are_refused() -> None:
    async with stdio("many", client_session_timeout_seconds=20) as server:
        with pytest.raises(UserError, match=r"offers 10,000 tools.*tool_filter"):
            await tools_of(server)
        server.tool_filter = {"allowed_tool_names": ["t7"]}
        [tool] = await tools_of(server)

    assert tool.name == "t7"


# schemas and descriptions


async def test_schemas_are_made_strict_where_they_can_be() -> None:
    open_object = {"type": "object", "additionalProperties": True}
    server = MemoryServer(
        listed("closed", input_schema={"properties": {"a": {"type": "string"}}}),
        listed(
            "open", input_schema={"type": "object", "properties": {"a": open_object}}
        ),
        listed("broken", input_schema={"properties": {"a": {"$ref": "#/no", "b": 1}}}),
        listed("empty", input_schema={}),
        listed("any keys", input_schema={"properties": {"a": {"type": "object"}}}),
    )

    tools = await tools_of(server, convert_schemas_to_strict=True)

    strict = [tool.name for tool in tools if tool.strict_json_schema]
    assert strict == ["closed", "empty"]
    closed, open_, broken, empty, any_ = [tool.params_json_schema for tool in tools]
    assert any_["properties"] == {"a": {"type": "object"}}
    assert (closed["required"], closed["additionalProperties"]) == (["a"], False)
    assert open_ == {"type": "object", "properties": {"a": open_object}}
    assert broken["properties"] == {"a": {"$ref": "#/no", "b": 1}}
    assert empty["properties"] == {}
    assert server.tools[0].input_schema == {"properties": {"a": {"type": "string"}}}


async def test_schemas_stay_as_they_are_unless_asked() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    [tool] = await tools_of(MemoryServer(listed("t", input_schema=schema)))

    assert (tool.strict_json_schema, tool.params_json_schema) == (False, schema)


async def test_a_schema_of_no_object_is_refused_by_name() -> None:
    server = MemoryServer(listed("t", input_schema={"type": "string"}))
    with pytest.raises(UserError, match=r"'t' of MCP server 'memory' takes 'string'"):
        await tools_of(server)


async def test_a_tool_without_a_description_has_its_title() -> None:
    server = MemoryServer(
        listed("a", description="Described.", title="Titled"),
        listed("b", title="Titled"),
        listed("c", annotations=SimpleNamespace(title="Annotated")),
        listed("d"),
    )
    found = [tool.description for tool in await tools_of(server)]
    assert found == ["Described.", "Titled", "Annotated", ""]


# calls


async def test_results_become_one_part_or_a_list_of_parts() -> None:
    assert await only_output(MemoryServer(listed("t"), answer=result("a"))) == {
        "type": "text",
        "text": "a",
    }
    assert await only_output(MemoryServer(listed("t"), answer=result("a", "b"))) == [
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b"},
    ]
    assert await only_output(MemoryServer(listed("t"), answer=result())) == []


async def test_structured_content_is_told_only_when_asked_for_and_no_error() -> None:
    good = result("text", structured_content={"n": 1})
    bad = result("text", structured_content={"n": 1}, is_error=True)

    async def told(answer: Any, use: bool) -> Any:
        server = MemoryServer(listed("t"), answer=answer, use_structured_content=use)
        return await only_output(server)

    text = {"type": "text", "text": "text"}
    assert await told(good, True) == '{"n": 1}'
    assert await told(good, False) == text
    assert await told(bad, True) == text
    assert await told(result("text"), True) == text


@pytest.mark.parametrize("arguments", ["[]", "{", "null", '{"a": NaN}'])
async def test_malformed_arguments_do_not_reach_the_server(arguments: str) -> None:
    server = MemoryServer(listed("t"))
    with pytest.raises(InvalidToolArguments):
        await only_output(server, arguments)
    assert server.calls == []


async def test_no_arguments_are_an_empty_object() -> None:
    server = MemoryServer(listed("t"))
    await only_output(server, "")
    assert server.calls == [("t", {}, None)]


async def test_meta_of_the_resolver_and_of_the_tool_are_sent_together() -> None:
    asked: list[Any] = []

    async def resolve(context: Any) -> Any:
        asked.append((context.server_name, context.tool_name, context.arguments))
        context.arguments["a"] = "changed"
        return {"tenant": 1, "kind": "resolver"}

    server = MemoryServer(
        listed("t", meta={"kind": "tool"}), tool_meta_resolver=resolve
    )
    await only_output(server, '{"a": 1}')

    assert asked[0][:2] == ("memory", "t")
    assert server.calls == [("t", {"a": 1}, {"tenant": 1, "kind": "tool"})]


async def test_custom_data_is_left_in_the_calls_context() -> None:
    def extract(context: Any) -> dict[str, Any]:
        with pytest.raises(TypeError):
            context.arguments["a"] = 2
        return {"who": context.tool_name, "meta": dict(context.result_meta)}

    answer = result("a", meta={"cost": 3})
    server = MemoryServer(listed("t"), answer=answer, custom_data_extractor=extract)
    [tool] = await tools_of(server)
    context: Any = tool_context()
    await tool.on_invoke_tool(context, '{"a": 1}')

    assert context._custom_data == {"who": "t", "meta": {"cost": 3}}

    server.custom_data_extractor = lambda _: {"a": object()}
    with pytest.raises(UserError, match="no JSON object"):
        await tool.on_invoke_tool(context, "{}")


async def test_what_a_server_raises_is_told_with_the_tools_name() -> None:
    server = MemoryServer(listed("t"), answer=ValueError("broken"))
    with pytest.raises(AgentsException, match=r"'t' of MCP server 'memory'.*broken"):
        await only_output(server)


async def test_an_error_of_the_engine_is_passed_on_as_it_is() -> None:
    server = MemoryServer(listed("t"), answer=UserError("as it is"))
    with pytest.raises(UserError, match=r"^as it is$"):
        await only_output(server)


async def test_the_callers_cancellation_goes_through_a_call() -> None:
    class Slow(MemoryServer):
        async def call_tool(self, *args: Any, **options: Any) -> Any:
            self.log.append("called")
            await asyncio.Event().wait()

    server = Slow(listed("t"))
    call = asyncio.create_task(only_output(server))
    await until(lambda: server.log)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_cancellation_that_leaks_from_a_server_is_an_error() -> None:
    server = MemoryServer(listed("t"), answer=asyncio.CancelledError())
    with pytest.raises(MCPToolCancellationError):
        await only_output(server)


async def test_the_servers_refusal_is_told_to_the_model() -> None:
    async with stdio(
        "refuse", failure_error_function=lambda _, e: f"sorry: {e}"
    ) as server:
        model = ScriptedModel(
            steps=[[function_call("echo", {}, call_id="c")], [assistant_message("end")]]
        )
        agent: Agent[Any] = Agent(name="A", model=model, tools=await tools_of(server))
        await Runner.run(agent, "go")

    assert model.last_call is not None
    assert model.last_call.input[-1]["output"] == "sorry: not on Sundays"


async def test_a_server_may_let_the_run_fail() -> None:
    server = MemoryServer(
        listed("t"), answer=ValueError("broken"), failure_error_function=None
    )
    model = ScriptedModel(steps=[[function_call("t", {}, call_id="c")]])
    agent: Agent[Any] = Agent(name="A", model=model, tools=await tools_of(server))
    with pytest.raises(AgentsException, match="broken"):
        await Runner.run(agent, "go")


async def test_a_server_without_a_failure_function_takes_the_agents() -> None:
    [tool] = await tools_of(MemoryServer(listed("t")), failure_error_function=None)
    assert tool.failure_error_function is None


def test_a_server_is_named_after_its_command_or_url() -> None:
    assert MCPServerStdio({"command": "x"}).name == "stdio: x"
    assert MCPServerStdio({"command": "x"}, name="mine").name == "mine"
    server = MCPServerStreamableHttp({"url": "http://a/mcp"})
    assert server.name == "streamable_http: http://a/mcp"


# what the rest of the engine is told


class Spans(TracingProcessor):
    """Keeps the spans that ended."""

    def __init__(self) -> None:
        self.ended: list[Any] = []

    def on_trace_start(self, trace: Any) -> None: ...
    def on_trace_end(self, trace: Any) -> None: ...
    def on_span_start(self, span: Any) -> None: ...
    def on_span_end(self, span: Any) -> None:
        self.ended.append(span.span_data)

    def shutdown(self) -> None: ...
    def force_flush(self) -> None: ...


async def test_listing_and_calling_are_seen_in_spans() -> None:
    spans = Spans()
    server = MemoryServer(listed("t"), name="https://u:p@host/mcp?key=1")
    set_trace_processors([spans])
    try:
        with trace("workflow"):
            [tool] = await tools_of(server)
            with function_span("t"):
                await output_of(tool)
    finally:
        set_trace_processors([])

    listing, call = spans.ended
    assert (listing.type, listing.server) == ("mcp_tools", "https://host/mcp")
    assert listing.result == ["t"]
    assert call.mcp_data == {"server": "https://host/mcp"}


async def test_a_tool_knows_its_server_and_hands_its_data_on() -> None:
    server = MemoryServer(
        listed("t"), custom_data_extractor=lambda call: {"tool": call.tool_name}
    )
    [tool] = await tools_of(server)
    context = tool_context()
    await tool.on_invoke_tool(context, "{}")

    assert tool.origin == ToolOrigin(ToolOriginType.MCP, mcp_server_name="memory")
    assert await custom_data_of(tool, context, "done", {}) == {"tool": "t"}
