"""Runs that wait, kept in memory for the moment they go on.

Guarantee: what is kept is what is stored, or it is not used. A run's state is written
under a lease alone, and each lease has an epoch of its own: a run that is taken under
the next one, with the same head, definition and requester (`steps.begin` compares), has
been written by nobody since. Verdicts and stops are read when it is taken, messages
before the model is asked. What is not kept is read.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from . import codec, registry
from .engine import RunState
from .engine.state.definition import definition_of
from .engine.state.restore import as_restored
from .errors import UnknownAgent
from .loading import LoadedRun

MOST = 32
"""A process has memory for the runs it drives at once, many times as many."""
FOR_S = 900.0
"""People at their keys decide sooner, or much later."""


@dataclass(eq=False)
class KeptRuns:
    """The runs that this process has parked last."""

    _runs: OrderedDict[UUID, tuple[float, LoadedRun]] = field(
        default_factory=OrderedDict, init=False
    )

    def keep(self, run: LoadedRun, state: RunState[Any], epoch: int) -> None:
        """Keep a run that was driven to `state`, all of it stored under `epoch`."""
        kept = replace(
            run,
            state=as_restored(state, dict(run.context)),
            epoch=epoch,
            head=codec.dumps(state.head()),
        )
        self.drop(run.run_id)
        self._runs[run.run_id] = time.monotonic(), kept
        if len(self._runs) > MOST:
            self._runs.popitem(last=False)

    def get(self, run_id: UUID) -> LoadedRun | None:
        """Return the run as it is kept; None where it is to be read."""
        _, run = self._runs.get(run_id, (0.0, None))
        return run if run is not None and _is_same_code(run) else None

    def drop(self, run_id: UUID) -> None:
        """Keep the run no longer: it is driven on, or read."""
        self._runs.pop(run_id, None)

    def drop_old(self) -> None:
        """Keep none that has waited for FOR_S."""
        since = time.monotonic() - FOR_S
        while self._runs and next(iter(self._runs.values()))[0] < since:
            self._runs.popitem(last=False)


def _is_same_code(run: LoadedRun) -> bool:
    try:
        agent = registry.get(run.agent_key).agent
    except UnknownAgent:
        return False
    return agent is run.agent and codec.dumps(definition_of(agent)) == run.definition
