"""Handoffs by themselves: how they are made, offered and carried out."""

from __future__ import annotations

import asyncio
import json
from datetime import date
from typing import Any

import pytest
from pydantic import BaseModel

from runs.engine import Agent, ModelBehaviorError, UserError
from runs.engine.context import RunContextWrapper
from runs.engine.handoffs.handoff import (
    Handoff,
    HandoffInputData,
    as_handoff,
    enabled_handoffs,
    handoff,
    next_input,
)
from runs.engine.handoffs.prompt import (
    RECOMMENDED_PROMPT_PREFIX,
    prompt_with_handoff_instructions,
)

CONTEXT: RunContextWrapper[Any] = RunContextWrapper(context=None)
DATA = HandoffInputData(input_history="hi", pre_handoff_items=(), new_items=())


def agent(name: str = "Billing", **settings: Any) -> Agent[Any]:
    return Agent(name=name, **settings)


class Reason(BaseModel):
    text: str
    since: date | None = None


def test_handoff_has_the_defaults_of_the_sdk() -> None:
    target = agent("Café Refunds 2", handoff_description="Pays back.")

    way = handoff(target)

    assert way == Handoff(
        tool_name="transfer_to_caf__refunds_2",
        tool_description="Handoff to the Café Refunds 2 agent to handle the request. "
        "Pays back.",
        input_json_schema={
            "type": "object",
            "properties": {},
            "required": [],
            "additionalProperties": False,
        },
        on_invoke_handoff=way.on_invoke_handoff,
        agent_name="Café Refunds 2",
        input_filter=None,
        nest_handoff_history=None,
        strict_json_schema=True,
        is_enabled=True,
    )
    assert way.agent is target
    assert handoff(agent()).tool_description.endswith("request. ")


def test_handoff_takes_overrides_in_the_order_of_the_sdk() -> None:
    def keep(data: HandoffInputData) -> HandoffInputData:
        return data

    way = handoff(agent(), "go", "Go there.", None, None, keep, True, False)

    assert (way.tool_name, way.tool_description) == ("go", "Go there.")
    assert (way.input_filter, way.nest_handoff_history) == (keep, True)
    assert way.is_enabled is False


def test_transfer_message_names_the_agent() -> None:
    assert handoff(agent()).get_transfer_message(agent("Ü")) == json.dumps(
        {"assistant": "Ü"}
    )


@pytest.mark.parametrize("given", ["", "{}", '{"x": 1}', "not json"])
async def test_invoking_without_a_callback_gives_the_agent(given: str) -> None:
    target = agent()

    assert await handoff(target).on_invoke_handoff(CONTEXT, given) is target


async def test_on_handoff_is_called_with_the_context() -> None:
    seen: list[Any] = []

    async def later(ctx: Any) -> None:
        seen.append(ctx)

    await handoff(agent(), on_handoff=seen.append).on_invoke_handoff(CONTEXT, "")
    await handoff(agent(), on_handoff=later).on_invoke_handoff(CONTEXT, "")

    assert seen == [CONTEXT, CONTEXT]


async def test_on_handoff_is_called_with_the_input_the_model_gave() -> None:
    seen: list[Any] = []
    way = handoff(
        agent(), on_handoff=lambda ctx, given: seen.append(given), input_type=Reason
    )

    await way.on_invoke_handoff(CONTEXT, '{"text": "late", "since": "2024-05-01"}')

    assert seen == [Reason(text="late", since=date(2024, 5, 1))]
    assert way.input_json_schema["required"] == ["text", "since"]
    assert way.input_json_schema["additionalProperties"] is False


async def test_input_type_may_be_other_than_an_object() -> None:
    seen: list[Any] = []
    way = handoff(
        agent(), on_handoff=lambda ctx, given: seen.append(given), input_type=int
    )

    await way.on_invoke_handoff(CONTEXT, "5")
    with pytest.raises(ModelBehaviorError, match="valid integer"):
        await way.on_invoke_handoff(CONTEXT, '"5"')

    assert seen == [5]


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "null",
        "[]",
        '"late"',
        "{}",
        '{"text": 5}',
        '{"text": "late"',
        '{"text": "late"} {}',
        '{"text": "late"}, "more": {}',
        '{"text": "late", "text": "early"}',
        '{"text": "late", "more": NaN}',
        '{"text": "\\ud800"}',
    ],
)
async def test_input_that_does_not_fit_is_the_models_mistake(given: Any) -> None:
    seen: list[Any] = []
    way = handoff(
        agent(), on_handoff=lambda ctx, given: seen.append(given), input_type=Reason
    )

    with pytest.raises(ModelBehaviorError, match="handoff to 'Billing'"):
        await way.on_invoke_handoff(CONTEXT, given)

    assert seen == []


async def test_error_of_an_input_does_not_repeat_what_the_model_wrote() -> None:
    way = handoff(agent(), on_handoff=lambda ctx, given: None, input_type=Reason)

    with pytest.raises(ModelBehaviorError, match="text: ") as caught:
        await way.on_invoke_handoff(CONTEXT, '{"text": {"card": "4111 1111"}}')

    assert "4111" not in str(caught.value)


async def test_on_handoff_that_raises_lets_its_error_out() -> None:
    def breaks(ctx: Any) -> None:
        raise LookupError("no desk")

    with pytest.raises(LookupError, match="no desk"):
        await handoff(agent(), on_handoff=breaks).on_invoke_handoff(CONTEXT, "")


@pytest.mark.parametrize("raised", [SystemExit(3), asyncio.CancelledError()])
async def test_on_handoff_can_neither_end_the_worker_nor_stop_the_run(
    raised: BaseException,
) -> None:
    def leaves(ctx: Any) -> None:
        raise raised

    with pytest.raises(UserError, match="on_handoff of the handoff to 'Billing'"):
        await handoff(agent(), on_handoff=leaves).on_invoke_handoff(CONTEXT, "")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input_type": Reason}, "is missing"),
        ({"on_handoff": "text"}, "cannot be called"),
        ({"on_handoff": lambda: None}, "one argument"),
        ({"on_handoff": lambda ctx, given: None}, "one argument"),
        ({"on_handoff": lambda ctx: None, "input_type": Reason}, "two arguments"),
        (
            {"on_handoff": lambda ctx, given: None, "input_type": dict[str, str]},
            "takes keys",
        ),
        (
            {"on_handoff": lambda ctx, given: None, "input_type": asyncio.Event},
            "no JSON schema",
        ),
    ],
)
def test_handoff_refuses_what_does_not_fit(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        handoff(agent(), **settings)


def test_as_handoff_takes_agents_and_handoffs_only() -> None:
    target = agent()
    way = handoff(target)

    assert as_handoff(way) is way
    assert as_handoff(target).agent is target
    with pytest.raises(UserError, match="'Billing'"):
        as_handoff("Billing")  # type: ignore[arg-type]


async def test_enabled_handoffs_asks_with_context_and_agent() -> None:
    asked: list[Any] = []
    source = agent("Triage")

    def no(ctx: Any, who: Any) -> int:
        asked.append((ctx, who))
        return 0

    async def yes(ctx: Any, who: Any) -> bool:
        asked.append((ctx, who))
        return True

    source.handoffs = [
        agent("One"),
        handoff(agent("Two"), is_enabled=False),
        handoff(agent("Three"), is_enabled=no),
        handoff(agent("Four"), is_enabled=yes),
    ]

    ways = await enabled_handoffs(source, CONTEXT)

    assert [way.agent_name for way in ways] == ["One", "Four"]
    assert asked == [(CONTEXT, source)] * 2


def marks(word: str) -> Any:
    return lambda data: data.clone(input_history=word)


async def read(settings: dict[str, Any], **of_run: Any) -> Any:
    after = await next_input(handoff(agent(), **settings), DATA, **of_run)
    return after.input_history


async def test_next_input_is_unchanged_when_nothing_is_set() -> None:
    assert await next_input(handoff(agent()), DATA) is DATA


async def test_next_input_prefers_the_handoffs_filter_to_the_runs() -> None:
    of_run = {"run_filter": marks("run")}

    assert await read({}, **of_run) == "run"
    assert await read({"input_filter": marks("own")}, **of_run) == "own"


async def test_next_input_awaits_a_filter() -> None:
    async def later(data: HandoffInputData) -> HandoffInputData:
        return data.clone(input_history="later")

    assert await read({"input_filter": later}) == "later"


async def test_next_input_nests_as_the_handoff_or_else_the_run_says() -> None:
    [summary] = await read({}, run_nests=True)

    assert "1. user: hi" in summary["content"]
    assert await read({"nest_handoff_history": True}) == (summary,)
    assert await read({"nest_handoff_history": False}, run_nests=True) == "hi"
    assert await read({}, run_nests=True, history_mapper=lambda items: items[:0]) == ()


async def test_next_input_nests_nothing_that_a_filter_has_read() -> None:
    settings = {"input_filter": marks("own"), "nest_handoff_history": True}

    assert await read(settings, run_nests=True) == "own"


@pytest.mark.parametrize("chosen", ["text", lambda data: None, lambda data: "hi"])
async def test_next_input_refuses_a_filter_that_is_none(chosen: Any) -> None:
    with pytest.raises(UserError, match="input filter"):
        await read({"input_filter": chosen})


def test_clone_changes_only_what_is_named() -> None:
    after = DATA.clone(new_items=(), run_context=CONTEXT)

    assert (after.input_history, after.run_context) == ("hi", CONTEXT)
    assert DATA.run_context is None


def test_prompt_with_handoff_instructions_comes_before_the_prompt() -> None:
    prompt = prompt_with_handoff_instructions("Be kind.")

    assert prompt == f"{RECOMMENDED_PROMPT_PREFIX}\n\nBe kind."
    assert "transfer_to_<agent_name>" in RECOMMENDED_PROMPT_PREFIX
