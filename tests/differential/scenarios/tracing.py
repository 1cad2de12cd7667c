"""Traces and spans: their names, their nesting, what of the data they keep."""

from contextlib import contextmanager
from typing import Any

from ..record import plain
from ..registry import scenario
from ..script import call, text
from ..sides import Side
from .approvals import approve_all, decided, gated, pay

TRACING = "Tracing"

# The SDK's models trace their own calls, and the scripted model traces nothing; ours
# traces the call of any model.
MODEL_SPANS = ("response", "generation")


class Recorder:
    """What a package's processor is told, as a tree of spans by name."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.traces: list[Any] = []
        self.spans: dict[str, Any] = {}
        self.roots: list[Any] = []

    def trace_started(self, trace: Any) -> None:
        self.told.append(f"trace start {trace.name}")
        self.traces.append(trace)

    def trace_ended(self, trace: Any) -> None:
        self.told.append(f"trace end {trace.name}")

    def span_started(self, span: Any) -> None:
        if span.span_data.type in MODEL_SPANS:
            return
        self.told.append(f"start {span.span_data.type} {title(span)}".rstrip())
        node: dict[str, Any] = {"spans": []}
        self.spans[span.span_id] = node
        parent = self.spans.get(span.parent_id or "")
        (parent["spans"] if parent else self.roots).append(node)

    def span_ended(self, span: Any) -> None:
        if span.span_data.type in MODEL_SPANS:
            return
        self.told.append(f"end {span.span_data.type} {title(span)}".rstrip())
        node = self.spans[span.span_id]
        data = {
            key: value
            for key, value in (span.span_data.export() or {}).items()
            if value is not None
        }
        node["data"] = plain(data)
        node["error"] = span.error is not None
        node["same_trace"] = span.trace_id == self.traces[0].trace_id


def title(span: Any) -> str:
    return str(getattr(span.span_data, "name", None) or "")


@contextmanager
def recorded(side: Side) -> Any:
    """Give a recorder of every trace and span until the block ends."""
    recorder = Recorder()

    class Processor(side.TracingProcessor):  # type: ignore[name-defined, misc]
        def on_trace_start(self, trace: Any) -> None:
            recorder.trace_started(trace)

        def on_trace_end(self, trace: Any) -> None:
            recorder.trace_ended(trace)

        def on_span_start(self, span: Any) -> None:
            recorder.span_started(span)

        def on_span_end(self, span: Any) -> None:
            recorder.span_ended(span)

        def shutdown(self) -> None:
            return None

        def force_flush(self) -> None:
            return None

    side.set_trace_processors([Processor()])
    try:
        yield recorder
    finally:
        side.set_trace_processors([])
        side.note("told", recorder.told)
        side.note("spans", recorder.roots)


@scenario(TRACING)
async def spans_of_a_run(side: Side) -> None:
    tool = gated(side, needs_approval=False)
    agent = side.agent([pay(1)], [text("x")], tools=[tool])
    with recorded(side):
        await side.run(agent, "hi")


@scenario(TRACING)
async def spans_of_a_handoff_and_guardrails(side: Side) -> None:
    def judge(ctx: Any, agent: Any, given: Any) -> Any:
        return side.GuardrailFunctionOutput(output_info=None, tripwire_triggered=False)

    other = side.agent(
        [text("x")], name="other", output_guardrails=[side.output_guardrail(judge)]
    )
    guard = side.input_guardrail(run_in_parallel=False)(judge)
    main = side.agent(
        [call("transfer_to_other")], handoffs=[other], input_guardrails=[guard]
    )
    with recorded(side):
        await side.run(main, "hi")


@scenario(TRACING)
async def spans_of_an_agent_as_a_tool(side: Side) -> None:
    inner = side.agent([text("inner's")], name="inner")
    outer = side.agent(
        [call("helper", {"input": "x"})],
        [text("x")],
        tools=[inner.as_tool("helper", "Helps.")],
    )
    with recorded(side):
        await side.run(outer, "hi")


@scenario(TRACING)
async def one_trace_over_a_pause(side: Side) -> None:
    agent = side.agent([pay(1)], [text("x")], tools=[gated(side)])
    with recorded(side):
        await decided(side, agent, await side.run(agent, "hi"), approve_all)


@scenario(TRACING)
async def tracing_switched_off(side: Side) -> None:
    tool = gated(side, needs_approval=False)
    with recorded(side):
        agent = side.agent([pay(1)], [text("x")], tools=[tool])
        config = side.RunConfig(tracing_disabled=True)
        await side.run(agent, "hi", run_config=config)


@scenario(TRACING)
async def traces_without_sensitive_data(side: Side) -> None:
    tool = gated(side, needs_approval=False)
    with recorded(side):
        agent = side.agent([pay(1)], [text("x")], tools=[tool])
        config = side.RunConfig(trace_include_sensitive_data=False)
        await side.run(agent, "hi", run_config=config)


@scenario(TRACING)
async def trace_named_by_the_run(side: Side) -> None:
    with recorded(side) as recorder:
        config = side.RunConfig(
            workflow_name="Mine",
            trace_id="trace_" + "1" * 32,
            group_id="group",
            trace_metadata={"k": "v"},
        )
        await side.run(side.agent([text("x")]), "hi", run_config=config)
        told = recorder.traces[0].export()
        told.pop("tracing_api_key", None)
        side.note(told)


@scenario(TRACING)
async def runs_inside_a_trace_and_custom_spans(side: Side) -> None:
    @side.function_tool
    def work() -> str:
        with side.custom_span("inside", {"k": 1}):
            side.note(side.get_current_span().span_data.name)
            return "worked"

    with recorded(side):
        agent = side.agent([call("work")], [text("x")], [text("y")], tools=[work])
        with side.trace("Both", group_id="g"):
            side.note(side.get_current_trace().name)
            await side.run(agent, "hi")
            await side.run(agent, "ho")
        side.note(side.get_current_trace() is None)


@scenario(TRACING)
async def spans_of_what_fails(side: Side) -> None:
    @side.function_tool
    def broken() -> str:
        raise ValueError("no")

    with recorded(side):
        agent = side.agent([call("broken")], ValueError("torn"), tools=[broken])
        await side.run(agent, "hi")


@scenario(TRACING)
async def ids_of_traces_and_spans(side: Side) -> None:
    side.note(len(side.gen_trace_id()), side.gen_trace_id()[:6])
    side.note(len(side.gen_span_id()), side.gen_span_id()[:5])
    side.note(side.get_current_trace() is None, side.get_current_span() is None)
