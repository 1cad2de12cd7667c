from __future__ import annotations

import asyncio
import copy
import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import ResponseFunctionToolCall
from pydantic import BaseModel, ConfigDict, Field

from runs.engine import (
    Agent,
    FunctionTool,
    Review,
    RunContextWrapper,
    Runner,
    ToolContext,
    ToolFailed,
    Usage,
    UserError,
    default_tool_error_function,
    function_tool,
)
from runs.engine.testing import ScriptedModel, assistant_message, function_call
from runs.engine.tools.tool import InvalidToolArguments


async def call(tool: FunctionTool, arguments: Any, context: Any = None) -> str:
    """Return what the model is told when it calls the tool."""
    model = ScriptedModel(
        steps=[
            [function_call(tool.name, arguments, call_id="c1")],
            [assistant_message("end")],
        ]
    )
    agent = Agent(name="A", tools=[tool], model=model)
    await Runner.run(agent, "go", context=context)
    assert model.last_call is not None
    output = model.last_call.input[-1]["output"]
    assert isinstance(output, str)
    return output


@dataclass
class Shop:
    name: str


class Address(BaseModel):
    street: str
    number: int | None = None


def test_a_schema_comes_from_hints_and_docstring() -> None:
    @function_tool
    def send(
        ctx: RunContextWrapper[Any],
        to: Address,
        how: Literal["air", "sea"] = "sea",
        weight_kg: Annotated[float, Field(gt=0)] = 1.0,
    ) -> str:
        """Send a parcel.

        It may take a while.

        Args:
            to: Where it goes.
            how: By what.
        """
        return ""

    schema = send.params_json_schema
    assert send.name == "send"
    assert send.description == "Send a parcel.\n\nIt may take a while."
    assert set(schema["properties"]) == {"to", "how", "weight_kg"}
    assert schema["properties"]["to"]["description"] == "Where it goes."
    assert schema["required"] == ["to", "how", "weight_kg"]
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["Address"]["additionalProperties"] is False


@pytest.mark.parametrize("style", ["numpy", "sphinx", "google"])
def test_each_docstring_style_is_read(style: Any) -> None:
    docs = {
        "google": "Do it.\n\nArgs:\n    what: The thing.",
        "numpy": "Do it.\n\nParameters\n----------\nwhat : str\n    The thing.",
        "sphinx": "Do it.\n\n:param what: The thing.",
    }

    def do(what: str) -> str:
        return what

    do.__doc__ = docs[style]
    tool = function_tool(docstring_style=style)(do)

    properties = tool.params_json_schema["properties"]
    assert tool.description == "Do it."
    assert properties["what"]["description"] == "The thing."


def test_a_type_without_a_schema_is_refused() -> None:
    class Odd:
        pass

    def take(odd: Odd) -> str:
        return ""

    take.__annotations__["odd"] = Odd
    with pytest.raises(UserError, match="no JSON schema"):
        function_tool(take)


def test_a_context_anywhere_but_first_is_refused() -> None:
    def take(what: str, ctx: RunContextWrapper[Any]) -> str:
        return ""

    take.__annotations__["ctx"] = RunContextWrapper[Any]
    with pytest.raises(UserError, match="must be the first"):
        function_tool(take)


def test_an_open_object_is_refused_in_strict_mode_only() -> None:
    def take(what: dict[str, str]) -> str:
        return ""

    with pytest.raises(UserError, match="strict_mode=False"):
        function_tool(take)
    assert function_tool(strict_mode=False)(take).strict_json_schema is False


async def test_values_arrive_typed_and_sync_tools_run_in_a_thread() -> None:
    seen: list[Any] = []

    @function_tool
    def send(to: Address, *notes: str, fast: bool = False) -> str:
        seen.extend([to, notes, fast])
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        return "sent"

    told = await call(
        send, {"to": {"street": "A", "number": 3}, "notes": ["x"], "fast": True}
    )

    assert told == "sent"
    assert seen == [Address(street="A", number=3), ("x",), True]


async def test_a_tool_sees_its_context_and_its_call() -> None:
    seen: dict[str, Any] = {}

    @function_tool
    async def look(ctx: ToolContext[Shop], what: str) -> str:
        seen.update(
            shop=ctx.context.name,
            tool=ctx.tool_name,
            call=ctx.tool_call_id,
            arguments=ctx.tool_arguments,
            key=ctx.idempotency_key,
        )
        return what

    await call(look, '{"what": "lamp"}', context=Shop("ours"))

    assert seen["shop"] == "ours"
    assert (seen["tool"], seen["call"]) == ("look", "c1")
    assert seen["arguments"] == '{"what": "lamp"}'
    assert seen["key"].endswith(":c1")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("{", "not JSON"),
        ('{"n": 1, "n": 2}', "a key twice"),
        ('{"n": "many"}', "n: Input should be a valid integer"),
        ('{"n": 1, "m": 2}', "m: Extra inputs are not permitted"),
        ("{}", "n: Field required"),
        ("[]", "a list"),
    ],
)
async def test_the_model_is_told_what_is_wrong_with_its_arguments(
    arguments: str, told: str
) -> None:
    ran = []

    @function_tool
    def count(n: int) -> str:
        ran.append(n)
        return ""

    assert told in await call(count, arguments)
    assert ran == []


async def test_the_model_is_told_that_a_tool_does_not_exist() -> None:
    model = ScriptedModel(
        steps=[
            [function_call("fly", {}, call_id="c1")],
            [assistant_message("sorry")],
        ]
    )
    agent = Agent(name="A", tools=[function_tool(lambda_tool)], model=model)

    result = await Runner.run(agent, "go")

    assert result.final_output == "sorry"
    assert model.last_call is not None
    assert "no tool named 'fly'" in model.last_call.input[-1]["output"]


def lambda_tool() -> str:
    return ""


async def test_a_tool_that_raises_tells_the_model() -> None:
    @function_tool
    def fail() -> str:
        raise KeyError("lamp")

    assert await call(fail, {}) == "The tool failed: KeyError: 'lamp'"


async def test_a_failed_tool_may_end_the_run_which_can_go_on() -> None:
    @function_tool(failure_error_function=None)
    def fail() -> str:
        raise KeyError("lamp")

    model = ScriptedModel(
        steps=[
            [function_call("fail", {}, call_id="c1")],
            [assistant_message("went on")],
        ]
    )
    agent = Agent(name="A", tools=[fail], model=model)

    with pytest.raises(ToolFailed, match="lamp") as failed:
        await Runner.run(agent, "go")
    assert failed.value.run_state is not None
    result = await Runner.run(agent, failed.value.run_state)

    assert result.final_output == "went on"


async def test_a_tool_that_takes_too_long_is_cut_off() -> None:
    @function_tool(timeout=0.01)
    async def hang() -> str:
        await asyncio.get_running_loop().create_future()
        return ""

    assert "did not end within 0.01 seconds" in await call(hang, {})


@pytest.mark.parametrize("risk", ["", "huge"])
def test_a_review_of_unknown_risk_is_refused(risk: str) -> None:
    with pytest.raises(ValueError, match="unknown"):
        Review(risk=risk)


# What a tool is made of


def echo(text: str) -> str:
    """Say it."""
    return text


def test_a_tool_takes_every_option_by_keyword() -> None:
    def extract(found: Any) -> None:
        return None

    tool = function_tool(
        func=echo,
        name_override="say",
        description_override="Say it again.",
        use_docstring_info=False,
        failure_error_function=None,
        strict_mode=False,
        is_enabled=False,
        needs_approval=True,
        tool_input_guardrails=[],
        tool_output_guardrails=[],
        timeout=3,
        timeout_behavior="raise_exception",
        timeout_error_function=default_tool_error_function,
        defer_loading=True,
        custom_data_extractor=extract,
        allowed_callers=["direct", "programmatic"],
        output_json_schema={"type": "object", "properties": {}},
        review=Review(risk="high"),
    )

    assert (tool.name, tool.description) == ("say", "Say it again.")
    assert (tool.failure_error_function, tool.strict_json_schema) == (None, False)
    assert (tool.is_enabled, tool.needs_approval, tool.defer_loading) == (
        False,
        True,
        True,
    )
    assert (tool.timeout_seconds, tool.timeout_behavior) == (3, "raise_exception")
    assert tool.allowed_callers == ["direct", "programmatic"]
    assert tool.output_json_schema == {
        "type": "object",
        "properties": {},
        "required": [],
        "additionalProperties": False,
    }
    assert tool.review.risk == "high"


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"timeout": 0}, ValueError, "above 0"),
        ({"timeout": float("inf")}, ValueError, "above 0"),
        ({"timeout": True}, TypeError, "number of seconds"),
        ({"timeout": "3"}, TypeError, "number of seconds"),
        ({"timeout_behavior": "die"}, ValueError, "raise_exception"),
        ({"timeout_error_function": "late"}, TypeError, "cannot be called"),
        ({"allowed_callers": []}, UserError, "'direct'"),
        ({"allowed_callers": ["direct", "direct"]}, UserError, "'direct'"),
        ({"allowed_callers": ["me"]}, UserError, "'direct'"),
        ({"allowed_callers": "direct"}, UserError, "'direct'"),
        ({"output_type": int}, UserError, "must be a JSON object"),
        ({"output_type": dict[str, int]}, UserError, "no strict schema"),
        ({"output_json_schema": {"type": "array"}}, UserError, "must be a JSON object"),
        ({"output_json_schema": {}}, UserError, "must be a JSON object"),
        (
            {"output_type": Address, "output_json_schema": {"type": "object"}},
            UserError,
            "one of them",
        ),
    ],
)
def test_an_option_of_no_use_is_refused_at_once(
    options: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        function_tool(**options)(echo)


def test_a_tool_of_ones_own_is_checked_too() -> None:
    async def body(ctx: ToolContext[Any], arguments: str) -> str:
        return ""

    open_object = {"type": "object", "additionalProperties": True}
    for name, schema, invoke, told in (
        ("", {}, body, "name"),
        ("x", {}, None, "cannot be called"),
        ("x", open_object, body, "does not name"),
    ):
        with pytest.raises(UserError, match=told):
            FunctionTool(name, "", schema, invoke)  # type: ignore[arg-type]


def test_a_programs_tool_takes_its_output_type_from_the_function() -> None:
    def find() -> Address:
        return Address(street="A")

    find.__annotations__["return"] = Address
    for_programs = function_tool(allowed_callers=["programmatic"])(find)
    text_for_programs = function_tool(allowed_callers=["programmatic"])(echo)

    assert for_programs.output_type is Address
    assert text_for_programs.output_json_schema is None
    assert function_tool(find).output_json_schema is None


def test_a_copy_has_an_identity_and_a_body_of_its_own() -> None:
    class Counting(FunctionTool):
        def __init__(self, name: str) -> None:
            super().__init__(name, "", {}, self.count)

        async def count(self, ctx: ToolContext[Any], arguments: str) -> str:
            return self.name

    first = Counting("first")
    first_hash = first.schema_hash
    second = copy.copy(first)
    second.name = "second"
    body: Any = second.on_invoke_tool

    assert second.schema_hash != first_hash
    assert body.__self__ is second


async def test_a_tool_of_ones_own_has_the_rights_of_every_other() -> None:
    async def body(ctx: ToolContext[Any], arguments: str) -> str:
        return f"{ctx.tool_name}{arguments}"

    asked: list[Any] = []

    def asks(ctx: RunContextWrapper[Any], arguments: Any, call_id: str) -> bool:
        asked.append((arguments, call_id))
        return False

    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    tool = FunctionTool("own", "", schema, body, needs_approval=asks)

    assert await call(tool, '{"a": 1}') == 'own{"a": 1}'
    assert asked == [({"a": 1}, "c1")]
    assert tool.params_json_schema["required"] == ["a"]


class Trimmed(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True)
    command: str


@pytest.mark.parametrize(
    ("kind", "arguments", "is_judged"),
    [
        (int, '{"what": 5}', True),
        (float, '{"what": 5}', True),
        (list[str], '{"what": ["a"]}', True),
        (Address, '{"what": {"street": "A", "number": 3}}', True),
        (Trimmed, '{"what": {"command": "ls"}}', True),
        (int, "{}", False),
        (int, '{"what": "5"}', False),
        (int, '{"what": true}', False),
        (int, '{"what": "many"}', False),
        (int, '{"what": 5, "more": 6}', False),
        (Address, '{"what": {"street": "A"}}', False),
        (Trimmed, '{"what": {"command": " ls"}}', False),
        (int, "[]", False),
        (int, "", False),
    ],
)
async def test_an_approval_rule_judges_only_what_the_body_would_get(
    kind: Any, arguments: str, is_judged: bool
) -> None:
    judged: list[Any] = []

    def judge(ctx: Any, arguments: Any, call_id: str) -> bool:
        judged.append(arguments)
        return False

    def body(what: Any = 3) -> str:
        return ""

    body.__annotations__["what"] = kind
    tool = function_tool(body, needs_approval=judge)

    paused, why = await tool.gate(RunContextWrapper(context=None), arguments, "c1")

    assert paused is not is_judged
    assert judged == ([json.loads(arguments)] if is_judged else [])
    assert why


async def test_a_tool_of_ones_own_that_raises_fails_the_run() -> None:
    async def body(ctx: ToolContext[Any], arguments: str) -> str:
        raise KeyError("lamp")

    with pytest.raises(ToolFailed, match="lamp"):
        await call(FunctionTool("own", "", {}, body), {})


async def test_called_by_hand_a_tool_says_what_went_wrong() -> None:
    @function_tool
    def half(number: int) -> float:
        return 1 / (number - number)

    context: ToolContext[Any] = ToolContext(context=None)

    assert "ZeroDivisionError" in await half.on_invoke_tool(context, '{"number": 1}')
    assert "number" in await half.on_invoke_tool(context, '{"number": "x"}')

    strict = function_tool(failure_error_function=None)(echo)
    with pytest.raises(InvalidToolArguments, match="text: Field required"):
        await strict.on_invoke_tool(context, "{}")


ARGUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(ARGUMENTS.map(json.dumps) | st.text())
async def test_whatever_the_model_writes_the_body_gets_what_it_declares(
    arguments: str,
) -> None:
    @function_tool
    async def take(a: int, b: list[str] | None = None) -> str:
        assert type(a) is int
        assert b is None or all(type(each) is str for each in b)
        return "taken"

    context: ToolContext[Any] = ToolContext(context=None)
    told = await take.on_invoke_tool(context, arguments)

    assert isinstance(told, str)
    assert "AssertionError" not in told


def test_a_tools_context_is_made_by_position_or_of_an_agents() -> None:
    call = ResponseFunctionToolCall(
        type="function_call",
        call_id="c1",
        name="pay",
        namespace="bank",
        arguments='{"eur": 5}',
    )
    usage = Usage(requests=2)
    made: ToolContext[Any] = ToolContext("shop", usage, "pay", "c1", "{}", call)
    of_agent = ToolContext.from_agent_context(
        RunContextWrapper("shop", usage), "c1", call
    )

    assert (made.tool_name, made.tool_arguments) == ("pay", "{}")
    assert made.qualified_tool_name == of_agent.qualified_tool_name == "bank.pay"
    assert (of_agent.tool_arguments, of_agent.usage) == ('{"eur": 5}', usage)
    with pytest.raises(ValueError, match="tool_call"):
        ToolContext.from_agent_context(made, "c1", tool_name="pay")
