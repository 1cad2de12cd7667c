"""What can go wrong in a run.

AgentsException
├── UserError                   the program uses the engine wrongly
│   ├── RunStateVersionError    a state was written by a newer schema
│   ├── InvalidRunState         a saved state cannot be read as one
│   └── CodeChanged             a tool that a saved run waits for is another by now
├── MaxTurnsExceeded            the run took all the turns it was given
├── ModelBehaviorError          the model answered something no run can use
│   └── ModelCallError          the model could not be asked, retries included
│       └── ModelTimeoutError   it did not answer in time
├── ModelRefusalError           the model refused to answer
├── InputGuardrailTripwireTriggered, OutputGuardrailTripwireTriggered,
│   ToolInputGuardrailTripwireTriggered, ToolOutputGuardrailTripwireTriggered
│                               a guardrail ends the run
├── ToolTimeoutError            a tool took too long and is to end the run
├── MCPToolCancellationError    an MCP server cancelled a call of its own accord
├── ClaimRefused                no approval fits the call that was about to start
└── RunInterrupted              the run must not go on here
    ├── RunStopped              someone stopped the run
    ├── LeaseLost               another worker has taken the run over
    └── JournalFailed           the journal could not store a step

A run's error carries `run_state`, the state from which the run can go on, and
`run_data`, what had happened by then.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .agent import Agent
    from .context import RunContextWrapper
    from .digest import JSONObject
    from .guardrails import InputGuardrailResult, OutputGuardrailResult
    from .items import RunItem
    from .models.interface import ModelResponse
    from .state.run_state import RunState
    from .tools.tool_guardrails import (
        ToolGuardrailFunctionOutput,
        ToolInputGuardrail,
        ToolInputGuardrailResult,
        ToolOutputGuardrail,
        ToolOutputGuardrailResult,
    )


@dataclass
class RunErrorDetails:
    """What had happened in a run when it failed."""

    input: str | list[JSONObject]
    new_items: list[RunItem]
    raw_responses: list[ModelResponse]
    last_agent: Agent[Any]
    context_wrapper: RunContextWrapper[Any]
    input_guardrail_results: list[InputGuardrailResult]
    output_guardrail_results: list[OutputGuardrailResult]
    tool_input_guardrail_results: list[ToolInputGuardrailResult] = field(
        default_factory=list
    )
    tool_output_guardrail_results: list[ToolOutputGuardrailResult] = field(
        default_factory=list
    )


class AgentsException(Exception):
    """Base of everything the engine raises on purpose."""

    run_state: RunState[Any] | None = None
    """The state as it stood when the run failed; None when none was built."""
    run_data: RunErrorDetails | None = None
    """What had happened by then; None outside a run."""

    @property
    def message(self) -> str:
        """The error's text."""
        return str(self)

    @property
    def state(self) -> RunState[Any] | None:
        """Another name for `run_state`."""
        return self.run_state


class UserError(AgentsException):
    """The program uses the engine wrongly; the message says what to do instead."""


class InvalidRunState(UserError, ValueError):
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


class ModelBehaviorError(AgentsException):
    """The model answered something no run can use."""


class ModelCallError(ModelBehaviorError):
    """The model could not be asked, or its answer did not arrive whole."""

    def __init__(self, message: str, *, attempts: int = 1) -> None:
        super().__init__(message)
        self.attempts = attempts


class ModelTimeoutError(ModelCallError):
    """The model did not answer within its `timeout_seconds`."""

    def __init__(self, timeout_seconds: float) -> None:
        super().__init__(
            f"The model did not answer within {timeout_seconds:g} seconds; "
            "give ModelSettings(timeout=...) more, or try again."
        )
        self.timeout_seconds = timeout_seconds


class ModelRefusalError(AgentsException):
    """The model refused to answer; `refusal` is what it said."""

    def __init__(self, refusal: str) -> None:
        super().__init__(f"The model refused to answer: {refusal}")
        self.refusal = refusal


class InputGuardrailTripwireTriggered(AgentsException):
    """A guardrail on the run's input ends it."""

    def __init__(self, guardrail_result: InputGuardrailResult) -> None:
        name = guardrail_result.guardrail.get_name()
        super().__init__(f"The input guardrail {name} stopped the run.")
        self.guardrail_result = guardrail_result


class OutputGuardrailTripwireTriggered(AgentsException):
    """A guardrail on the run's answer ends it."""

    def __init__(self, guardrail_result: OutputGuardrailResult) -> None:
        name = guardrail_result.guardrail.get_name()
        super().__init__(f"The output guardrail {name} stopped the run.")
        self.guardrail_result = guardrail_result


class ToolInputGuardrailTripwireTriggered(AgentsException):
    """A guardrail on a tool's arguments ends the run."""

    def __init__(
        self, guardrail: ToolInputGuardrail[Any], output: ToolGuardrailFunctionOutput
    ) -> None:
        name = guardrail.get_name()
        super().__init__(f"The tool input guardrail {name} stopped the run.")
        self.guardrail = guardrail
        self.output = output


class ToolOutputGuardrailTripwireTriggered(AgentsException):
    """A guardrail on a tool's output ends the run."""

    def __init__(
        self, guardrail: ToolOutputGuardrail[Any], output: ToolGuardrailFunctionOutput
    ) -> None:
        name = guardrail.get_name()
        super().__init__(f"The tool output guardrail {name} stopped the run.")
        self.guardrail = guardrail
        self.output = output


class ToolTimeoutError(AgentsException):
    """A tool did not end within its `timeout_seconds`, and is to end the run then."""

    def __init__(self, tool_name: str, timeout_seconds: float) -> None:
        super().__init__(
            f"{tool_name} did not end within {timeout_seconds:g} seconds; "
            "it may or may not have had its effect."
        )
        self.tool_name = tool_name
        self.timeout_seconds = timeout_seconds


class MCPToolCancellationError(AgentsException):
    """An MCP server cancelled a call of its own accord."""


class CodeChanged(UserError, ModelBehaviorError):
    """A tool or agent that a saved run waits for is gone, or another, by now.

    A ModelBehaviorError too, as which the SDK knows a call of a tool that is gone.
    """


class ClaimRefused(AgentsException):
    """A gated call was about to start and no approval fits it exactly."""


class RunInterrupted(AgentsException):
    """The run must not go on here; what was recorded stays recorded."""


class RunStopped(RunInterrupted):
    """Someone stopped the run: no further model call, no further tool call."""


class LeaseLost(RunInterrupted):
    """Another worker has taken the run over; nothing more may be written here."""


class JournalFailed(RunInterrupted):
    """The journal could not store a step; `__cause__` says why. Nothing counts of it.

    Raised so that no tool's failure text ever speaks of it: what the journal does not
    hold has not happened.
    """
