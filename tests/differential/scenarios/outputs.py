"""Output types, error handlers, refusals."""

import dataclasses
import json
from typing import Any

from pydantic import BaseModel
from typing_extensions import TypedDict

from ..registry import scenario
from ..script import refusal, text
from ..sides import Side
from .approvals import gated, pay

TYPES = "Agents: output types"
HANDLERS = "error handlers"


class Answer(BaseModel):
    words: list[str]
    sure: bool = True


@dataclasses.dataclass
class Pair:
    a: int
    b: int


class Named(TypedDict):
    name: str


@scenario(TYPES)
async def output_of_many_types(side: Side) -> None:
    cases: list[tuple[Any, Any]] = [
        (Answer, {"words": ["a"], "sure": False}),
        (Pair, {"response": {"a": 1, "b": 2}}),
        (Named, {"name": "ada"}),
        (list[int], {"response": [1, 2]}),
        (int, {"response": 7}),
        (Answer | Pair, {"response": {"a": 1, "b": 2}}),
    ]
    for kind, value in cases:
        agent = side.agent([text(json.dumps(value))], output_type=kind)
        await side.run(agent, "hi")
        side.note(side.AgentOutputSchema(kind).name())


@scenario(TYPES)
async def output_of_text(side: Side) -> None:
    await side.run(side.agent([text("x")], output_type=str), "hi")


@scenario(TYPES)
async def output_schema_that_is_not_strict(side: Side) -> None:
    schema = side.AgentOutputSchema(dict[str, int], strict_json_schema=False)
    agent = side.agent([text('{"a": 1}')], output_type=schema)
    await side.run(agent, "hi")
    await side.failure(lambda: side.AgentOutputSchema(dict[str, int]))
    await side.run(side.agent([text("{}")], output_type=dict[str, int]), "hi")


@scenario(TYPES)
async def output_schema_of_ones_own(side: Side) -> None:
    class Upper(side.AgentOutputSchemaBase):  # type: ignore[name-defined, misc]
        def is_plain_text(self) -> bool:
            return False

        def name(self) -> str:
            return "Upper"

        def json_schema(self) -> dict[str, Any]:
            return {"type": "object"}

        def is_strict_json_schema(self) -> bool:
            return False

        def validate_json(self, json_str: str) -> Any:
            return json_str.upper()

    await side.run(side.agent([text("abc")], output_type=Upper()), "hi")


@scenario(TYPES)
async def output_that_does_not_fit(side: Side) -> None:
    for words in ("plain words", "{}", '{"words": 7}', ""):
        agent = side.agent([text(words)], [text('{"words": []}')], output_type=Answer)
        await side.run(agent, "hi")


@scenario(TYPES)
async def output_type_and_tools(side: Side) -> None:
    agent = side.agent(
        [pay(1)],
        [text('{"words": []}')],
        tools=[gated(side, needs_approval=False)],
        output_type=Answer,
    )
    await side.run(agent, "hi")


@scenario(HANDLERS)
async def turns_run_out_and_are_handled(side: Side) -> None:
    def handle(given: Any) -> Any:
        data = given.run_data
        side.note(type(given.error).__name__, given.context.context)
        side.note(data.input, [each.type for each in data.new_items])
        side.note(data.history, data.output, len(data.raw_responses))
        side.note(data.last_agent.name)
        return "gave up"

    agent = side.agent([pay(1)], tools=[gated(side, needs_approval=False)])
    await side.run(
        agent,
        "hi",
        max_turns=1,
        context="ctx",
        error_handlers={"max_turns": handle},
    )


@scenario(HANDLERS)
async def handler_answers_in_other_forms(side: Side) -> None:
    async def later(given: Any) -> Any:
        return side.RunErrorHandlerResult(
            final_output="quiet", include_in_history=False
        )

    forms = (
        later,
        lambda given: {"final_output": "as a dict"},
        lambda given: {"final_output": "hidden", "include_in_history": False},
        lambda given: None,
    )
    for form in forms:
        agent = side.agent([pay(1)], tools=[gated(side, needs_approval=False)])
        await side.run(agent, "hi", max_turns=1, error_handlers={"max_turns": form})


@scenario(HANDLERS)
async def handler_answers_with_the_output_type(side: Side) -> None:
    tool = gated(side, needs_approval=False)
    for given in (Answer(words=["none"]), {"words": ["none"]}, "wrong"):
        agent = side.agent([pay(1)], tools=[tool], output_type=Answer)
        await side.run(
            agent,
            "hi",
            max_turns=1,
            error_handlers={"max_turns": lambda data, value=given: value},
        )


@scenario(HANDLERS)
async def refusal_without_a_handler(side: Side) -> None:
    await side.run(side.agent([refusal("I will not")]), "hi")
    await side.run(side.agent([refusal("I will not")], output_type=Answer), "hi")


@scenario(HANDLERS)
async def refusal_that_is_handled(side: Side) -> None:
    def handle(given: Any) -> str:
        side.note(given.error.refusal, [each.type for each in given.run_data.new_items])
        return "refused"

    agent = side.agent([refusal("I will not")])
    await side.run(agent, "hi", error_handlers={"model_refusal": handle})


@scenario(HANDLERS)
async def invalid_output_that_is_handled(side: Side) -> None:
    def handle(given: Any) -> Any:
        side.note(type(given.error).__name__)
        return Answer(words=["repaired"])

    agent = side.agent([text("plain words")], output_type=Answer)
    await side.run(agent, "hi", error_handlers={"invalid_final_output": handle})


@scenario(HANDLERS)
async def handler_that_raises(side: Side) -> None:
    def handle(given: Any) -> Any:
        raise KeyError("no")

    agent = side.agent([pay(1)], tools=[gated(side, needs_approval=False)])
    await side.run(agent, "hi", max_turns=1, error_handlers={"max_turns": handle})


@scenario(HANDLERS)
async def handlers_of_a_wrong_name(side: Side) -> None:
    await side.run(side.agent([text("x")]), "hi", error_handlers={"boom": print})
