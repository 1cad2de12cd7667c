"""Function tools from outside: their schemas, what goes in and what comes out."""

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from ..registry import scenario
from ..script import call, text
from ..sides import Side
from .tools import giver, once

TOOLS = "Function tools"


class Place(BaseModel):
    city: str
    zip: str | None = None


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


@scenario(TOOLS)
async def schema_from_the_docstring(side: Side) -> None:
    @side.function_tool
    def google(city: str, days: int = 3, unit: Literal["c", "f"] = "c") -> str:
        """Tell the weather.

        Longer words about it.

        Args:
            city: Where.
            days: How many days.
        """
        return f"{city} {days} {unit}"

    @side.function_tool
    def numpy(city: str, days: int) -> str:
        """Tell the weather.

        Parameters
        ----------
        city
            Where.
        days
            How many days.
        """
        return city

    @side.function_tool
    def sphinx(city: str) -> str:
        """Tell the weather.

        :param city: Where.
        """
        return city

    agent = side.agent([text("done")], tools=[google, numpy, sphinx])
    await side.run(agent, "hi")


@scenario(TOOLS)
async def schema_from_types(side: Side) -> None:
    @side.function_tool
    def typed(
        place: Place,
        point: Point,
        words: list[str],
        level: Annotated[int, Field(ge=1, le=5, description="How much.")],
        maybe: str | None = None,
        note: Annotated[str, "A note."] = "",
    ) -> str:
        side.note(type(place).__name__, type(point).__name__, words, level, maybe)
        return place.city

    arguments = {
        "place": {"city": "Oslo", "zip": None},
        "point": {"x": 1, "y": 2},
        "words": ["a"],
        "level": 2,
        "maybe": None,
        "note": "n",
    }
    await once(side, typed, arguments)


@scenario(TOOLS)
async def schema_options(side: Side) -> None:
    @side.function_tool(
        name_override="renamed", description_override="Described.", strict_mode=False
    )
    def original(a: dict[str, int], b: int = 1) -> str:
        """Never seen."""
        return f"{a} {b}"

    @side.function_tool(use_docstring_info=False)
    def silent(a: int) -> str:
        """Never seen.

        Args:
            a: Never seen.
        """
        return str(a)

    @side.function_tool(docstring_style="sphinx")
    def styled(a: int) -> str:
        """Styled.

        :param a: A number.
        """
        return str(a)

    agent = side.agent(
        [call("renamed", {"a": {"k": 1}})],
        [text("done")],
        tools=[original, silent, styled],
    )
    await side.run(agent, "hi")


@scenario(TOOLS)
async def strict_schema_that_cannot_be(side: Side) -> None:
    def free(a: dict[str, int]) -> str:
        return str(a)

    await side.failure(lambda: side.function_tool(free))


@scenario(TOOLS)
async def varying_arguments(side: Side) -> None:
    @side.function_tool(strict_mode=False)
    def many(first: int, *rest: int, **named: str) -> str:
        return f"{first} {rest} {sorted(named.items())}"

    await once(side, many, {"first": 1, "rest": [2, 3], "named": {"k": "v"}})


@scenario(TOOLS)
async def arguments_that_do_not_fit(side: Side) -> None:
    @side.function_tool
    def add(a: int) -> int:
        side.note("ran", a)
        return a

    for written in ("{", "", "null", "[]", '"text"', "{}", '{"a": "x"}'):
        side.note("arguments", written)
        await once(side, add, written)


@scenario(TOOLS)
async def outputs_of_every_kind(side: Side) -> None:
    values: list[Any] = [
        "text",
        7,
        1.5,
        None,
        True,
        {"a": [1]},
        [1, "b"],
        Place(city="Oslo"),
        Point(x=1),
    ]
    for value in values:
        await once(side, giver(side, value))


@scenario(TOOLS)
async def outputs_as_text_image_and_file(side: Side) -> None:
    kinds: list[Any] = [
        side.ToolOutputText(text="words"),
        side.ToolOutputImage(image_url="data:image/png;base64,AA==", detail="low"),
        side.ToolOutputFileContent(file_data="AA==", filename="a.txt"),
        {"type": "text", "text": "as a dict"},
        [side.ToolOutputText(text="one"), side.ToolOutputImage(file_id="file_1")],
    ]
    for value in kinds:
        await once(side, giver(side, value))


@scenario(TOOLS)
async def tool_built_by_hand(side: Side) -> None:
    async def invoke(ctx: Any, arguments: str) -> str:
        return f"{ctx.tool_name} got {arguments}"

    tool = side.FunctionTool(
        name="by_hand",
        description="By hand.",
        params_json_schema={
            "type": "object",
            "properties": {"a": {"type": "string"}},
        },
        on_invoke_tool=invoke,
    )
    await once(side, tool, {"a": "x"})


@scenario(TOOLS)
async def tool_from_the_decorators_module(side: Side) -> None:
    @side.function_tool()
    async def bare() -> str:
        return "bare"

    side.note(bare.name, bare.description, bare.params_json_schema)
    await once(side, bare)
