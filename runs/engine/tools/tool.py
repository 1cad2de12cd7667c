"""Tools that run here: what the model is told of one, and the rules of its calls."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, get_args

from pydantic import TypeAdapter, ValidationError

from ..callbacks import called
from ..calls import Review
from ..context import RunContextWrapper, ToolContext
from ..digest import (
    JSONObject,
    MalformedArguments,
    parse_arguments,
    schema_hash,
    schema_hash_as,
)
from ..errors import ModelBehaviorError, UserError
from ..hosted.tool_callers import ToolCaller
from .faults import faults_of
from .strict_schema import ensure_strict_json_schema
from .tool_origin import ToolOrigin
from .tool_outputs import (
    EncodedOutput,
    encode_json_output,
    encode_output,
    output_type_of,
)

if TYPE_CHECKING:
    from ..agent import AgentBase
    from ..items import RunItem, ToolApprovalItem
    from .agent_tool import AgentTool
    from .custom_data import FunctionToolCustomDataExtractor
    from .tool_guardrails import ToolInputGuardrail, ToolOutputGuardrail

NeedsApproval: TypeAlias = (
    bool | Callable[[RunContextWrapper[Any], JSONObject, str], Any]
)
IsEnabled: TypeAlias = bool | Callable[[RunContextWrapper[Any], "AgentBase[Any]"], Any]
ToolErrorFunction: TypeAlias = Callable[
    [RunContextWrapper[Any], Exception], str | Awaitable[str]
]
ToolTimeoutBehavior: TypeAlias = Literal["error_as_result", "raise_exception"]
LookupKey: TypeAlias = (
    tuple[Literal["bare"], str]
    | tuple[Literal["namespaced"], str, str]
    | tuple[Literal["deferred_top_level"], str]
)


class InvalidToolArguments(ModelBehaviorError, ValueError):
    """Arguments the tool does not take; the text tells the model what is wrong."""


def default_tool_error_function(ctx: RunContextWrapper[Any], error: Exception) -> str:
    """Return what the model is told when a tool raises."""
    if isinstance(error, InvalidToolArguments):
        return str(error)
    return f"The tool failed: {type(error).__name__}: {error}"


@dataclass
class FunctionTool:
    """A tool of a name, a schema and a body that runs here."""

    name: str
    description: str
    params_json_schema: JSONObject
    on_invoke_tool: Callable[[ToolContext[Any], str], Awaitable[Any]]
    """Called with the context and the text of the arguments; gives the output."""
    strict_json_schema: bool = True
    is_enabled: IsEnabled = True
    tool_input_guardrails: list[ToolInputGuardrail[Any]] | None = None
    tool_output_guardrails: list[ToolOutputGuardrail[Any]] | None = None
    needs_approval: NeedsApproval = False
    """True, or a sync or async callable of (context, arguments, call id).

    Anything truthy pauses the call, and so does a callable that raises. Unasked, it is
    paused when the arguments are malformed, do not fit, or reach the body otherwise
    than written (by a default or a conversion): the callable would judge another call.
    """
    timeout_seconds: float | None = None
    """How long the body may take. A sync body is only no longer waited for."""
    timeout_behavior: ToolTimeoutBehavior = "error_as_result"
    """Whether the model is told of a body that took too long, or the run fails."""
    timeout_error_function: ToolErrorFunction | None = None
    """Gives the output of a body that took too long; None keeps the default text."""
    defer_loading: bool = False
    """True: the model is not told of it until a tool search finds it."""
    custom_data_extractor: FunctionToolCustomDataExtractor | None = field(
        default=None, kw_only=True
    )
    """Gives data kept with the output's item, which no model sees."""
    allowed_callers: list[ToolCaller] | None = field(default=None, kw_only=True)
    """`direct` and `programmatic` (a program the server runs); None: the default."""
    output_type: Any = field(default=None, kw_only=True)
    """Type that the output is checked against and written as JSON of; None: any."""
    output_json_schema: JSONObject | None = field(default=None, kw_only=True)
    """Schema of the output, a JSON object; that of `output_type` when there is one."""
    failure_error_function: ToolErrorFunction | None = field(default=None, kw_only=True)
    """Gives the output of a call that raised; None lets the run fail with it."""
    namespace: str | None = field(default=None, kw_only=True)
    namespace_description: str | None = field(default=None, kw_only=True)
    origin: ToolOrigin | None = field(default=None, kw_only=True)
    """Where it comes from; None means a function of the program."""
    title: str | None = field(default=None, kw_only=True)
    """What an MCP server calls it before people."""
    mcp_annotations: Any = field(default=None, kw_only=True)
    """What an MCP server says of it, which need not be true."""
    review: Review = field(default_factory=Review, kw_only=True)
    agent_tool: AgentTool | None = field(default=None, kw_only=True)
    """How an agent runs when this tool is called; None for any other tool."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise UserError(f"A tool's name is {self.name!r}; it must be a text.")
        if not callable(self.on_invoke_tool):
            raise UserError(f"Tool {self.name!r}: on_invoke_tool cannot be called.")
        if self.strict_json_schema:
            self.params_json_schema = ensure_strict_json_schema(self.params_json_schema)
        self._output_adapter: TypeAdapter[Any] | None = None
        if self.output_type is not None or self.output_json_schema is not None:
            self.output_json_schema, self._output_adapter = output_type_of(
                self.name, self.output_type, self.output_json_schema
            )
        self._check_timeout()
        self._check_callers()

    def __copy__(self) -> Self:
        """Return a copy that has no part in what this one has computed or bound."""
        copied = object.__new__(type(self))
        copied.__dict__.update(self.__dict__)
        copied.__dict__.pop("schema_hash", None)
        if getattr(self.on_invoke_tool, "__self__", None) is self:
            body: Any = self.on_invoke_tool
            copied.on_invoke_tool = body.__func__.__get__(copied)
        return copied

    @functools.cached_property
    def schema_hash(self) -> str:
        """SHA-256, in hex, of the qualified name and the parameter schema."""
        return schema_hash(self.qualified_name, self.params_json_schema)

    def schema_hash_as(self, name: str) -> str:
        """Return the hash of the tool if it were called `name`, as it once was."""
        if name == self.qualified_name:
            return self.schema_hash
        return schema_hash_as(self.qualified_name, self.params_json_schema, name)

    @property
    def qualified_name(self) -> str:
        """The name, after that of its namespace and a dot where it has one."""
        return f"{self.namespace}.{self.name}" if self.namespace else self.name

    @property
    def lookup_key(self) -> LookupKey:
        """What tells this tool from every other one of an agent."""
        if self.namespace:
            return ("namespaced", self.namespace, self.name)
        if self.defer_loading:
            return ("deferred_top_level", self.name)
        return ("bare", self.name)

    async def enabled(self, ctx: RunContextWrapper[Any], agent: AgentBase[Any]) -> bool:
        """Say whether the model is offered this tool in this run."""
        if isinstance(self.is_enabled, bool):
            return self.is_enabled
        what = f"is_enabled of the tool {self.name!r}"
        return bool(await called(what, self.is_enabled, ctx, agent))

    async def gate(
        self, ctx: RunContextWrapper[Any], arguments: str, call_id: str
    ) -> tuple[bool, str]:
        """Say whether a person must approve the call, and why. Fails closed."""
        if isinstance(self.needs_approval, bool):
            return self.needs_approval, "Every call of this tool needs approval."
        try:
            parsed = parse_arguments(arguments)
        except MalformedArguments as error:
            return True, str(error)
        why_unlike = getattr(self.on_invoke_tool, "why_unlike", None)
        if why_unlike is not None and (why := why_unlike(parsed)):
            return True, why
        try:
            asked = await called("It", self.needs_approval, ctx, parsed, call_id)
        except Exception as error:
            return True, f"Its approval rule failed: {type(error).__name__}: {error}"
        return bool(asked), "Its approval rule asks for a person."

    def typed(self, value: Any) -> Any:
        """Return `value`, which the body gave, as the tool's `output_type`.

        Raises UserError when it is not of that type.
        """
        if self._output_adapter is None:
            return value
        try:
            return self._output_adapter.validate_python(value)
        except ValidationError as error:
            faults = faults_of(error, root="output")
            raise UserError(
                f"The output of {self.name} is not of its type: {faults}."
            ) from error

    def encode(self, value: Any) -> EncodedOutput:
        """Return what the model is sent for `value`, as `typed` gave it.

        Raises ValueError when it is no JSON object and the tool says it is.
        """
        if self.output_json_schema is None:
            return encode_output(value)
        return encode_json_output(value, self._output_adapter)

    def _check_timeout(self) -> None:
        seconds = self.timeout_seconds
        if seconds is not None:
            if isinstance(seconds, bool) or not isinstance(seconds, int | float):
                raise TypeError(
                    f"Tool {self.name!r}: the timeout is {seconds!r}; "
                    "it must be a number of seconds."
                )
            if not (math.isfinite(seconds) and seconds > 0):
                raise ValueError(
                    f"Tool {self.name!r}: timeout must be above 0 seconds."
                )
        if self.timeout_behavior not in get_args(ToolTimeoutBehavior):
            raise ValueError(
                f"Tool {self.name!r}: timeout_behavior is {self.timeout_behavior!r}; "
                "use 'error_as_result' or 'raise_exception'."
            )
        if not (
            self.timeout_error_function is None or callable(self.timeout_error_function)
        ):
            raise TypeError(
                f"Tool {self.name!r}: timeout_error_function cannot be called."
            )

    def _check_callers(self) -> None:
        callers = self.allowed_callers
        if callers is None:
            return
        known = isinstance(callers, list) and set(callers) <= set(get_args(ToolCaller))
        if not known or not callers or len(set(callers)) != len(callers):
            raise UserError(
                f"Tool {self.name!r}: allowed_callers is {callers!r}; "
                "give a list of 'direct', 'programmatic' or both."
            )
        self.allowed_callers = list(callers)


@dataclass
class FunctionToolResult:
    """What became of one call, as a `tool_use_behavior` is given it."""

    tool: FunctionTool
    output: Any
    """What the tool returned, not as the model reads it."""
    run_item: RunItem | None
    """The item of the output; None while the call waits."""
    interruptions: list[ToolApprovalItem] = field(default_factory=list)
    """Of the inner run, when the tool is an agent."""
    agent_run_result: Any = None
    """The inner run's result, when the tool is an agent."""


def tools_by_name(tools: Iterable[object]) -> dict[str, FunctionTool]:
    """Return the function tools among `tools` by their qualified names.

    Of two tools of one name it is the last, as the model is offered them.
    """
    return {
        tool.qualified_name: tool for tool in tools if isinstance(tool, FunctionTool)
    }


async def settled(value: Any) -> Any:
    """Return `value`, awaited if it is awaitable."""
    return await value if inspect.isawaitable(value) else value
