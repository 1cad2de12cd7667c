"""The scripted model: its steps, its records, its streams."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from runs.engine.errors import ModelCallError
from runs.engine.model_settings import ModelSettings
from runs.engine.models.events import make_response, response_events, words
from runs.engine.models.interface import ModelResponse, ModelTracing
from runs.engine.models.retry import is_passing
from runs.engine.models.stream import collect
from runs.engine.testing import (
    InvalidModelStep,
    ModelCall,
    ModelScriptError,
    ModelStep,
    ScriptedModel,
    UnconsumedModelSteps,
    UnexpectedModelCall,
    assistant_message,
    function_call,
)
from runs.engine.usage import Usage

STREAMED = pytest.mark.parametrize("streamed", [False, True])


async def ask(
    model: ScriptedModel,
    *,
    streamed: bool = False,
    input: Any = "hi",
    seen: list[Any] | None = None,
) -> ModelResponse:
    asked: tuple[Any, ...] = (
        "Be brief.",
        input,
        ModelSettings(),
        [],
        None,
        [],
        ModelTracing.DISABLED,
    )
    ids: dict[str, Any] = {
        "previous_response_id": "resp_1",
        "conversation_id": None,
        "prompt": None,
    }
    if not streamed:
        return await model.get_response(*asked, **ids)

    async def note(event: Any) -> None:
        if seen is not None:
            seen.append(event)

    return await collect(model.stream_response(*asked, **ids), on_event=note)


def text_of(answer: ModelResponse) -> str:
    item: Any = answer.output[0]
    return str(item.content[0].text)


@STREAMED
async def test_each_call_takes_the_next_step(streamed: bool) -> None:
    first = [assistant_message("Let me see."), function_call("f", {"a": 1})]
    model = ScriptedModel(steps=[first, assistant_message("Done.")])

    answers = [await ask(model, streamed=streamed) for _ in range(2)]

    assert answers[0].output == first
    assert text_of(answers[1]) == "Done."
    ids = [answer.response_id for answer in answers]
    assert ids == ["scripted-response-1", "scripted-response-2"]
    model.assert_complete()


@STREAMED
async def test_calls_hold_what_was_asked(streamed: bool) -> None:
    model = ScriptedModel([[assistant_message("Hi.")], [assistant_message("Hi.")]])
    items = [{"role": "user", "content": "hi"}]

    await ask(model, streamed=streamed, input=items)
    items.append({"role": "user", "content": "more"})
    await ask(model, streamed=streamed, input=items)

    assert [len(call.input) for call in model.calls] == [1, 2]
    assert model.first_call is model.calls[0]
    assert model.last_call is model.calls[1]
    assert model.last_call.system_instructions == "Be brief."
    assert model.last_call.previous_response_id == "resp_1"
    assert model.last_call.streamed is streamed


def test_model_that_was_never_asked_has_no_calls() -> None:
    model = ScriptedModel()

    assert (model.first_call, model.last_call, list(model.calls)) == (None, None, [])
    model.assert_complete()


async def test_stream_is_that_of_a_real_server() -> None:
    seen: list[Any] = []
    model = ScriptedModel([[assistant_message("Hello big world")]])

    await ask(model, streamed=True, seen=seen)

    assert [event.type for event in seen] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    deltas = [event.delta for event in seen if event.type.endswith("text.delta")]
    assert deltas == ["Hello", " big", " world"]


@STREAMED
async def test_errors_are_raised_as_they_are(streamed: bool) -> None:
    failure = ConnectionError("gone")
    model = ScriptedModel([failure, ModelStep.raise_error(failure)])

    for _ in range(2):
        with pytest.raises(ConnectionError) as raised:
            await ask(model, streamed=streamed)
        assert raised.value is failure


@STREAMED
async def test_answer_can_be_derived_from_the_request(streamed: bool) -> None:
    def echo(call: ModelCall) -> Any:
        return assistant_message(f"You said {call.input[-1]['content']}")

    async def later(call: ModelCall) -> Any:
        return ModelStep.respond(echo)

    model = ScriptedModel([ModelStep.respond(echo), ModelStep.respond(later)])

    answers = [await ask(model, streamed=streamed) for _ in range(2)]

    assert [text_of(answer) for answer in answers] == ["You said hi"] * 2


@STREAMED
async def test_exact_events_are_streamed_or_make_the_answer(streamed: bool) -> None:
    answer = make_response(
        response_id="r1", model="m", output=[assistant_message("Exactly this.")]
    )
    events = list(response_events(answer))

    async def later(call: ModelCall) -> AsyncIterator[Any]:
        for event in events:
            yield event

    model = ScriptedModel(
        [
            ModelStep.stream(events),
            ModelStep.stream(lambda call: events),
            ModelStep.stream(later),
        ]
    )

    for _ in range(3):
        seen: list[Any] = []
        got = await ask(model, streamed=streamed, seen=seen)
        assert text_of(got) == "Exactly this."
        if streamed:
            assert seen == events


@STREAMED
async def test_stream_may_break_off_or_raise(streamed: bool) -> None:
    answer = make_response(response_id="r", model="m", output=[assistant_message("Hi")])
    begun = list(response_events(answer))[:4]
    model = ScriptedModel(
        [ModelStep.stream(begun), ModelStep.stream([*begun, ConnectionError("cut")])]
    )

    with pytest.raises(ModelCallError):
        await ask(model, streamed=streamed)
    with pytest.raises(ConnectionError):
        await ask(model, streamed=streamed)


@STREAMED
async def test_usage_is_the_steps_or_the_default(streamed: bool) -> None:
    items = [assistant_message("Hi.")]
    model = ScriptedModel(
        [
            items,
            ModelStep(output=items, usage=Usage(requests=1, total_tokens=9)),
            items,
        ],
        default_usage=Usage(requests=1, input_tokens=2, total_tokens=2),
    )

    totals = [(await ask(model, streamed=streamed)).usage for _ in range(2)]
    totals[0].add(totals[1])
    model.set_default_usage(None)
    totals.append((await ask(model, streamed=streamed)).usage)

    assert [usage.total_tokens for usage in totals] == [11, 9, 0]
    assert [usage.requests for usage in totals] == [2, 1, 1]


async def test_adding_to_an_answers_usage_leaves_the_default_alone() -> None:
    model = ScriptedModel(
        [[assistant_message("Hi.")]] * 2,
        default_usage=Usage(requests=1, total_tokens=2),
    )

    (await ask(model)).usage.add(Usage(requests=1, total_tokens=5))

    assert (await ask(model)).usage.total_tokens == 2


@STREAMED
async def test_call_beyond_the_script_is_named(streamed: bool) -> None:
    model = ScriptedModel([[]])
    await ask(model, streamed=streamed)

    with pytest.raises(UnexpectedModelCall, match="call 2 has no step") as raised:
        await ask(model, streamed=streamed)

    assert raised.value.call is model.last_call
    assert raised.value.call_index == 1
    assert isinstance(raised.value, ModelScriptError)
    assert not is_passing(raised.value)


def test_steps_left_over_are_named() -> None:
    model = ScriptedModel([[]])
    model.enqueue([])
    model.extend([[], []])

    with pytest.raises(UnconsumedModelSteps, match="4 steps") as raised:
        model.assert_complete()

    assert raised.value.remaining_steps == model.remaining_steps == 4


@pytest.mark.parametrize("step", [3, "text", None, [3], {"output": []}, object])
def test_step_of_another_kind_is_refused(step: Any) -> None:
    with pytest.raises(InvalidModelStep):
        ScriptedModel([step])

    model = ScriptedModel()
    with pytest.raises(InvalidModelStep):
        model.extend([[], step])
    assert model.remaining_steps == 0


async def test_response_of_another_model_is_a_step() -> None:
    given = ModelResponse(
        output=[assistant_message("Hi.")], usage=Usage(requests=1), response_id="r9"
    )

    answer = await ask(ScriptedModel([given]))

    assert (answer.response_id, answer.output) == ("r9", given.output)


def test_calls_have_ids_of_their_own() -> None:
    made = [function_call("f", "{}") for _ in range(100)]

    assert len({call.call_id for call in made}) == 100
    assert len({call.id for call in made}) == 100
    assert function_call("f", "{", call_id="c1").arguments == "{"
    assert function_call("f", {"a": [1]}, call_id="").call_id == ""
    assert assistant_message("Hi.", item_id="m1").id == "m1"


@pytest.mark.parametrize("said", ["", " ", "one", " a  b ", "line\n\nbreak\t", "\n"])
def test_words_put_together_are_the_text(said: str) -> None:
    assert "".join(words(said)) == said
