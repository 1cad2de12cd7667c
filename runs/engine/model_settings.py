"""Settings of one model call, and how those of a run go over those of an agent.

None means "not set" throughout: such a value is left to the model's server, and never
covers one that is set.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from openai import Omit
from openai.types.responses import ResponseIncludable
from openai.types.responses.response_create_params import (
    ContextManagement,
    PromptCacheOptions,
)
from openai.types.shared import Reasoning
from pydantic_core import to_jsonable_python

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


@dataclass
class ModelRetryBackoffSettings:
    """Waits between attempts, in seconds: `initial_delay` times `multiplier` each.

    What is None is 0.5 s, 30 s, 2 and True. Raises ValueError below 0.
    """

    initial_delay: float | None = None
    max_delay: float | None = None
    multiplier: float | None = None
    jitter: bool | None = None

    def __post_init__(self) -> None:
        for name in ("initial_delay", "max_delay", "multiplier"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"Backoff: {name}={value!r} must not be below 0.")

    def to_json_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON."""
        return dataclasses.asdict(self)


@dataclass
class ModelRetrySettings:
    """How often, and after what, a failed model call is made again within its turn."""

    max_retries: int | None = None
    """Calls after the first one; None means 4, 0 that nothing is tried again."""
    backoff: ModelRetryBackoffSettings | None = None
    """The waits; a dict will do. Where the server names a wait, that one is kept."""
    policy: Callable[..., Any] | None = None
    """Says what is worth another try, see `retry_policies`; None means that everything
    that may pass is. It is code: no JSON has it."""

    def __post_init__(self) -> None:
        self.backoff = _made(ModelRetryBackoffSettings, self.backoff, "retry.backoff")

    def merged(self, over: ModelRetrySettings | None) -> ModelRetrySettings:
        """Return these settings with all that `over` sets put over them."""
        if over is None:
            return self
        backoff = over.backoff
        if self.backoff is not None and backoff is not None:
            backoff = dataclasses.replace(self.backoff, **_set_in(backoff))
        changes = _set_in(over) | ({"backoff": backoff} if backoff else {})
        return dataclasses.replace(self, **changes)

    def to_json_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON, without the policy."""
        backoff = self.backoff.to_json_dict() if self.backoff else None
        return {"max_retries": self.max_retries, "backoff": backoff}


@dataclass
class MCPToolChoice:
    """Has the model call one tool of a hosted MCP server."""

    server_label: str
    name: str


ToolChoice: TypeAlias = Literal["auto", "required", "none"] | str | MCPToolChoice | None
Headers: TypeAlias = Mapping[str, str | Omit]

_NOT_TRACED = {
    "extra_query",
    "extra_body",
    "extra_headers",
    "extra_args",
    "preserve_raw_usage",
}


@dataclass
class ModelSettings:
    """Optional parameters of a model call; None leaves one to the model's server.

    Nested settings may be dicts. Raises TypeError for a setting that does not exist,
    and ValueError for a timeout that is no time.
    """

    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    tool_choice: ToolChoice = None
    """`auto`, `required`, `none`, the name of a tool, the type of a hosted one as
    `web_search`, or an `MCPToolChoice`."""
    parallel_tool_calls: bool | None = None
    """False lets the model make one call a turn."""
    truncation: Literal["auto", "disabled"] | None = None
    max_tokens: int | None = None
    """The longest answer, in tokens."""
    reasoning: Reasoning | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    """Whether the server keeps the answer."""
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    include_usage: bool | None = None
    """Whether a streamed chat ends with its usage; None asks for it."""
    response_include: list[ResponseIncludable | str] | None = None
    """More to put into an answer, as `reasoning.encrypted_content`."""
    top_logprobs: int | None = None
    """So many tokens with their log probabilities for each one of the answer."""
    extra_query: Mapping[str, object] | None = None
    extra_body: object | None = None
    """A mapping of further fields for the request's JSON."""
    extra_headers: Headers | None = None
    extra_args: dict[str, Any] | None = None
    """Further arguments of the openai client's method."""
    retry: ModelRetrySettings | None = None
    """None means the default: `ModelRetrySettings()`."""
    context_management: list[ContextManagement] | None = None
    """As `[{"type": "compaction", "compact_threshold": 200_000}]`, in tokens."""
    prompt_cache_options: PromptCacheOptions | None = None
    preserve_raw_usage: bool | None = None
    """Whether `ModelResponse.raw_usage` keeps the usage as the server sent it."""
    timeout: float | None = None
    """Seconds one attempt may take as a whole; None means 300."""

    def __post_init__(self) -> None:
        self.retry = _made(ModelRetrySettings, self.retry, "retry")
        if isinstance(self.tool_choice, Mapping):
            self.tool_choice = _made(MCPToolChoice, self.tool_choice, "tool_choice")
        if isinstance(self.reasoning, Mapping):
            self.reasoning = Reasoning.model_validate(self.reasoning)
        if self.timeout is not None and not 0 < self.timeout < math.inf:
            raise ValueError(f"timeout={self.timeout!r} must be seconds above 0.")

    @classmethod
    def of(cls, given: ModelSettings | Mapping[str, Any]) -> ModelSettings:
        """Return `given` as settings; they may be a dict. Raises TypeError."""
        if isinstance(given, ModelSettings):
            return given
        if not isinstance(given, Mapping):
            raise TypeError(
                "Model settings are a ModelSettings or a dict, not a "
                f"{type(given).__name__}."
            )
        return _made(cls, given, "model settings") or cls()

    def resolve(
        self, override: ModelSettings | Mapping[str, Any] | None
    ) -> ModelSettings:
        """Return these settings with every value that `override` sets put over them.

        `extra_args` and `retry` are merged part by part; all else is replaced.
        """
        if override is None:
            return self
        over = ModelSettings.of(override)
        changes = {
            name: value for name, value in _set_in(over).items() if hasattr(self, name)
        }
        if self.extra_args and over.extra_args is not None:
            changes["extra_args"] = {**self.extra_args, **over.extra_args}
        if self.retry is not None:
            changes["retry"] = self.retry.merged(over.retry)
        return dataclasses.replace(self, **changes)

    def to_json_dict(self) -> dict[str, Any]:
        """Return every setting as plain JSON; the retry policy is left out."""
        values = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        if self.retry is not None:
            values["retry"] = self.retry.to_json_dict()
        plain: dict[str, Any] = to_jsonable_python(values, fallback=_json_of)
        return plain

    def to_traceable_dict(self) -> dict[str, Any]:
        """Return what a trace may hold: no `extra_*`, which may carry secrets."""
        shown = dataclasses.replace(self, **dict.fromkeys(_NOT_TRACED))
        return {
            name: value
            for name, value in shown.to_json_dict().items()
            if name not in _NOT_TRACED
        }


def _made(kind: type[T], given: T | Mapping[str, Any] | None, where: str) -> T | None:
    """Return `given` as a `kind`. Raises TypeError for names that it does not have."""
    if not isinstance(given, Mapping):
        return given
    known = {one.name for one in dataclasses.fields(kind)}
    if unknown := sorted(str(name) for name in given if name not in known):
        raise TypeError(
            f"There is no {', '.join(unknown)} in {where}; there is "
            f"{', '.join(sorted(known))}."
        )
    return kind(**given)


def _set_in(settings: DataclassInstance) -> dict[str, Any]:
    values = {
        one.name: getattr(settings, one.name) for one in dataclasses.fields(settings)
    }
    return {name: value for name, value in values.items() if value is not None}


def _json_of(value: object) -> object:
    return None if isinstance(value, Omit) else repr(value)
