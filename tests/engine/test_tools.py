from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from runs.engine import (
    Agent,
    FunctionTool,
    Review,
    RunContextWrapper,
    Runner,
    ToolContext,
    ToolFailed,
    UserError,
    function_tool,
)
from runs.engine.testing import ScriptedModel, assistant_message, function_call


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
