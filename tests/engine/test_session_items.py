"""What a run reads of its session, and what the session keeps of a run."""

from __future__ import annotations

from typing import Any

import pytest

from runs.engine.errors import UserError
from runs.engine.sessions import (
    SessionSettings,
    add_to_session,
    prepare_input,
    storable,
)

from .session_items import Item, ListSession, call, output, reasoning, said, user

# What a run reads


async def test_input_is_history_then_what_is_new() -> None:
    prepared = await prepare_input(ListSession(user("a"), said("b")), [user("c")])

    assert prepared.history_items == [user("a"), said("b")]
    assert prepared.new_items == [user("c")]
    assert prepared.model_input == [user("a"), said("b"), user("c")]
    assert prepared.in_order


@pytest.mark.parametrize(
    ("settings", "texts"),
    [(None, "bc"), ({"limit": 1}, "c"), (SessionSettings(), "bc")],
)
async def test_settings_of_the_run_go_over_the_sessions_own(
    settings: Any, texts: str
) -> None:
    session = ListSession(*(user(text) for text in "abc"), limit=2)

    prepared = await prepare_input(session, "new", settings)

    assert prepared.history_items == [user(text) for text in texts]
    assert prepared.new_items == [user("new")]


async def test_history_has_no_orphans() -> None:
    session = ListSession(
        output("gone", "its call was cut off"),
        reasoning("rs_1"),
        call("whole"),
        output("whole"),
        output("whole", "twice"),
        reasoning("rs_2"),
        reasoning("rs_3"),
        call("lost"),
        said("well"),
    )

    prepared = await prepare_input(session, [user("go on")])

    assert prepared.history_items == [
        reasoning("rs_1"),
        call("whole"),
        output("whole", "twice"),
        said("well"),
    ]


async def test_an_output_that_comes_with_the_input_answers_the_history() -> None:
    session = ListSession(user("a"), call("c1"))

    prepared = await prepare_input(session, [output("c1"), user("b")])

    assert prepared.model_input == [user("a"), call("c1"), output("c1"), user("b")]
    assert prepared.new_items == [output("c1"), user("b")]


async def test_what_the_input_repeats_is_read_and_kept_once() -> None:
    past = [reasoning("rs_1"), call("c1"), output("c1")]

    prepared = await prepare_input(ListSession(*past), [*past, user("b")])

    assert prepared.model_input == [*past, user("b")]
    assert prepared.new_items == [user("b")]


async def test_what_the_input_changes_is_read_as_changed() -> None:
    session = ListSession(call("c1"), output("c1", "old"), user("a"))

    prepared = await prepare_input(
        session, [call("c1", '{"x":1}'), output("c1", "new")]
    )

    assert prepared.model_input == [
        call("c1", '{"x":1}'),
        user("a"),
        output("c1", "new"),
    ]


async def test_made_up_ids_and_notes_are_not_sent() -> None:
    session = ListSession(
        said("a", id="__fake_id__", created_by="x"),
        said("b", id="fake"),
        said("c", id="msg_1"),
        {**call("c1"), "_agents_tool_title": "Look"},
        output("c1"),
    )

    prepared = await prepare_input(session, "go")

    assert prepared.history_items == [
        said("a"),
        said("b"),
        said("c", id="msg_1"),
        call("c1"),
        output("c1"),
    ]


async def test_reasoning_ids_may_be_left_out() -> None:
    session = ListSession(reasoning("rs_1"), said("a", id="msg_1"))

    prepared = await prepare_input(session, "b", reasoning_item_id_policy="omit")

    assert prepared.history_items == [
        {"type": "reasoning", "summary": []},
        said("a", id="msg_1"),
    ]


async def combined(callback: Any, *new: Item) -> tuple[list[Item], list[Item]]:
    session = ListSession(user("a"), user("b"), user("a"))
    prepared = await prepare_input(session, [*new], None, callback)
    assert session.items == [user("a"), user("b"), user("a")]
    return prepared.model_input, prepared.new_items


async def test_callback_makes_the_input() -> None:
    def newest_first(history: list[Item], new: list[Item]) -> list[Item]:
        return new + history[-1:]

    model_input, new = await combined(newest_first, user("n"))

    assert model_input == [user("n"), user("a")]
    assert new == [user("n")]


async def test_callback_may_be_async() -> None:
    async def all_of_it(history: list[Item], new: list[Item]) -> list[Item]:
        return history + new

    assert (await combined(all_of_it, user("n")))[1] == [user("n")]


def copies(history: list[Item], new: list[Item]) -> list[Item]:
    return [dict(item) for item in history + new]


def changed(history: list[Item], new: list[Item]) -> list[Item]:
    history[0]["content"] = "A"
    new[0]["content"] = "N"
    return history + new


def emptied(history: list[Item], new: list[Item]) -> list[Item]:
    kept = [dict(history[1])]
    history.clear()
    return kept + new


def moved(history: list[Item], new: list[Item]) -> list[Item]:
    new.append(history.pop())
    return history + new


def added(history: list[Item], new: list[Item]) -> list[Item]:
    return [*history, user("made"), *new]


@pytest.mark.parametrize(
    ("callback", "saved"),
    [
        (copies, "n"),
        (changed, "N"),
        (emptied, "n"),
        (moved, "n"),
        (added, ["made", "n"]),
        (lambda history, new: history, ""),
        (lambda history, new: [dict(history[1]), dict(history[1])], "b"),
        (lambda history, new: [*history, *history, *new], "n"),
        (lambda history, new: [], ""),
    ],
)
async def test_only_what_is_new_in_a_callbacks_result_is_kept(
    callback: Any, saved: str | list[str]
) -> None:
    _, new = await combined(callback, user("n"))

    assert new == [user(text) for text in saved]


async def test_input_equal_to_the_history_is_new_all_the_same() -> None:
    def both(history: list[Item], new: list[Item]) -> list[Item]:
        return history + new

    assert (await combined(both, user("a")))[1] == [user("a")]


async def test_input_stays_new_where_its_equal_in_the_history_is_dropped() -> None:
    def newest(history: list[Item], new: list[Item]) -> list[Item]:
        return new

    assert (await combined(newest, user("a")))[1] == [user("a")]


async def test_what_a_callback_changes_is_its_own_copy() -> None:
    def hide(history: list[Item], new: list[Item]) -> list[Item]:
        for item in history + new:
            item["content"][0]["text"] = "hidden"
        return history + new

    session, new = ListSession(said("a")), said("b")

    prepared = await prepare_input(session, [new], None, hide)

    assert prepared.model_input == [said("hidden"), said("hidden")]
    assert session.items == [said("a")]
    assert new == said("b")


async def test_what_the_caller_gives_is_read_as_it_is() -> None:
    new = [output("c0"), call("c1"), user("b")]

    assert (await prepare_input(ListSession(user("a")), new)).new_items == new


async def test_a_callback_that_reorders_is_told_of() -> None:
    def first(history: list[Item], new: list[Item]) -> list[Item]:
        return new + history

    prepared = await prepare_input(ListSession(user("a")), "n", None, first)

    assert not prepared.in_order
    assert prepared.model_input == [user("n"), user("a")]


@pytest.mark.parametrize("callback", ["text", lambda history, new: tuple(history)])
async def test_a_callback_that_is_none_is_refused(callback: Any) -> None:
    with pytest.raises(UserError, match="session_input_callback"):
        await combined(callback, user("n"))


async def test_a_session_that_takes_the_context_is_given_it() -> None:
    seen: list[Any] = []

    class Tenant(ListSession):
        async def get_items(self, limit: Any = None, *, wrapper: Any = None) -> Any:
            seen.append(("get", wrapper))
            return []

        async def add_items(self, items: list[Any], *, wrapper: Any = None) -> None:
            seen.append(("add", wrapper))

        async def pop_item(self, *, wrapper: Any = None) -> Any: ...

        async def clear_session(self, *, wrapper: Any = None) -> None: ...

    await prepare_input(Tenant(), "a", context="tenant 1")
    await add_to_session(Tenant(), [user("a")], "tenant 1")
    await add_to_session(ListSession(), [user("a")], "tenant 1")
    await add_to_session(Tenant(), [], "tenant 1")

    assert seen == [("get", "tenant 1"), ("add", "tenant 1")]


# What a session keeps


def test_storable_leaves_out_what_waits() -> None:
    items = [user("a"), reasoning("rs_1"), call("c1"), call("c2"), output("c2")]

    assert storable(items) == [user("a"), call("c2"), output("c2")]


def test_storable_knows_what_is_saved_already() -> None:
    assert storable([output("c1"), said("b")], [call("c1")]) == [
        output("c1"),
        said("b"),
    ]
    assert storable([output("c1"), said("b")]) == [said("b")]


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("custom_tool_call", "custom_tool_call_output"),
        ("shell_call", "shell_call_output"),
        ("apply_patch_call", "apply_patch_call_output"),
        ("computer_call", "computer_call_output"),
    ],
)
def test_storable_knows_every_kind_of_call(kind: str, answer: str) -> None:
    made, told = {"type": kind, "call_id": "c"}, {"type": answer, "call_id": "c"}

    assert storable([made, told]) == [made, told]
    assert storable([made]) == storable([told]) == storable([told, made]) == []


def test_storable_keeps_what_the_server_answers_itself() -> None:
    items = [
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"type": "tool_search_call", "call_id": None, "id": "ts_1"},
        {"type": "tool_search_output", "call_id": None, "id": "to_1", "tools": []},
        said("a", id="__fake_id__"),
    ]

    assert storable(items) == [*items[:3], said("a")]


def test_storable_refuses_what_is_no_item() -> None:
    with pytest.raises(UserError, match="item"):
        storable(["text"])
