"""Processors for traces that leave the process: in batches, from a thread of theirs."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from .processor_interface import TracingExporter, TracingProcessor, log_failure

if TYPE_CHECKING:
    from .spans import Span
    from .traces import Trace

logger = logging.getLogger(__name__)


class ConsoleSpanExporter(TracingExporter):
    """Writes each trace and span as a line of JSON to the standard output."""

    def export(self, items: list[Trace | Span[Any]]) -> None:
        for item in items:
            line = json.dumps(item.export(), default=str, ensure_ascii=False)
            sys.stdout.write(line + "\n")


class BatchTraceProcessor(TracingProcessor):
    """Gives begun traces and ended spans to `exporter`, in order and in batches.

    A daemon thread, begun with the first item, exports every `schedule_delay` seconds,
    and at once when the queue is `export_trigger_ratio` full. At most `max_queue_size`
    items wait; what comes when it is full is dropped. What the exporter raises drops
    its batch and is logged.
    """

    def __init__(
        self,
        exporter: TracingExporter,
        max_queue_size: int = 8192,
        max_batch_size: int = 128,
        schedule_delay: float = 5.0,
        export_trigger_ratio: float = 0.7,
    ) -> None:
        self._exporter = exporter
        self._max_queue_size = max_queue_size
        self._max_batch_size = max_batch_size
        self._schedule_delay_s = schedule_delay
        self._trigger_size = max(1, int(max_queue_size * export_trigger_ratio))
        self._waiting: deque[Trace | Span[Any]] = deque()
        self._changing = threading.Lock()
        self._exporting = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._until: float | None = None
        self._closed = False
        self._dropping = False

    def on_trace_start(self, trace: Trace) -> None:
        self._add(trace)

    def on_trace_end(self, trace: Trace) -> None:
        return None  # the trace went out when it began

    def on_span_start(self, span: Span[Any]) -> None:
        return None  # the span goes out when it ends

    def on_span_end(self, span: Span[Any]) -> None:
        self._add(span)

    def force_flush(self) -> None:
        """Export all that waits, on the calling thread."""
        self._export_waiting()

    def shutdown(self, timeout: float | None = None) -> None:
        """Export all that waits, for at most `timeout` seconds, and take no more."""
        with self._changing:
            self._closed = True
            self._until = None if timeout is None else time.monotonic() + timeout
            thread = self._thread
        self._wake.set()
        if thread is None or not thread.is_alive():
            self._export_waiting()
            return
        thread.join(timeout)
        if thread.is_alive():
            logger.warning("The trace exporter is slow; what still waits is dropped.")

    def _add(self, item: Trace | Span[Any]) -> None:
        with self._changing:
            full = self._closed or len(self._waiting) >= self._max_queue_size
            if full and not self._dropping:
                logger.warning("The queue of traces takes no more; new ones are lost.")
            self._dropping = full
            if full:
                return
            self._waiting.append(item)
            # A thread does not live on in a forked child: there it is begun anew.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._work, name="trace-export", daemon=True
                )
                self._thread.start()
            if len(self._waiting) >= self._trigger_size:
                self._wake.set()

    def _work(self) -> None:
        while not self._closed:
            self._wake.wait(self._schedule_delay_s)
            self._wake.clear()
            self._export_waiting()
        self._export_waiting()

    def _export_waiting(self) -> None:
        with self._exporting:
            while batch := self._take():
                try:
                    self._exporter.export(batch)
                except Exception as error:
                    log_failure(self._exporter, "export", error)

    def _take(self) -> list[Trace | Span[Any]]:
        with self._changing:
            if self._until is not None and time.monotonic() >= self._until:
                self._waiting.clear()
            size = min(len(self._waiting), self._max_batch_size)
            return [self._waiting.popleft() for _ in range(size)]
