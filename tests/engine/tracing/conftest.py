from __future__ import annotations

from collections.abc import Iterator

import pytest

from runs.engine.tracing import (
    DefaultTraceProvider,
    add_trace_processor,
    get_trace_provider,
    set_trace_provider,
)

from .hearing import Heard


@pytest.fixture(autouse=True)
def own_provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[DefaultTraceProvider]:
    monkeypatch.delenv("OPENAI_AGENTS_DISABLE_TRACING", raising=False)
    before = get_trace_provider()
    provider = DefaultTraceProvider()
    set_trace_provider(provider)
    yield provider
    set_trace_provider(before)


@pytest.fixture
def heard() -> Heard:
    heard = Heard()
    add_trace_processor(heard)
    return heard
