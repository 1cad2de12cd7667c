"""Streams cut, shuffled, doubled or of other shapes: an answer or its failure."""

from __future__ import annotations

import asyncio
import copy
import functools
import math
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai._models import construct_type
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent

from runs.engine import (
    Agent,
    AgentsException,
    Model,
    ModelRetrySettings,
    ModelSettings,
    Runner,
    RunState,
    UserError,
    function_tool,
)
from runs.engine.models.chat_stream import ChatAnswer

from .hostile_runs import left_tasks

HOSTILE: list[Any] = [
    None, True, -1, 0, 10**30, 1.5, math.nan, "", "x", "\ud800", [], {}, [None],
    {"a": 1}, "function_call", "message", "fc_1",
]  # fmt: skip


def call_item(number: int) -> dict[str, Any]:
    return {
        "id": f"fc_{number}",
        "type": "function_call",
        "call_id": f"c{number}",
        "name": "pay",
        "arguments": '{"eur": 1}',
        "status": "completed",
    }


def responses_events() -> list[Any]:
    """Return two calls and a message, as a Responses server streams them."""
    part = {"type": "output_text", "text": "hi", "annotations": []}
    message = {"id": "m", "type": "message", "role": "assistant", "content": [part]}
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    ended = {"id": "r", "output": [call_item(0)], "status": "completed", "usage": usage}
    calls = [
        {"type": f"response.{kind}", "item_id": f"fc_{number}", **more}
        for number in range(2)
        for kind, more in (
            ("output_item.added", {"item": call_item(number)}),
            ("function_call_arguments.delta", {"delta": '{"eu'}),
            ("function_call_arguments.done", {"arguments": '{"eur": 1}'}),
            ("output_item.done", {"item": call_item(number)}),
        )
    ]
    return [
        {"type": "response.created", "response": {"id": "r", "output": []}},
        *calls,
        {"type": "response.output_text.delta", "delta": "hi", "item_id": "m"},
        {"type": "response.output_item.done", "item": message},
        {"type": "response.completed", "response": ended},
    ]


def chat_chunks() -> list[Any]:
    """Return a thought, a text and two calls, as a chat server streams them."""
    named = {"name": "pay", "arguments": ""}
    deltas = [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "hm"},
        {"content": "hello"},
        {"tool_calls": [{"index": 0, "id": "c0", "function": named}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"eur"'}}]},
        {"tool_calls": [{"index": 1, "id": "c1", "function": named}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]},
    ]
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": "tool_calls"})
    chunks = [{"id": "x", "created": 1, "choices": [choice]} for choice in choices]
    return [*chunks, {"id": "x", "created": 1, "choices": [], "usage": usage}]


Change = tuple[str, int, int, Any]

changes = st.lists(
    st.tuples(
        st.sampled_from(["cut", "double", "swap", "drop", "delete", "set"]),
        st.integers(0, 10**6),
        st.integers(0, 10**6),
        st.sampled_from(HOSTILE),
    ),
    max_size=4,
)


def places(node: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key in node if isinstance(node, dict) else range(len(node)):
        yield (*above, key)
        if isinstance(node[key], dict | list):
            yield from places(node[key], (*above, key))


def damaged(sent: list[Any], made: list[Change]) -> list[Any]:
    for what, where, whence, value in made:
        if not sent:
            return sent
        index, other = where % len(sent), whence % len(sent)
        if what == "cut":
            del sent[index:]
        elif what == "double":
            sent.insert(other, copy.deepcopy(sent[index]))
        elif what == "swap":
            sent[index], sent[other] = sent[other], sent[index]
        elif what == "drop":
            del sent[index]
        elif every := list(places(sent[index])):
            *way, key = every[whence % len(every)]
            node = functools.reduce(lambda inside, part: inside[part], way, sent[index])
            if what == "set":
                node[key] = copy.deepcopy(value)
            else:
                del node[key]
    return sent


class Streams(Model):
    """A model that streams what it was given."""

    def __init__(self, events: Sequence[Any]) -> None:
        self.events = events

    async def get_response(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    async def stream_response(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        for event in self.events:
            yield event


def tool(done: list[int]) -> Any:
    @function_tool(needs_approval=True)
    async def pay(eur: int) -> str:
        done.append(eur)
        return "paid"

    return pay


async def take(events: Sequence[Any]) -> None:
    """Fail unless the run ends by itself, readable, and with nothing run unasked."""
    done: list[int] = []
    once = ModelSettings(retry=ModelRetrySettings(max_retries=0))
    agent = Agent(
        name="A", tools=[tool(done)], model=Streams(events), model_settings=once
    )
    result = Runner.run_streamed(agent, "go", max_turns=1)
    await asyncio.wait({result.run_loop_task}, timeout=60)

    assert result.run_loop_task.done()
    assert left_tasks() == []
    assert done == []
    if error := result.run_loop_exception:
        assert isinstance(error, AgentsException)
        assert not isinstance(error, UserError)
    stored = result.to_state().to_string()
    assert (await RunState.from_string(agent, stored)).to_string() == stored


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(made=changes)
def test_any_stream_of_responses_events_is_an_answer_or_a_failure(
    made: list[Change],
) -> None:
    sent = damaged(responses_events(), made)
    events = [construct_type(type_=ResponseStreamEvent, value=one) for one in sent]

    asyncio.run(take(events))


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(made=changes, calls_at_end=st.booleans())
def test_any_stream_of_chat_chunks_is_an_answer_or_a_failure(
    made: list[Change], calls_at_end: bool
) -> None:
    answer = ChatAnswer("m", set(), calls_at_end=calls_at_end)
    events: list[Any] = []
    for chunk in damaged(chat_chunks(), made):
        events += answer.feed(construct_type(type_=ChatCompletionChunk, value=chunk))
    events += answer.finish()

    asyncio.run(take(events))


@pytest.mark.parametrize("kind", ["type", "item", "output", "status"])
@pytest.mark.parametrize("value", [[], {}, [None], 5, "x"])
async def test_a_responses_event_of_another_shape_is_no_crash(
    kind: str, value: Any
) -> None:
    sent = responses_events()
    if kind == "type":
        sent[3]["type"] = value
    elif kind == "item":
        sent[4]["item"]["id"] = value
    else:
        sent[-1]["response"][kind] = value

    await take([construct_type(type_=ResponseStreamEvent, value=one) for one in sent])


@pytest.mark.parametrize("kind", ["choices", "tool_calls", "finish_reason", "name"])
@pytest.mark.parametrize("value", [[], {}, [None], 5, "x"])
async def test_a_chat_chunk_of_another_shape_is_no_crash(kind: str, value: Any) -> None:
    sent = chat_chunks()
    delta = sent[3]["choices"][0]["delta"]
    if kind == "choices":
        sent[2]["choices"] = value
    elif kind == "tool_calls":
        delta["tool_calls"] = value
    elif kind == "name":
        delta["tool_calls"][0]["function"]["name"] = value
    else:
        sent[-2]["choices"][0]["finish_reason"] = value
    answer = ChatAnswer("m", set())
    events: list[Any] = []
    for chunk in sent:
        events += answer.feed(construct_type(type_=ChatCompletionChunk, value=chunk))

    await take([*events, *answer.finish()])
