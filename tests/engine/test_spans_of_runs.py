"""What a run tells its trace: nesting, pauses, and what it keeps to itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from runs.engine import (
    GuardrailFunctionOutput,
    RunConfig,
    Runner,
    SpanRecorder,
    UserError,
    custom_span,
    function_tool,
    input_guardrail,
    recording,
    trace,
)

from .scripted import (
    END,
    Support,
    approved,
    call,
    look_up,
    paused,
    refund,
    reread,
    scripted,
    waiting,
)

pytestmark = pytest.mark.usefixtures("nothing_left")

TRACE_ID = "trace_" + "a" * 32


@pytest.fixture
def recorder() -> Iterator[SpanRecorder]:
    recorder = SpanRecorder()
    with recording(recorder):
        yield recorder


def told(record: dict[str, Any]) -> str:
    """Return what a span is of, with its name where it has one of its own."""
    kind, name = record["span_data"]["type"], record["span_data"].get("name")
    if kind == "custom":  # as which tasks and turns go out
        return str(record["span_data"]["data"]["sdk_span_type"])
    return f"{kind} {name}" if name else str(kind)


def tree(recorder: SpanRecorder) -> list[Any]:
    """Return the spans as (kind or name, [children]), in the order they started."""
    records = sorted(recorder.drain(), key=lambda record: record["started_at"])
    children: dict[Any, list[Any]] = {}
    known = {record["id"] for record in records}
    nodes: list[Any] = []
    for record in records:
        own: list[Any] = children.setdefault(record["id"], [])
        node = (told(record), own)
        parent = record["parent_id"]
        if parent in known:
            children.setdefault(parent, []).append(node)
        else:
            nodes.append(node)
    return nodes


def kinds(nodes: list[Any]) -> Any:
    return [name if not inner else (name, kinds(inner)) for name, inner in nodes]


async def test_a_run_is_task_agent_turn_and_what_happens_in_it(
    recorder: SpanRecorder,
) -> None:
    support = Support([look_up("c1")], END)

    await Runner.run(support.agent, "go")

    [(task, [(agent, turns)])] = [
        (name, inner) for name, inner in tree(recorder) if name == "task"
    ]
    assert (task, agent) == ("task", "agent Support")
    assert [name for name, _ in turns] == ["turn", "turn"]
    assert kinds(turns[0][1]) == ["response", "function look_up"]
    assert kinds(turns[1][1]) == ["response"]


async def test_the_trace_of_a_run_goes_on_after_a_pause(
    recorder: SpanRecorder,
) -> None:
    support = Support([refund("c1")], END)
    config = RunConfig(
        trace_id=TRACE_ID,
        workflow_name="Refunds",
        group_id="g1",
        trace_metadata={"customer": "7"},
    )
    state = await paused(support.agent, run_config=config)
    first = recorder.drain()

    again = await reread(support.agent, state)
    assert again.trace_state is not None
    assert again.trace_state.trace_id == TRACE_ID
    assert again.trace_state.workflow_name == "Refunds"
    assert again.trace_state.metadata == {"customer": "7"}
    result = await approved(support.agent, again)
    second = recorder.drain()

    assert {span["trace_id"] for span in (*first, *second)} == {TRACE_ID}
    assert result.trace is not None
    assert result.trace.trace_id == TRACE_ID
    assert all(span["ended_at"] for span in (*first, *second))
    ran = [span["span_data"] for span in second]
    assert "refund" in [data.get("name") for data in ran]


@pytest.mark.parametrize("included", [True, False])
async def test_the_key_of_a_trace_is_written_only_when_asked_for(
    included: bool,
) -> None:
    support = Support([refund("c1")], END)
    config = RunConfig(tracing={"api_key": "sk-secret"})
    state = await paused(support.agent, run_config=config)

    text = state.to_string(include_tracing_api_key=included)

    assert ("sk-secret" in text) is included
    assert "sk-secret" not in str(state.to_json())


async def test_a_run_inside_a_trace_joins_it(recorder: SpanRecorder) -> None:
    with trace("Whole day", trace_id=TRACE_ID), custom_span("morning"):
        result = await Runner.run(scripted(END), "go")

    assert result.trace is not None
    assert {span["trace_id"] for span in recorder.drain()} == {TRACE_ID}


async def test_an_inner_agent_is_inside_the_call_that_uses_it(
    recorder: SpanRecorder,
) -> None:
    inner = Support([look_up("c1")], END, name="Clerk")
    outer = scripted(
        [call("clerk", "r1", input="x")],
        END,
        name="Boss",
        tools=[inner.agent.as_tool("clerk", "")],
    )

    await Runner.run(outer, "go")

    text = str(kinds(tree(recorder)))
    assert text.index("function clerk") < text.index("agent Clerk")
    assert text.index("agent Clerk") < text.index("function look_up")


async def test_a_rejected_call_has_no_span(recorder: SpanRecorder) -> None:
    support = Support([refund("c1")], END)
    state = await paused(support.agent)
    state.reject(waiting(state))
    recorder.drain()

    await Runner.run(support.agent, state)

    kinds_told = [record["span_data"]["type"] for record in recorder.drain()]
    assert "function" not in kinds_told


@pytest.mark.parametrize("sensitive", [True, False])
async def test_what_was_said_is_told_only_where_it_may_be(
    sensitive: bool, recorder: SpanRecorder
) -> None:
    support = Support([look_up("c1", "TOP-SECRET")], END)
    config = RunConfig(trace_include_sensitive_data=sensitive)

    await Runner.run(support.agent, "TOP-SECRET", run_config=config)

    assert ("TOP-SECRET" in str(recorder.drain())) is sensitive


async def test_tracing_that_is_off_tells_nothing(recorder: SpanRecorder) -> None:
    support = Support([refund("c1")], END)
    config = RunConfig(tracing_disabled=True)

    state = await paused(support.agent, run_config=config)
    await approved(support.agent, state, run_config=config)

    assert recorder.drain() == []
    assert state.trace_state is None


async def test_failures_are_told_on_their_spans(recorder: SpanRecorder) -> None:
    @function_tool(failure_error_function=None)
    async def broken() -> str:
        raise ConnectionError("down")

    agent = scripted([call("broken", "c1")], tools=[broken])

    with pytest.raises(UserError):
        await Runner.run(agent, "go")

    failed = {
        record["span_data"]["type"]: record["error"]
        for record in recorder.drain()
        if record["error"]
    }
    assert {"function", "agent"} <= failed.keys()


async def test_guardrails_and_handoffs_are_told(recorder: SpanRecorder) -> None:
    @input_guardrail
    def fine(ctx: Any, agent: Any, given: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(None, tripwire_triggered=False)

    other = scripted(END, name="Other")
    agent = scripted(
        [call("transfer_to_other", "h1")], handoffs=[other], input_guardrails=[fine]
    )

    await Runner.run(agent, "go")

    data = {
        record["span_data"]["type"]: record["span_data"] for record in recorder.drain()
    }
    assert data["guardrail"]["triggered"] is False
    assert (data["handoff"]["from_agent"], data["handoff"]["to_agent"]) == (
        "Support",
        "Other",
    )


async def test_every_span_of_a_run_that_fails_is_ended(recorder: SpanRecorder) -> None:
    support = Support([look_up("c1")], END)

    with pytest.raises(Exception, match="turns"):
        await Runner.run(support.agent, "go", max_turns=1)

    records = recorder.drain()
    assert {told(record) for record in records} >= {"task", "agent Support"}
    assert all(record["ended_at"] for record in records)
