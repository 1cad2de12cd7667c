"""What a runner keeps of a run that waits is compared with what is stored of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from runs.engine import RunState, ToolCallOutputItem
from runs.kept import KeptRuns
from runs.loading import LoadedRun, load


@pytest.fixture(autouse=True)
def kept_as_stored(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[UUID]]:
    """The runs that were kept; each was the same as what reading it gave."""
    keep, kept, differing = KeptRuns.keep, [], []

    def compare(runs: KeptRuns, run: LoadedRun, *rest: Any) -> None:
        keep(runs, run, *rest)
        (ours,) = [one for _, one in runs._runs.values() if one.run_id == run.run_id]
        kept.append(run.run_id)
        stored = _in_a_thread(run.run_id)
        if _facts(ours) != _facts(stored):
            differing.append((_facts(ours), _facts(stored)))

    monkeypatch.setattr(KeptRuns, "keep", compare)
    yield kept
    for ours, stored in differing:
        assert ours == stored


def _in_a_thread(run_id: UUID) -> LoadedRun:
    found: list[LoadedRun] = []

    def read() -> None:
        found.append(load(run_id))
        connection.close()

    reading = threading.Thread(target=read)
    reading.start()
    reading.join()
    return found[0]


def _facts(run: LoadedRun) -> dict[str, Any]:
    return {
        "run": run.run_id,
        "agent": run.agent_key,
        "definition": run.definition,
        "context": run.context,
        "max_turns": run.max_turns,
        "epoch": run.epoch,
        "head": run.head,
        "title": run.title,
        "conversation": run.conversation,
        "state": run.state.to_json(),
        "reads": run.state.model_input(),
        "open": _open(run.state),
        "told": [_told(state) for state in _states(run.state)],
    }


def _states(state: RunState[Any]) -> Iterator[RunState[Any]]:
    """Yield the state and those of the agents that its open calls use as tools."""
    yield state
    for open_call in state.open.values():
        if open_call.nested is not None:
            yield from _states(open_call.nested)


def _told(state: RunState[Any]) -> list[Any]:
    """Return what tools, hooks and the agent's own code are told of the run."""
    context = state.context
    outputs = [
        item.output
        for item in state.transcript.items
        if isinstance(item, ToolCallOutputItem)
    ]
    requests = context.usage.request_usage_entries
    return [context.context, context.tool_input, context.turn_input, outputs, requests]


def _open(state: RunState[Any]) -> list[Any]:
    return [
        (owner.frame, call.call, call.verdict, call.in_doubt, call.held, call.gone)
        for owner, call in state.open_calls_below()
    ]
