"""What can go wrong in a run.

AgentsException
├── UserError                   the program uses the engine wrongly
│   └── RunStateVersionError    a state was written by a newer schema
├── InvalidRunState             a saved state cannot be read as one
├── MaxTurnsExceeded            the run took all the turns it was given
├── ModelBehaviorError          the model answered something no run can use
│   └── ModelCallError          the model could not be asked, retries included
├── ClaimRefused                no approval fits the call that was about to start
└── RunInterrupted              the run must not go on here
    ├── RunStopped              someone stopped the run
    └── LeaseLost               another worker has taken the run over

A run's error carries `run_state`: the state from which the run can go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .state import RunState


class AgentsException(Exception):
    """Base of everything the engine raises on purpose."""

    run_state: RunState[Any] | None = None
    """The state as it stood when the run failed; None when none was built."""

    @property
    def state(self) -> RunState[Any] | None:
        """Another name for `run_state`."""
        return self.run_state


class UserError(AgentsException):
    """The program uses the engine wrongly; the message says what to do instead."""


class InvalidRunState(AgentsException, ValueError):
    """A saved state cannot be read: truncated, of another shape, or tampered with."""


class RunStateVersionError(UserError):
    """A saved state's schema is newer than this engine, or is no version at all."""

    def __init__(self, found: object, supported: str) -> None:
        super().__init__(
            f"The state's schema is {found!r}; this engine reads up to {supported!r}. "
            "Run it with the version that wrote it, or a newer one."
        )
        self.found = found
        self.supported = supported


class MaxTurnsExceeded(AgentsException):
    """The run took all the turns it was given. `run_state` goes on with more."""

    def __init__(self, max_turns: int) -> None:
        super().__init__(
            f"The run used all of its {max_turns} turns without a final answer; "
            "resume its state with a larger max_turns to go on."
        )
        self.max_turns = max_turns


class ModelBehaviorError(AgentsException):
    """The model answered something no run can use."""


class ModelCallError(ModelBehaviorError):
    """The model could not be asked, or its answer did not arrive whole."""

    def __init__(self, message: str, *, attempts: int = 1) -> None:
        super().__init__(message)
        self.attempts = attempts


class ClaimRefused(AgentsException):
    """A gated call was about to start and no approval fits it exactly."""


class RunInterrupted(AgentsException):
    """The run must not go on here; what was recorded stays recorded."""


class RunStopped(RunInterrupted):
    """Someone stopped the run: no further model call, no further tool call."""


class LeaseLost(RunInterrupted):
    """Another worker has taken the run over; nothing more may be written here."""
