"""The decorator that makes a tool of a function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, overload

from pydantic import BaseModel, ValidationError

from ..calls import Review
from ..context import ToolContext
from ..digest import JSONObject, MalformedArguments, parse_arguments
from ..errors import ModelBehaviorError, UserError
from ..hosted.tool_callers import ToolCaller
from ..threads import in_thread
from .callables import is_async
from .custom_data import FunctionToolCustomDataExtractor
from .docstrings import DocstringStyle
from .faults import faults_of
from .schema import FuncSchema, function_schema
from .strict_schema import same_json
from .tool import (
    FunctionTool,
    InvalidToolArguments,
    IsEnabled,
    NeedsApproval,
    ToolErrorFunction,
    ToolTimeoutBehavior,
    default_tool_error_function,
    settled,
)
from .tool_guardrails import ToolInputGuardrail, ToolOutputGuardrail


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonBody:
    """A function as the body of a tool."""

    function: Callable[..., Any]
    schema: FuncSchema
    failure_error_function: ToolErrorFunction | None

    async def __call__(self, ctx: ToolContext[Any], arguments: str) -> Any:
        """Return the output, or what the model is told when there is none."""
        try:
            return await self.run(ctx, arguments)
        except Exception as error:
            if self.failure_error_function is None:
                raise
            return await settled(self.failure_error_function(ctx, error))

    async def run(self, ctx: ToolContext[Any], arguments: str) -> Any:
        """Return the output.

        Raises InvalidToolArguments, and what the function raises.
        """
        args, kwargs = self._call_args(arguments)
        if self.schema.takes_context:
            args.insert(0, ctx)
        if is_async(self.function):
            return await self.function(*args, **kwargs)
        return await settled(await in_thread(self.function, *args, **kwargs))

    def why_unlike(self, written: JSONObject) -> str | None:
        """Say why a rule that sees `written` would not judge what the function gets.

        None when the function gets just that: no default, no conversion, no refusal.
        """
        try:
            read = self.schema.params_pydantic_model.model_validate(written)
            got = read.model_dump(mode="json", by_alias=True, warnings=False)
        except Exception as error:  # also what the author's validators raise
            return f"The arguments cannot be read ({type(error).__name__})."
        if same_json(got, written):
            return None
        return "The tool would get other arguments than its approval rule sees."

    def _call_args(self, text: str) -> tuple[list[Any], dict[str, Any]]:
        try:
            return self.schema.to_call_args(self._validated(text))
        except MalformedArguments as error:
            raise InvalidToolArguments(str(error)) from error
        except (ModelBehaviorError, ValidationError) as error:
            fault = (
                faults_of(error, root="arguments")
                if isinstance(error, ValidationError)
                else str(error).rstrip(".")
            )
            raise InvalidToolArguments(
                f"The arguments do not fit {self.schema.name}: {fault}."
            ) from error

    def _validated(self, text: str) -> BaseModel:
        # Some servers send no text at all for a tool without parameters.
        parsed = parse_arguments(text or "{}")
        return self.schema.params_pydantic_model.model_validate(parsed)


@overload
def function_tool(
    func: Callable[..., Any],
    *,
    name_override: str | None = None,
    description_override: str | None = None,
    docstring_style: DocstringStyle | None = None,
    use_docstring_info: bool = True,
    failure_error_function: ToolErrorFunction | None = default_tool_error_function,
    strict_mode: bool = True,
    is_enabled: IsEnabled = True,
    needs_approval: NeedsApproval = False,
    tool_input_guardrails: list[ToolInputGuardrail[Any]] | None = None,
    tool_output_guardrails: list[ToolOutputGuardrail[Any]] | None = None,
    timeout: float | None = None,
    timeout_behavior: ToolTimeoutBehavior = "error_as_result",
    timeout_error_function: ToolErrorFunction | None = None,
    defer_loading: bool = False,
    custom_data_extractor: FunctionToolCustomDataExtractor | None = None,
    allowed_callers: list[ToolCaller] | None = None,
    output_type: Any = None,
    output_json_schema: JSONObject | None = None,
    review: Review | None = None,
) -> FunctionTool: ...


@overload
def function_tool(
    func: None = None,
    *,
    name_override: str | None = None,
    description_override: str | None = None,
    docstring_style: DocstringStyle | None = None,
    use_docstring_info: bool = True,
    failure_error_function: ToolErrorFunction | None = default_tool_error_function,
    strict_mode: bool = True,
    is_enabled: IsEnabled = True,
    needs_approval: NeedsApproval = False,
    tool_input_guardrails: list[ToolInputGuardrail[Any]] | None = None,
    tool_output_guardrails: list[ToolOutputGuardrail[Any]] | None = None,
    timeout: float | None = None,
    timeout_behavior: ToolTimeoutBehavior = "error_as_result",
    timeout_error_function: ToolErrorFunction | None = None,
    defer_loading: bool = False,
    custom_data_extractor: FunctionToolCustomDataExtractor | None = None,
    allowed_callers: list[ToolCaller] | None = None,
    output_type: Any = None,
    output_json_schema: JSONObject | None = None,
    review: Review | None = None,
) -> Callable[[Callable[..., Any]], FunctionTool]: ...


def function_tool(
    func: Callable[..., Any] | None = None,
    *,
    name_override: str | None = None,
    description_override: str | None = None,
    docstring_style: DocstringStyle | None = None,
    use_docstring_info: bool = True,
    failure_error_function: ToolErrorFunction | None = default_tool_error_function,
    strict_mode: bool = True,
    is_enabled: IsEnabled = True,
    needs_approval: NeedsApproval = False,
    tool_input_guardrails: list[ToolInputGuardrail[Any]] | None = None,
    tool_output_guardrails: list[ToolOutputGuardrail[Any]] | None = None,
    timeout: float | None = None,
    timeout_behavior: ToolTimeoutBehavior = "error_as_result",
    timeout_error_function: ToolErrorFunction | None = None,
    defer_loading: bool = False,
    custom_data_extractor: FunctionToolCustomDataExtractor | None = None,
    allowed_callers: list[ToolCaller] | None = None,
    output_type: Any = None,
    output_json_schema: JSONObject | None = None,
    review: Review | None = None,
) -> FunctionTool | Callable[[Callable[..., Any]], FunctionTool]:
    """Make a tool of a function, from its type hints and docstring.

    Takes functions, bound methods, callable objects and partials; a sync one runs in a
    thread. `timeout` is in seconds. The other options are those of FunctionTool.
    Raises UserError when a parameter or the output has no schema.
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
            on_invoke_tool=PythonBody(
                function=function,
                schema=schema,
                failure_error_function=failure_error_function,
            ),
            strict_json_schema=strict_mode,
            is_enabled=is_enabled,
            needs_approval=needs_approval,
            failure_error_function=failure_error_function,
            tool_input_guardrails=tool_input_guardrails,
            tool_output_guardrails=tool_output_guardrails,
            timeout_seconds=timeout,
            timeout_behavior=timeout_behavior,
            timeout_error_function=timeout_error_function,
            defer_loading=defer_loading,
            custom_data_extractor=custom_data_extractor,
            allowed_callers=allowed_callers,
            output_type=_output_type(
                schema, output_type, output_json_schema, allowed_callers
            ),
            output_json_schema=output_json_schema,
            review=review or Review(),
        )

    return make if func is None else make(func)


tool = function_tool


def _output_type(
    schema: FuncSchema,
    given: Any,
    output_json_schema: JSONObject | None,
    callers: list[ToolCaller] | None,
) -> Any:
    """Return the type of the output; a program reads the one the function declares."""
    if given is not None and output_json_schema is not None:
        raise UserError(
            f"Tool {schema.name!r} was given an output_type and an output_json_schema; "
            "give one of them."
        )
    if given is not None or output_json_schema or "programmatic" not in (callers or ()):
        return given
    declared = schema.return_annotation
    plain = get_args(declared)[0] if get_origin(declared) is Annotated else declared
    untyped = (inspect.Signature.empty, Any, None, type(None), str)
    return None if plain in untyped else declared
