from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from runs.engine.tracing import (
    DefaultTraceProvider,
    NoOpSpan,
    custom_span,
    flush_traces,
    get_current_span,
    recording,
    set_trace_processors,
    set_tracing_disabled,
    trace,
)

from .hearing import Broken, Heard, label


def test_nobody_listens_to_begin_with() -> None:
    with trace("t") as whole, custom_span("work") as span:
        span.span_data.data["k"] = "v"

    assert isinstance(span, NoOpSpan)
    assert not span.is_recording
    assert span.span_data.data == {"k": "v"}
    assert span.export() is None
    assert whole.trace_id.startswith("trace_")


def test_fresh_process_makes_no_processor_and_no_thread() -> None:
    code = (
        "import sys, threading\n"
        "from runs.engine.tracing import trace, custom_span, get_trace_provider\n"
        "with trace('t'), custom_span('s') as span: pass\n"
        "assert not span.is_recording\n"
        "assert get_trace_provider()._processors == ()\n"
        "assert threading.active_count() == 1\n"
        "assert not {'httpx', 'opentelemetry', 'django'} & set(sys.modules)\n"
    )

    # Only what this package itself imports is looked at, so its parent is left out.
    code = (
        "import sys, types\n"
        "for name, path in (('runs', 'runs'), ('runs.engine', 'runs/engine')):\n"
        "    module = types.ModuleType(name); module.__path__ = [path]\n"
        "    sys.modules[name] = module\n"
    ) + code
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_who_begins_to_listen_inside_an_unheard_span_hears_its_children() -> None:
    late = Heard()

    with trace("t"), custom_span("unheard"), recording(late), custom_span("heard"):
        pass

    assert [label(span) for span in late.spans] == ["heard"]
    assert late.spans[0].parent_id is None


def test_processors_can_be_replaced(heard: Heard) -> None:
    other = Heard()
    set_trace_processors([other])

    with trace("t"):
        pass

    assert heard.events == []
    assert other.events == [("trace starts", "t"), ("trace ends", "t")]


def test_processor_that_raises_is_logged_without_its_text(
    caplog: pytest.LogCaptureFixture, own_provider: DefaultTraceProvider
) -> None:
    after = Heard()
    set_trace_processors([Broken(), after])

    with trace("t"), custom_span("work"):
        pass
    flush_traces()
    own_provider.shutdown()

    assert len(after.events) == 4
    assert (after.flushed, after.shut_down) == (1, 1)
    assert [record.__dict__["hook"] for record in caplog.records] == [
        "on_trace_start",
        "on_span_start",
        "on_span_end",
        "on_trace_end",
        "force_flush",
        "shutdown",
    ]
    assert "secret" not in caplog.text


async def test_recording_hears_one_context_only(heard: Heard) -> None:
    first, second = Heard(), Heard()

    async def run(name: str, listener: Heard) -> None:
        with recording(listener), trace(name):
            await asyncio.sleep(0)
            with custom_span(f"work of {name}"):
                await asyncio.sleep(0)

    await asyncio.gather(run("a", first), run("b", second))

    assert [label(span) for span in first.spans] == ["work of a"]
    assert [label(span) for span in second.spans] == ["work of b"]
    assert first.events[0] == ("trace starts", "a")
    assert len(heard.spans) == 2


def test_recording_hears_children_begun_elsewhere_by_their_parent() -> None:
    listener = Heard()
    with recording(listener), trace("t"), custom_span("root") as root:
        pass

    with custom_span("later", parent=root):
        pass

    assert [label(span) for span in listener.spans] == ["root", "later"]


def test_disabled_trace_and_span_mute_what_is_inside(heard: Heard) -> None:
    with trace("off", disabled=True) as off, custom_span("a"):
        assert off.export() is None
        assert off.state() is None
    with trace("on"), custom_span("off", disabled=True), custom_span("b"):
        pass

    assert heard.spans == []
    assert heard.events == [("trace starts", "on"), ("trace ends", "on")]


def test_set_tracing_disabled_switches_off_and_on(heard: Heard) -> None:
    set_tracing_disabled(True)
    with trace("t"), custom_span("a"):
        pass
    set_tracing_disabled(False)
    with trace("t"), custom_span("b"):
        pass

    assert [label(span) for span in heard.spans] == ["b"]


@pytest.mark.parametrize(
    ("said", "count"), [("1", 0), ("TRUE", 0), ("false", 1), ("", 1)]
)
def test_environment_switches_off(
    said: str, count: int, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_AGENTS_DISABLE_TRACING", said)

    with trace("t"), custom_span("a"):
        pass

    assert len(heard.spans) == count


def test_program_has_the_last_word_over_the_environment(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_AGENTS_DISABLE_TRACING", "1")
    set_tracing_disabled(False)

    with trace("t"), custom_span("a"):
        pass

    assert len(heard.spans) == 1


def test_spans_outside_every_trace_are_not_told(heard: Heard) -> None:
    with custom_span("alone") as span:
        assert get_current_span() is span

    assert heard.events == []
