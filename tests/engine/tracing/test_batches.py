from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import Any

import pytest

from runs.engine.tracing import (
    BatchTraceProcessor,
    ConsoleSpanExporter,
    DefaultTraceProvider,
    Span,
    Trace,
    TracingExporter,
    add_trace_processor,
    custom_span,
    flush_traces,
    trace,
)

from .hearing import label


class Kept(TracingExporter):
    """Keeps the batches it is given, and can be told to fail or to wait."""

    def __init__(self, fails: int = 0, gate: threading.Event | None = None) -> None:
        self.batches: list[list[str]] = []
        self.given = threading.Event()
        self._fails = fails
        self._gate = gate

    def export(self, items: list[Trace | Span[Any]]) -> None:
        self.given.set()
        if self._gate is not None:
            self._gate.wait(60)
        names = [
            item.name if isinstance(item, Trace) else label(item) for item in items
        ]
        self.batches.append(names)
        if len(self.batches) <= self._fails:
            raise RuntimeError("secret")


def test_batches_go_out_in_order_when_flushed() -> None:
    exporter = Kept()
    add_trace_processor(BatchTraceProcessor(exporter, max_batch_size=2))

    with trace("t"), custom_span("a"), custom_span("b"):
        pass
    flush_traces()

    assert exporter.batches == [["t", "b"], ["a"]]


def test_batch_goes_out_by_itself_when_the_queue_fills() -> None:
    exporter = Kept()
    processor = BatchTraceProcessor(
        exporter, max_queue_size=2, schedule_delay=3600, export_trigger_ratio=0.5
    )
    add_trace_processor(processor)

    with trace("t"):
        pass

    assert exporter.given.wait(60)
    processor.shutdown()


def test_shutdown_hands_over_the_rest_and_takes_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    exporter = Kept()
    processor = BatchTraceProcessor(exporter, schedule_delay=3600)
    add_trace_processor(processor)
    with trace("t"):
        pass

    processor.shutdown()
    with trace("late"), custom_span("later"):
        pass

    assert exporter.batches == [["t"]]
    assert caplog.text.count("takes no more") == 1


def test_shutdown_waits_no_longer_than_it_is_told(
    own_provider: DefaultTraceProvider, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()
    exporter = Kept(gate=gate)
    processor = BatchTraceProcessor(exporter, max_batch_size=1, max_queue_size=4)
    add_trace_processor(processor)
    with trace("t"), custom_span("a"), custom_span("b"):
        pass
    assert exporter.given.wait(60)

    own_provider.shutdown(timeout=0.01)
    gate.set()

    assert "slow" in caplog.text
    processor.force_flush()
    assert exporter.batches == [["t"]]


def test_full_queue_drops_the_new_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = threading.Event()
    exporter = Kept(gate=gate)
    processor = BatchTraceProcessor(exporter, max_batch_size=1, max_queue_size=2)
    add_trace_processor(processor)

    with trace("t"):
        with custom_span("a"):
            pass
        assert exporter.given.wait(60)
        for name in "bcde":
            with custom_span(name):
                pass
    gate.set()
    processor.shutdown()

    assert [name for batch in exporter.batches for name in batch] == ["t", "a", "b"]
    assert caplog.text.count("takes no more") == 1


def test_exporter_that_raises_loses_its_batch_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    exporter = Kept(fails=1)
    add_trace_processor(BatchTraceProcessor(exporter, max_batch_size=1))

    with trace("t"), custom_span("a"):
        pass
    flush_traces()

    assert exporter.batches == [["t"], ["a"]]
    assert "secret" not in caplog.text
    assert [record.__dict__["hook"] for record in caplog.records] == ["export"]


def test_console_exporter_writes_lines_of_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    add_trace_processor(BatchTraceProcessor(ConsoleSpanExporter()))

    with trace("t"), custom_span("a"):
        pass
    flush_traces()

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["object"] for line in lines] == ["trace", "trace.span"]


def test_process_hands_over_the_rest_as_it_ends() -> None:
    code = (
        "from runs.engine.tracing import *\n"
        "add_trace_processor(BatchTraceProcessor(ConsoleSpanExporter()))\n"
        "with trace('last words'): pass\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OPENAI_AGENTS_DISABLE_TRACING": ""},
    )

    assert "last words" in done.stdout
    assert done.stderr == ""
