"""Settings of a model call and of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from openai.types.shared import Reasoning

    from .models.interface import Model, ModelProvider

DEFAULT_MAX_TURNS = 10


@dataclass(slots=True)
class ModelRetryBackoffSettings:
    """Waits between attempts, in seconds: `initial_delay` times `multiplier` each."""

    initial_delay: float = 0.5
    max_delay: float = 30.0
    multiplier: float = 2.0
    jitter: bool = True


@dataclass(slots=True)
class ModelRetrySettings:
    """How often a failed model call is made again within its turn."""

    max_retries: int = 4
    backoff: ModelRetryBackoffSettings = field(
        default_factory=ModelRetryBackoffSettings
    )


@dataclass
class ModelSettings:
    """Optional parameters of a model call; None leaves one to the model's server."""

    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    tool_choice: str | None = None
    """`auto`, `required`, `none`, or the name of a tool."""
    parallel_tool_calls: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
    max_tokens: int | None = None
    reasoning: Reasoning | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    include_usage: bool | None = None
    response_include: list[str] | None = None
    top_logprobs: int | None = None
    extra_query: Mapping[str, object] | None = None
    extra_body: Mapping[str, object] | None = None
    extra_headers: Mapping[str, str] | None = None
    extra_args: dict[str, Any] | None = None
    retry: ModelRetrySettings | None = None
    """None means the default `ModelRetrySettings()`."""
    timeout: float | None = None
    """Seconds one attempt may take as a whole; None means 300."""

    def resolve(self, override: ModelSettings | None) -> ModelSettings:
        """Return these settings with every value that `override` sets put over them."""
        if override is None:
            return self
        changes = {
            name.name: value
            for name in dataclasses.fields(self)
            if (value := getattr(override, name.name)) is not None
        }
        if self.extra_args and override.extra_args:
            changes["extra_args"] = {**self.extra_args, **override.extra_args}
        return dataclasses.replace(self, **changes)

    def to_json_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON."""
        plain = dataclasses.asdict(self)
        if self.reasoning is not None:
            plain["reasoning"] = self.reasoning.model_dump(mode="json")
        return plain


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolErrorFormatterArgs:
    """What a `tool_error_formatter` is told about the text it may replace."""

    kind: Literal["approval_rejected"]
    tool_name: str
    call_id: str
    default_message: str


ToolErrorFormatter = Callable[
    [ToolErrorFormatterArgs], Awaitable[str | None] | str | None
]


@dataclass
class RunConfig:
    """Settings of a whole run, put over those of its agents."""

    model: str | Model | None = None
    model_provider: ModelProvider | None = None
    model_settings: ModelSettings | None = None
    tool_error_formatter: ToolErrorFormatter | None = None
    """Gives the text the model reads for a rejected call; None keeps the default."""
    tool_not_found_behavior: Literal["tell_model", "raise"] = "tell_model"
    """What a call of a tool that does not exist does."""
    workflow_name: str = "Agent workflow"
    trace_id: str | None = None
    group_id: str | None = None
    trace_metadata: dict[str, Any] | None = None

    @classmethod
    def of(cls, given: RunConfig | Mapping[str, Any] | None) -> RunConfig:
        """Return `given` as a RunConfig. Raises TypeError on an unknown setting."""
        if given is None:
            return cls()
        return given if isinstance(given, RunConfig) else cls(**given)
