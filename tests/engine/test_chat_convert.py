"""Items to chat messages, chat chunks to items: rules by example and by property."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai._models import construct_type
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from runs.engine.errors import ModelCallError
from runs.engine.models.chat_convert import (
    NO_OUTPUT,
    CallIds,
    to_chat_messages,
    used_call_ids,
)
from runs.engine.models.chat_stream import ChatAnswer
from runs.engine.testing import assistant_message, function_call


def call(call_id: str, name: str = "f", arguments: Any = "{}") -> dict[str, Any]:
    return {
        "type": "function_call",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
    }


def output(call_id: str, given: Any = "ok") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": given}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "role": "assistant", "content": [part]}


def asked(*ids: str, content: str | None = None) -> dict[str, Any]:
    function = {"name": "f", "arguments": "{}"}
    calls = [{"id": one, "type": "function", "function": function} for one in ids]
    return {"role": "assistant", "content": content, "tool_calls": calls}


def told(call_id: str, content: str = "ok") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


# Items to messages


def test_text_input_is_a_message_behind_the_instructions() -> None:
    assert to_chat_messages("hi", "Be brief.") == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
    ]


def test_text_and_calls_of_one_answer_are_one_message() -> None:
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": []}
    items = [
        user("hi"),
        reasoning,
        assistant("Let me see."),
        call("c1"),
        call("c2"),
        output("c1"),
        output("c2"),
        assistant("Done."),
    ]

    assert to_chat_messages(items) == [
        {"role": "user", "content": "hi"},
        asked("c1", "c2", content="Let me see."),
        told("c1"),
        told("c2"),
        {"role": "assistant", "content": "Done."},
    ]


def test_calls_of_two_turns_are_two_messages() -> None:
    items = [call("c1"), output("c1"), call("c2"), output("c2")]

    assert to_chat_messages(items) == [asked("c1"), told("c1"), asked("c2"), told("c2")]


def test_outputs_go_behind_their_calls_wherever_they_are() -> None:
    items = [call("c1"), call("c2"), output("c2"), user("more"), output("c1", "late")]

    assert to_chat_messages(items) == [
        asked("c1", "c2"),
        told("c1", "late"),
        told("c2"),
        {"role": "user", "content": "more"},
    ]


def test_call_without_output_gets_a_placeholder_and_the_reverse_is_left_out() -> None:
    assert to_chat_messages([call("c1"), output("c9")]) == [
        asked("c1"),
        told("c1", NO_OUTPUT),
    ]


def test_items_of_the_client_are_taken_too() -> None:
    items = [assistant_message("Hi."), function_call("f", "{}", call_id="c1")]

    assert to_chat_messages(items) == [
        asked("c1", content="Hi."),
        told("c1", NO_OUTPUT),
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("hi", "hi"),
        (
            [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}],
            "ab",
        ),
        (
            [
                {"type": "input_text", "text": "See"},
                {"type": "input_image", "image_url": "https://x.test/a.png"},
            ],
            [
                {"type": "text", "text": "See"},
                {
                    "type": "image_url",
                    "image_url": {"url": "https://x.test/a.png", "detail": "auto"},
                },
            ],
        ),
        (
            [{"type": "input_file", "file_id": "file_1"}],
            [{"type": "file", "file": {"file_id": "file_1"}}],
        ),
        ([{"type": "hologram"}], "(left out: hologram)"),
    ],
)
def test_content_keeps_what_a_chat_can_hold(content: Any, expected: Any) -> None:
    assert to_chat_messages([user(content)]) == [user(expected)]


def test_developer_is_a_system_role_and_a_refusal_is_text() -> None:
    refusal = [{"type": "refusal", "refusal": "No."}]

    assert to_chat_messages(
        [
            {"role": "developer", "content": "Be brief."},
            {"role": "assistant", "content": refusal},
        ]
    ) == [
        {"role": "system", "content": "Be brief."},
        {"role": "assistant", "content": "No."},
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("text", "text"),
        ([{"type": "input_text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
        ({"total": 1}, '{"total": 1}'),
        (None, "null"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
    ],
)
def test_output_is_one_text(given: Any, expected: str) -> None:
    messages = to_chat_messages([call("c1"), output("c1", given)])

    assert messages[1] == told("c1", expected)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
ids = st.sampled_from(["c1", "c2", "c3", ""]) | json_values
odd_items = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(
            ["message", "function_call", "function_call_output", "reasoning", "x"]
        )
        | json_values,
        "role": st.sampled_from(["user", "assistant", "developer", "tool"])
        | json_values,
        "call_id": ids,
        "name": st.text(max_size=5) | json_values,
        "arguments": json_values,
        "output": json_values,
        "content": json_values
        | st.lists(
            st.fixed_dictionaries(
                {"type": st.sampled_from(["input_text", "input_image", "refusal"])},
                optional={"text": json_values, "image_url": json_values},
            )
        ),
    },
)
any_items = st.lists(
    odd_items
    | json_values
    | st.builds(call, st.sampled_from(["c1", "c2", "c3"]))
    | st.builds(output, st.sampled_from(["c1", "c2", "c3"])),
    max_size=12,
)


@given(any_items)
@settings(deadline=None)
def test_messages_are_always_ones_a_server_takes(items: list[Any]) -> None:
    messages = to_chat_messages(items)

    used_call_ids(items)
    json.dumps(messages)
    open_calls: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            assert message["tool_call_id"] == open_calls.pop(0)
            continue
        assert open_calls == []
        open_calls = [one["id"] for one in message.get("tool_calls", [])]
        assert open_calls or message["content"]
    assert open_calls == []


@given(any_items)
@settings(deadline=None)
def test_converting_changes_nothing_that_was_given(items: list[Any]) -> None:
    before = json.dumps(items)

    to_chat_messages(items)

    assert json.dumps(items) == before


@given(st.sets(st.text(max_size=3)), st.lists(ids))
@settings(deadline=None)
def test_call_ids_are_never_given_twice(used: set[str], proposed: list[Any]) -> None:
    call_ids = CallIds(used)

    taken = [call_ids.take(one) for one in proposed]

    assert len(set(taken)) == len(taken)
    assert not used & set(taken)
    assert all(one.strip() for one in taken)


# Chunks to items


def chunk(
    delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any
) -> Any:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    given = {"id": "chatcmpl-1", "created": 1, "choices": [choice], **more}
    return construct_type(value=given, type_=ChatCompletionChunk)


def piece(
    *,
    index: int | None = None,
    call_id: str | None = None,
    name: str | None = None,
    arguments: Any = None,
) -> Any:
    given: dict[str, Any] = {"function": {"name": name, "arguments": arguments}}
    if index is not None:
        given["index"] = index
    if call_id is not None:
        given["id"] = call_id
    return chunk({"tool_calls": [given]})


def streamed(*chunks: Any, used: set[str] | None = None) -> list[Any]:
    answer = ChatAnswer("fake", used or set())
    events = [event for part in chunks for event in answer.feed(part)]
    return [*events, *answer.finish()]


def calls_of(*chunks: Any, finish: str = "tool_calls") -> list[tuple[str, str, str]]:
    response = streamed(*chunks, chunk({}, finish))[-1].response
    return [(one.call_id, one.name, one.arguments) for one in response.output]


def test_call_in_one_chunk_and_in_many_is_the_same() -> None:
    whole = calls_of(piece(index=0, call_id="c1", name="refund", arguments='{"a":1}'))
    pieces = calls_of(
        piece(index=0, call_id="c1"),
        piece(index=0, name="ref"),
        piece(index=0, name="und"),
        piece(index=0, arguments='{"a"'),
        piece(index=0, arguments=":1}"),
    )

    assert whole == pieces == [("c1", "refund", '{"a":1}')]


def test_parallel_calls_may_come_interleaved() -> None:
    assert calls_of(
        piece(index=0, call_id="c1", name="a", arguments="{"),
        piece(index=1, call_id="c2", name="b", arguments="{"),
        piece(index=0, arguments="}"),
        piece(index=1, arguments="}"),
    ) == [("c1", "a", "{}"), ("c2", "b", "{}")]


@pytest.mark.parametrize("index", [None, 0])
def test_calls_without_an_index_of_their_own_are_told_apart_by_id(
    index: int | None,
) -> None:
    assert calls_of(
        piece(index=index, call_id="c1", name="a", arguments='{"x"'),
        piece(index=index, arguments=":1}"),
        piece(index=index, call_id="c2", name="a", arguments='{"x":1}'),
    ) == [("c1", "a", '{"x":1}'), ("c2", "a", '{"x":1}')]


@pytest.mark.parametrize("index", [None, 0])
def test_calls_without_index_and_id_are_told_apart_by_name(index: int | None) -> None:
    made = calls_of(
        piece(index=index, name="a", arguments='{"x":'),
        piece(index=index, arguments="1}"),
        piece(index=index, name="b", arguments="{}"),
        piece(index=index, name="b", arguments='{"x":2}'),
    )

    assert [one[1:] for one in made] == [
        ("a", '{"x":1}'),
        ("b", "{}"),
        ("b", '{"x":2}'),
    ]
    assert len({one[0] for one in made}) == 3


def test_same_id_at_another_index_is_another_call() -> None:
    made = calls_of(
        piece(index=0, call_id="c1", name="a", arguments="{}"),
        piece(index=1, call_id="c1", name="a", arguments="{}"),
    )

    assert made[0] == ("c1", "a", "{}")
    assert made[1][0] not in {"c1", ""}


def test_new_id_in_every_chunk_is_the_same_call() -> None:
    assert calls_of(
        piece(index=0, call_id="c1", name="a", arguments='{"x"'),
        piece(index=0, call_id="c7", arguments=":"),
        piece(call_id="c8", arguments="1}"),
    ) == [("c1", "a", '{"x":1}')]


def test_name_in_every_chunk_is_the_same_call() -> None:
    assert calls_of(
        piece(index=0, call_id="c1", name="a", arguments=""),
        piece(index=0, call_id="c1", name="a", arguments='{"x"'),
        piece(index=0, call_id="c1", name="a", arguments=":1}"),
        piece(index=0, call_id="c1", name="a", arguments=""),
    ) == [("c1", "a", '{"x":1}')]


def test_call_that_is_said_again_is_made_once() -> None:
    whole = piece(index=0, call_id="c1", name="a", arguments='{"x":1}')

    assert calls_of(whole, whole) == [("c1", "a", '{"x":1}')]


def test_absent_arguments_are_none_unless_the_answer_was_cut() -> None:
    begun = piece(index=0, call_id="c1", name="a", arguments="")

    assert calls_of(begun) == [("c1", "a", "{}")]
    assert calls_of(begun, finish="length") == [("c1", "a", "")]


def test_parsed_arguments_are_written_as_text() -> None:
    assert calls_of(piece(index=0, call_id="c1", name="a", arguments={"x": 1})) == [
        ("c1", "a", '{"x": 1}')
    ]


def test_reasoning_is_an_item_of_its_own() -> None:
    events = streamed(
        chunk({"reasoning_content": "Hm, "}),
        chunk({"reasoning": "yes."}),
        chunk({"content": "Yes."}),
        chunk({}, "stop"),
    )

    thought, message = events[-1].response.output
    assert (thought.type, thought.content[0].text) == ("reasoning", "Hm, yes.")
    assert message.content[0].text == "Yes."


@pytest.mark.parametrize("reason", [None, "abort", "error"])
def test_stream_that_breaks_off_has_no_last_event(reason: str | None) -> None:
    events = streamed(chunk({"content": "Half"}), chunk({}, reason))

    assert events[-1].type == "response.output_text.delta"


def test_usage_of_the_last_chunk_counts() -> None:
    counted = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    events = streamed(
        chunk({"content": "Hi."}, usage={**counted, "total_tokens": 5}),
        chunk({}, "stop"),
        chunk(None, choices=[], usage=counted),
    )

    assert events[-1].response.usage.total_tokens == 7


@pytest.mark.parametrize("choices", [None, [], [{"index": 0}]])
def test_completion_without_an_answer_is_a_failure(choices: Any) -> None:
    body: Any = construct_type(value={"choices": choices}, type_=ChatCompletion)

    with pytest.raises(ModelCallError, match="sent no answer"):
        ChatAnswer("fake", set()).whole(body)


def test_completion_that_was_aborted_is_a_failure() -> None:
    choice = {"index": 0, "message": {"content": "Ha"}, "finish_reason": "abort"}
    body: Any = construct_type(value={"choices": [choice]}, type_=ChatCompletion)

    with pytest.raises(ModelCallError, match="broke"):
        ChatAnswer("fake", set()).whole(body)


odd_calls = st.fixed_dictionaries(
    {},
    optional={
        "index": st.integers(0, 2) | json_values,
        "id": ids,
        "function": st.fixed_dictionaries(
            {},
            optional={
                "name": st.sampled_from(["a", "b", ""]) | st.none(),
                "arguments": st.sampled_from(["{", "}", "{}", '{"x":1}', ""])
                | json_values,
            },
        )
        | st.none(),
    },
)
odd_chunks = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["chatcmpl-1", ""]) | json_values,
        "created": json_values,
        "choices": st.none()
        | st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "delta": st.none()
                    | st.fixed_dictionaries(
                        {},
                        optional={
                            "content": st.text(max_size=5) | json_values,
                            "refusal": st.text(max_size=5) | st.none(),
                            "reasoning_content": st.text(max_size=5) | st.none(),
                            "tool_calls": st.none() | st.lists(odd_calls, max_size=3),
                        },
                    ),
                    "finish_reason": st.sampled_from(
                        [None, "stop", "length", "tool_calls", "abort", "odd"]
                    ),
                },
            ),
            max_size=2,
        ),
        "usage": st.none() | json_values,
    },
)


@given(st.lists(odd_chunks, max_size=10), st.sets(st.sampled_from(["c1", "c2"])))
@settings(deadline=None, max_examples=300)
def test_stream_is_always_well_formed(chunks: list[Any], used: set[str]) -> None:
    built = [construct_type(value=one, type_=ChatCompletionChunk) for one in chunks]

    events = streamed(*built, used=used)

    assert [event.sequence_number for event in events] == list(range(len(events)))
    if not events or events[-1].type not in {
        "response.completed",
        "response.incomplete",
    }:
        return
    added = [e for e in events if e.type == "response.output_item.added"]
    done = [e for e in events if e.type == "response.output_item.done"]
    items = events[-1].response.output
    assert [event.item for event in done] == items
    assert sorted(event.output_index for event in added) == list(range(len(items)))
    assert {event.item.id for event in added} == {item.id for item in items}
    call_ids = [item.call_id for item in items if item.type == "function_call"]
    assert len(set(call_ids)) == len(call_ids)
    assert not used & set(call_ids)
    for item in items:
        deltas = [
            event.delta
            for event in events
            if event.type.endswith("delta") and event.item_id == item.id
        ]
        if item.type == "function_call" and item.arguments.strip():
            assert "".join(deltas).strip() == item.arguments.strip()


# Fields that only the server knows


def test_call_goes_back_with_what_its_server_put_there() -> None:
    signature = {"google": {"thought_signature": "abc"}}
    sent = {
        "index": 0,
        "id": "c1",
        "type": "function",
        "function": {"name": "f", "arguments": "{}"},
        "extra_content": signature,
    }
    message = {"role": "assistant", "content": None, "tool_calls": [sent]}
    body: Any = construct_type(
        value={"choices": [{"index": 0, "message": message}]}, type_=ChatCompletion
    )

    last = streamed(chunk({"tool_calls": [sent]}), chunk({}, "tool_calls"))[-1]
    whole: Any = ChatAnswer("fake", set()).whole(body).output[0]
    item = last.response.output[0].model_dump(exclude_unset=True)

    assert item["provider_data"] == {"extra_content": signature}
    assert whole.provider_data == item["provider_data"]
    assert to_chat_messages([item])[0]["tool_calls"] == [
        {
            "extra_content": signature,
            "id": "c1",
            "type": "function",
            "function": {"name": "f", "arguments": "{}"},
        }
    ]


def test_calls_may_be_held_back_until_the_stream_is_over() -> None:
    answer = ChatAnswer("fake", set(), calls_at_end=True)
    chunks = [
        piece(index=0, call_id="c1", name="f", arguments='{"a":'),
        piece(index=0, arguments="1}"),
        chunk({"content": "Hm."}, "tool_calls"),
    ]

    early = [event for one in chunks for event in answer.feed(one)]
    late: list[Any] = list(answer.finish())

    kinds = [event.type for event in early]
    assert "response.output_text.delta" in kinds
    assert not [kind for kind in kinds if "function_call" in kind]
    numbers = [event.sequence_number for event in early + late]
    assert numbers == list(range(len(numbers)))
    message, made = late[-1].response.output
    assert (message.type, made.type) == ("message", "function_call")
    assert made.arguments == '{"a":1}'
