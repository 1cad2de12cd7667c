from __future__ import annotations

import json
from typing import Any

import pytest

from runs.engine.tracing import (
    TraceCtxManager,
    TraceState,
    custom_span,
    get_current_span,
    get_current_trace,
    resume_trace,
    run_trace,
    set_current_error,
    trace,
)

from .hearing import Config, Heard, label


def test_state_of_a_trace_round_trips_without_its_key() -> None:
    state = trace("w", "trace_1", "g", {"k": "v"}, {"api_key": "sk"}).state()
    assert state is not None

    open_form = json.loads(json.dumps(state.to_json()))

    assert open_form == {
        "object": "trace",
        "id": "trace_1",
        "workflow_name": "w",
        "group_id": "g",
        "metadata": {"k": "v"},
    }
    assert "sk" not in repr(state)
    read = TraceState.from_json(open_form)
    assert read == TraceState(
        trace_id="trace_1", workflow_name="w", group_id="g", metadata={"k": "v"}
    )
    assert TraceState.from_json(state.to_json(include_tracing_api_key=True)) == state


@pytest.mark.parametrize(
    "hostile",
    [None, {}, [], "trace_1", {"id": 1}, {"id": ""}, {"id": "no-op"}, {"id": None}],
)
def test_state_that_names_no_trace_is_none(hostile: Any) -> None:
    assert TraceState.from_json(hostile) is None


def test_state_with_wrong_types_loads_without_them() -> None:
    read = TraceState.from_json(
        {
            "id": "trace_1",
            "workflow_name": 3,
            "group_id": [],
            "metadata": "no",
            "tracing_api_key": {},
            "__class__": "x",
        }
    )

    assert read == TraceState(trace_id="trace_1", workflow_name="Agent workflow")


def test_resumed_trace_tells_only_its_spans(heard: Heard) -> None:
    state = TraceState(trace_id="trace_1", workflow_name="w", group_id="g")

    with resume_trace(state) as whole, custom_span("more"):
        assert get_current_trace() is whole
        assert whole.state() == state

    assert heard.events == [("span starts", "more"), ("span ends", "more")]
    assert heard.spans[0].trace_id == "trace_1"
    assert heard.spans[0].parent_id is None


def test_run_has_a_trace_of_its_own_by_its_config(heard: Heard) -> None:
    config = Config(workflow_name="w", group_id="g", trace_metadata={"k": "v"})

    with run_trace(config) as around, custom_span("work"):
        assert around.trace is get_current_trace()

    assert heard.events[0] == ("trace starts", "w")
    assert heard.events[-1] == ("trace ends", "w")
    assert (heard.traces[0].group_id, heard.traces[0].metadata) == ("g", {"k": "v"})


def test_run_inside_a_trace_is_part_of_it(heard: Heard) -> None:
    with trace("mine") as mine, run_trace(Config(workflow_name="w")) as around:
        assert around.trace is None
        assert get_current_trace() is mine

    assert heard.events == [("trace starts", "mine"), ("trace ends", "mine")]


def test_resumed_run_goes_on_in_its_trace(heard: Heard) -> None:
    with run_trace(Config(workflow_name="w", group_id="g")) as first:
        assert first.trace is not None
        state = first.trace.state()
    heard.events.clear()

    with run_trace(Config(), state) as again, custom_span("more"):
        assert again.workflow_name == "w"

    assert heard.events == [("span starts", "more"), ("span ends", "more")]
    assert heard.spans[-1].trace_id == first.trace.trace_id
    assert again.trace is not None
    assert again.trace.group_id == "g"


def test_resumed_run_takes_its_key_from_the_config(heard: Heard) -> None:
    config = Config(tracing={"api_key": "sk-new"})

    with run_trace(config, TraceState(trace_id="trace_1")), custom_span("more"):
        pass

    assert heard.spans[0].tracing_api_key == "sk-new"


def test_resumed_run_with_another_trace_id_begins_another_trace(heard: Heard) -> None:
    state = TraceState(trace_id="trace_1", workflow_name="w")

    with run_trace(Config(trace_id="trace_2"), state):
        pass

    assert heard.events == [("trace starts", "w"), ("trace ends", "w")]
    assert heard.traces[0].trace_id == "trace_2"


def test_run_without_tracing_mutes_the_trace_it_is_in(heard: Heard) -> None:
    with trace("mine"), custom_span("around") as around:
        with run_trace(Config(tracing_disabled=True)), custom_span("hidden"):
            set_current_error("Hidden")
        assert get_current_span() is around

    assert [label(span) for span in heard.spans] == ["around"]
    assert around.error is None


def test_trace_manager_takes_the_usual_arguments(heard: Heard) -> None:
    with TraceCtxManager("w", "trace_1", None, None, None, False) as around:
        assert around.trace is not None

    assert heard.traces[0].trace_id == "trace_1"
