"""Tools: functions a model may call, and the decorator that makes them."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from pydantic import ValidationError

from .calls import Review
from .cancel import is_leaked_cancel
from .context import RunContextWrapper, ToolContext
from .digest import JSONObject, MalformedArguments, parse_arguments, schema_hash
from .schema import DocstringStyle, FuncSchema, function_schema
from .strict_schema import ensure_strict_json_schema
from .threads import in_thread

if TYPE_CHECKING:
    from .agent import Agent

NeedsApproval: TypeAlias = (
    bool | Callable[[RunContextWrapper[Any], JSONObject, str], Any]
)
IsEnabled: TypeAlias = bool | Callable[[RunContextWrapper[Any], "Agent[Any]"], Any]
FailureText: TypeAlias = Callable[
    [RunContextWrapper[Any], Exception], str | Awaitable[str]
]


MAX_FAULTS = 10


class InvalidToolArguments(ValueError):
    """Arguments the tool does not take; the text tells the model what is wrong."""


def default_tool_error_function(ctx: RunContextWrapper[Any], error: Exception) -> str:
    """Return what the model is told when a tool raises."""
    return f"The tool failed: {type(error).__name__}: {error}"


@dataclass
class FunctionTool:
    """A tool of a name, a schema and a body."""

    name: str
    description: str
    params_json_schema: JSONObject
    on_invoke_tool: Callable[[ToolContext[Any], str], Awaitable[Any]]
    """Called with the context and the text of the arguments; gives the output."""
    strict_json_schema: bool = True
    is_enabled: IsEnabled = True
    needs_approval: NeedsApproval = False
    """True, or a sync or async callable of (context, arguments, call id).

    Anything truthy pauses the call. Malformed arguments pause it unasked, and so does
    a callable that raises.
    """
    failure_error_function: FailureText | None = default_tool_error_function
    """Gives the output of a call that raised; None lets the run fail with it."""
    timeout: float | None = None
    """Seconds the body may take."""
    review: Review = field(default_factory=Review)

    def __post_init__(self) -> None:
        if self.strict_json_schema:
            self.params_json_schema = ensure_strict_json_schema(self.params_json_schema)
        if self.timeout is not None and self.timeout <= 0:
            raise ValueError(f"Tool {self.name!r}: timeout must be above 0 seconds.")

    @functools.cached_property
    def schema_hash(self) -> str:
        """SHA-256, in hex, of the name and the parameter schema."""
        return schema_hash(self.name, self.params_json_schema)

    async def enabled(self, ctx: RunContextWrapper[Any], agent: Agent[Any]) -> bool:
        """Say whether the model is offered this tool in this run."""
        if isinstance(self.is_enabled, bool):
            return self.is_enabled
        return bool(await settled(self.is_enabled(ctx, agent)))

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
        try:
            asked = await settled(self.needs_approval(ctx, parsed, call_id))
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and not is_leaked_cancel():
                raise
            return True, f"Its approval rule failed: {type(error).__name__}: {error}"
        return bool(asked), "Its approval rule asks for a person."


async def settled(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


@overload
def function_tool(func: Callable[..., Any], /) -> FunctionTool: ...


@overload
def function_tool(
    func: None = None,
    /,
    *,
    name_override: str | None = None,
    description_override: str | None = None,
    docstring_style: DocstringStyle | None = None,
    use_docstring_info: bool = True,
    failure_error_function: FailureText | None = default_tool_error_function,
    strict_mode: bool = True,
    is_enabled: IsEnabled = True,
    needs_approval: NeedsApproval = False,
    timeout: float | None = None,
    review: Review | None = None,
) -> Callable[[Callable[..., Any]], FunctionTool]: ...


def function_tool(
    func: Callable[..., Any] | None = None,
    /,
    *,
    name_override: str | None = None,
    description_override: str | None = None,
    docstring_style: DocstringStyle | None = None,
    use_docstring_info: bool = True,
    failure_error_function: FailureText | None = default_tool_error_function,
    strict_mode: bool = True,
    is_enabled: IsEnabled = True,
    needs_approval: NeedsApproval = False,
    timeout: float | None = None,
    review: Review | None = None,
) -> FunctionTool | Callable[[Callable[..., Any]], FunctionTool]:
    """Make a tool of a function, from its type hints and docstring.

    Sync functions run in a thread. Raises UserError when a type has no schema.
    """

    def make(function: Callable[..., Any]) -> FunctionTool:
        schema = function_schema(
            function,
            docstring_style,
            name_override,
            description_override,
            use_docstring_info,
            strict_mode,
        )
        return FunctionTool(
            name=schema.name,
            description=schema.description or "",
            params_json_schema=schema.params_json_schema,
            on_invoke_tool=_invoker(function, schema),
            strict_json_schema=strict_mode,
            is_enabled=is_enabled,
            needs_approval=needs_approval,
            failure_error_function=failure_error_function,
            timeout=timeout,
            review=review or Review(),
        )

    return make(func) if func is not None else make


def _invoker(
    function: Callable[..., Any], schema: FuncSchema
) -> Callable[[ToolContext[Any], str], Awaitable[Any]]:
    async def invoke(ctx: ToolContext[Any], arguments: str) -> Any:
        args, kwargs = schema.to_call_args(_checked(schema, arguments))
        if schema.takes_context:
            args.insert(0, ctx)
        if inspect.iscoroutinefunction(function):
            return await function(*args, **kwargs)
        return await settled(await in_thread(function, *args, **kwargs))

    return invoke


def _checked(schema: FuncSchema, arguments: str) -> Any:
    try:
        # Some servers send no text at all for a tool without parameters.
        parsed = parse_arguments(arguments or "{}")
        return schema.params_pydantic_model.model_validate(parsed)
    except MalformedArguments as error:
        raise InvalidToolArguments(str(error)) from error
    except ValidationError as error:
        raise InvalidToolArguments(
            f"The arguments do not fit {schema.name}: {_faults(error)}."
        ) from error


def _faults(error: ValidationError) -> str:
    """Return what is wrong, short enough for a model to read."""
    faults = [
        f"{'.'.join(map(str, fault['loc'])) or 'arguments'}: {fault['msg']}"
        for fault in error.errors(include_url=False, include_input=False)
    ]
    more = [f"and {len(faults) - MAX_FAULTS} more"] if len(faults) > MAX_FAULTS else []
    return "; ".join([fault[:300] for fault in faults[:MAX_FAULTS]] + more)
