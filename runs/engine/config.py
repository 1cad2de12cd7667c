"""Settings of a model call and of a run."""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, get_args

from .context import RunContextWrapper, TContext
from .digest import JSONObject
from .errors import UserError
from .model_settings import ModelSettings
from .sessions import SessionSettings

if TYPE_CHECKING:
    from .agent import Agent
    from .guardrails import InputGuardrail, OutputGuardrail
    from .handoffs.handoff import HandoffInputFilter
    from .handoffs.history import HandoffHistoryMapper
    from .models.interface import Model, ModelProvider
    from .sessions import SessionInputCallback
    from .tracing import TracingConfig

T = TypeVar("T")

DEFAULT_MAX_TURNS = 10


@dataclass
class ModelInputData:
    """What a model is about to be sent."""

    input: list[JSONObject]
    instructions: str | None


@dataclass
class CallModelData(Generic[TContext]):
    """What a `call_model_input_filter` is given."""

    model_data: ModelInputData
    agent: Agent[TContext]
    context: TContext | None


CallModelInputFilter = Callable[
    [CallModelData[Any]], ModelInputData | Awaitable[ModelInputData]
]
ReasoningItemIdPolicy = Literal["preserve", "omit"]
ToolNotFoundBehavior = Literal["return_error_to_model", "raise_error"]
ToolNameCollisionPolicy = Literal["warn", "error"]


@dataclass
class ToolErrorFormatterArgs(Generic[TContext]):
    """What a `tool_error_formatter` is told about the text it may replace."""

    kind: Literal["approval_rejected", "tool_not_found", "tool_exception"]
    tool_type: Literal["function", "computer", "shell", "apply_patch", "custom"]
    tool_name: str
    call_id: str
    default_message: str
    run_context: RunContextWrapper[TContext]
    error: Exception | None = None
    """What the tool raised, for `tool_exception`."""


ToolErrorFormatter = Callable[
    [ToolErrorFormatterArgs[Any]], Awaitable[str | None] | str | None
]


@dataclass
class OutputGuardrailBlockedMessageArgs(Generic[TContext]):
    """What an `output_guardrail_blocked_message` callable is told; never the output."""

    default_message: str
    guardrail_name: str
    agent: Agent[Any]
    run_context: RunContextWrapper[TContext]


OutputGuardrailBlockedMessageFormatter = Callable[
    [OutputGuardrailBlockedMessageArgs[Any]], str | None
]


@dataclass
class ToolExecutionConfig:
    """How the calls of one answer run."""

    max_function_tool_concurrency: int | None = None
    """How many run side by side; None for all."""
    pre_approval_tool_input_guardrails: bool = False
    """True: a call's input guardrails run before a person is asked, and again after."""

    def __post_init__(self) -> None:
        limit = self.max_function_tool_concurrency
        if limit is not None and limit < 1:
            raise ValueError("max_function_tool_concurrency must be at least 1.")
        if not isinstance(self.pre_approval_tool_input_guardrails, bool):
            raise ValueError("pre_approval_tool_input_guardrails must be a bool.")


def _sensitive_by_default() -> bool:
    said = os.environ.get("OPENAI_AGENTS_TRACE_INCLUDE_SENSITIVE_DATA", "true")
    return said.strip().lower() in {"1", "true", "yes", "on"}


@dataclass
class RunConfig:
    """Settings of a whole run, put over those of its agents."""

    model: str | Model | None = None
    model_provider: ModelProvider | None = None
    """Finds models by name; None means the OpenAI one."""
    model_settings: ModelSettings | None = None
    handoff_input_filter: HandoffInputFilter | None = None
    """Edits what the next agent reads; a handoff's own filter goes before it."""
    nest_handoff_history: bool = False
    """True: what came before a handoff reaches the next agent as one summary."""
    handoff_history_mapper: HandoffHistoryMapper | None = None
    input_guardrails: list[InputGuardrail[Any]] | None = None
    output_guardrails: list[OutputGuardrail[Any]] | None = None
    tracing_disabled: bool = False
    tracing: TracingConfig | None = None
    trace_include_sensitive_data: bool = field(default_factory=_sensitive_by_default)
    """False: spans tell of calls and answers without what was in them."""
    workflow_name: str = "Agent workflow"
    trace_id: str | None = None
    group_id: str | None = None
    """Links the traces of one conversation."""
    trace_metadata: dict[str, Any] | None = None
    session_input_callback: SessionInputCallback | None = None
    """Makes the input from (history, new items); None appends the new ones."""
    call_model_input_filter: CallModelInputFilter | None = None
    """Edits the instructions and the input just before each model call."""
    tool_error_formatter: ToolErrorFormatter | None = None
    """Gives the text the model reads of a call that failed; None keeps the default."""
    session_settings: SessionSettings | None = None
    reasoning_item_id_policy: ReasoningItemIdPolicy | None = None
    """`omit` sends reasoning items back without their ids."""
    sandbox: Any = None
    """Not offered: anything but None is a UserError."""
    tool_execution: ToolExecutionConfig | None = None
    tool_not_found_behavior: ToolNotFoundBehavior = "return_error_to_model"
    """What a call of a tool that does not exist does."""
    tool_name_collision_policy: ToolNameCollisionPolicy = "warn"
    """`warn`: of two tools of one name the one that would run is offered."""
    output_guardrail_blocked_message: (
        str | OutputGuardrailBlockedMessageFormatter | None
    ) = None
    """Stands in the history for a tool's output that an output guardrail blocked."""

    def __post_init__(self) -> None:
        if self.tool_name_collision_policy not in ("warn", "error"):
            raise ValueError("tool_name_collision_policy must be 'warn' or 'error'.")
        if self.tool_not_found_behavior not in get_args(ToolNotFoundBehavior):
            raise ValueError(
                "tool_not_found_behavior must be 'return_error_to_model' or "
                "'raise_error'."
            )
        if self.sandbox is not None:
            raise UserError("There are no sandboxes here; leave `sandbox` out.")
        _check_blocked_message(self.output_guardrail_blocked_message)
        self.model_settings = made_of(ModelSettings, self.model_settings)
        self.session_settings = made_of(SessionSettings, self.session_settings)
        self.tool_execution = made_of(ToolExecutionConfig, self.tool_execution)

    @classmethod
    def of(cls, given: RunConfig | Mapping[str, Any] | None) -> RunConfig:
        """Return `given` as a RunConfig. Raises TypeError on an unknown setting."""
        return made_of(cls, given) or cls()


def made_of(kind: type[T], given: T | Mapping[str, Any] | None) -> T | None:
    """Return `given`, or the `kind` that a mapping of its fields makes."""
    if given is None or isinstance(given, kind):
        return given
    if isinstance(given, Mapping):
        return kind(**given)
    raise TypeError(
        f"{given!r} is no {kind.__name__}; give one, or a dict of its fields."
    )


def _check_blocked_message(given: object) -> None:
    if given is None or (isinstance(given, str) and given):
        return
    if isinstance(given, str):
        raise ValueError("output_guardrail_blocked_message must not be empty.")
    if not callable(given) or inspect.iscoroutinefunction(given):
        raise TypeError(
            "output_guardrail_blocked_message must be a text or a sync callable."
        )
