from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import pytest

from runs.engine.tracing import (
    agent_span,
    custom_span,
    function_span,
    get_current_span,
    get_current_trace,
    task_span,
    trace,
    turn_span,
)

from .hearing import Heard


def test_spans_nest_and_are_told_in_order(heard: Heard) -> None:
    with trace("shop") as whole, task_span("shop"), agent_span("clerk"):
        with turn_span(1, "clerk"), function_span("look"):
            pass
        with turn_span(2, "clerk"):
            pass

    assert heard.events == [
        ("trace starts", "shop"),
        ("span starts", "shop"),
        ("span starts", "clerk"),
        ("span starts", "turn"),
        ("span starts", "look"),
        ("span ends", "look"),
        ("span ends", "turn"),
        ("span starts", "turn"),
        ("span ends", "turn"),
        ("span ends", "clerk"),
        ("span ends", "shop"),
        ("trace ends", "shop"),
    ]
    _look, first, second, clerk, task = heard.spans
    assert [span.parent_id for span in heard.spans] == [
        first.span_id,
        clerk.span_id,
        clerk.span_id,
        task.span_id,
        None,
    ]
    assert {span.trace_id for span in heard.spans} == {whole.trace_id}
    assert second.span_id != first.span_id


def test_current_trace_and_span_follow_the_block(heard: Heard) -> None:
    assert (get_current_trace(), get_current_span()) == (None, None)

    with trace("t") as whole, custom_span("outer") as outer:
        with custom_span("inner") as inner:
            assert get_current_span() is inner
        assert (get_current_trace(), get_current_span()) == (whole, outer)

    assert (get_current_trace(), get_current_span()) == (None, None)


def test_explicit_parent_and_ids_are_taken(heard: Heard) -> None:
    with trace("one", trace_id="trace_1") as one, custom_span("around"):
        first = custom_span("in trace", parent=one, span_id="span_1")
        first.start()
        first.finish()
    with custom_span("in span", parent=first):
        pass

    under_trace, under_span = heard.span("in trace"), heard.span("in span")
    assert (under_trace.span_id, under_trace.parent_id) == ("span_1", None)
    assert (under_span.trace_id, under_span.parent_id) == ("trace_1", "span_1")


def test_started_and_finished_by_hand(heard: Heard) -> None:
    whole = trace("t")
    whole.start(mark_as_current=True)
    span = custom_span("work")
    span.start()
    assert get_current_span() is None
    span.finish()
    span.finish()
    whole.finish(reset_current=True)
    whole.finish(reset_current=True)

    assert [event for event, _ in heard.events] == [
        "trace starts",
        "span starts",
        "span ends",
        "trace ends",
    ]
    assert get_current_trace() is None


def test_trace_inside_a_trace_takes_no_parent_from_it(
    heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    with trace("outer"), custom_span("around"):
        with trace("inner") as inner, custom_span("inside"):
            pass
        with custom_span("after"):
            pass

    assert heard.span("inside").parent_id is None
    assert heard.span("inside").trace_id == inner.trace_id
    assert heard.span("after").parent_id == heard.span("around").span_id
    assert "inside another" in caplog.text


async def test_tasks_begin_where_their_maker_was(heard: Heard) -> None:
    async def work(name: str) -> None:
        with custom_span(name):
            await asyncio.sleep(0)
            with custom_span(f"{name}, deeper"):
                await asyncio.sleep(0)

    with trace("t"), custom_span("root"):
        async with asyncio.TaskGroup() as group:
            group.create_task(work("a"))
            group.create_task(work("b"))

    root = heard.span("root").span_id
    for name in "ab":
        span = heard.span(name)
        assert span.parent_id == root
        assert heard.span(f"{name}, deeper").parent_id == span.span_id


def test_thread_with_a_copied_context_begins_where_its_maker_was(heard: Heard) -> None:
    def work() -> None:
        with custom_span("in thread"):
            pass

    with trace("t"), custom_span("root"):
        run = contextvars.copy_context().run
        thread = threading.Thread(target=run, args=(work,))
        thread.start()
        thread.join()

    assert heard.span("in thread").parent_id == heard.span("root").span_id


async def test_span_left_in_a_foreign_context_ends_without_an_error(
    heard: Heard,
) -> None:
    async def stream() -> Any:
        with custom_span("stream"):
            yield 1

    with trace("t"):
        items = stream()
        await asyncio.create_task(items.__anext__())
        await asyncio.create_task(items.aclose())

    assert ("span ends", "stream") in heard.events
