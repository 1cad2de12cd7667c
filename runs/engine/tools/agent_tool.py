"""An agent used as a tool: what it is asked, how it runs, what comes of it."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from pydantic import BaseModel, TypeAdapter, ValidationError

from ..callbacks import called
from ..calls import Review
from ..digest import JSONObject, MalformedArguments, parse_arguments
from ..errors import ModelBehaviorError, UserError
from ..items import MessageOutputItem, ToolCallOutputItem, model_text
from .strict_schema import ensure_strict_json_schema
from .tool import (
    FunctionTool,
    InvalidToolArguments,
    IsEnabled,
    NeedsApproval,
    ToolErrorFunction,
)
from .tool_origin import ToolOrigin, ToolOriginType

if TYPE_CHECKING:
    from ..agent import Agent
    from ..config import RunConfig
    from ..context import ToolContext
    from ..events import AgentToolStreamEvent
    from ..lifecycle import RunHooksBase
    from ..result import RunResultBase
    from ..sessions import Session

PREAMBLE = (
    "You are called as a tool. Below is the structured input of the call; a schema "
    "that stands with it describes the data and instructs nobody."
)


class StructuredToolInputBuilderOptions(TypedDict, total=False):
    """What an `input_builder` is given."""

    params: Any
    """The arguments, as plain JSON."""
    summary: str | None
    """The parameters in words, one a line."""
    json_schema: JSONObject | None
    """Their schema, when `include_input_schema` asks for it."""


InputBuilder = Callable[
    [StructuredToolInputBuilderOptions],
    str | list[JSONObject] | Awaitable[str | list[JSONObject]],
]
OutputExtractor = Callable[["RunResultBase[Any]"], Awaitable[str] | str]


class AgentAsToolInput(BaseModel):
    """The arguments of an agent used as a tool, unless it names others."""

    input: str


@dataclass(frozen=True)
class AgentToolInvocation:
    """The call an inner run was started by."""

    tool_name: str
    tool_call_id: str
    tool_arguments: str


@dataclass(frozen=True, kw_only=True)
class AgentTool:
    """How an agent runs when it is called as a tool."""

    agent: Agent[Any]
    extract_output: OutputExtractor | None = None
    on_stream: Callable[[AgentToolStreamEvent], Any] | None = None
    run_config: RunConfig | None = None
    """None: the outer run's."""
    max_turns: int | None = None
    hooks: RunHooksBase[Any, Any] | None = None
    previous_response_id: str | None = None
    conversation_id: str | None = None
    session: Session | None = None
    parameters: type[Any] | None = None
    input_builder: InputBuilder | None = None
    include_input_schema: bool = False
    max_pending_events: int | None = 1024
    """None: no limit."""

    def __post_init__(self) -> None:
        if self.on_stream is not None and not callable(self.on_stream):
            raise UserError("on_stream must be callable; it is told of stream events.")
        if self.max_pending_events is not None and self.max_pending_events < 1:
            raise UserError(
                "on_stream_max_pending_events must be at least 1, or None for no limit."
            )
        kind = self.parameters
        if kind is not None and not _is_structure(kind):
            raise TypeError("parameters must be a dataclass or a pydantic model.")

    @property
    def is_structured(self) -> bool:
        """Whether the inner run is told of its parsed arguments as `tool_input`."""
        return self.parameters is not None or self.input_builder is not None

    def schema(self) -> JSONObject:
        """Return the JSON schema of the arguments."""
        return ensure_strict_json_schema(self._adapter().json_schema())

    def parsed(self, tool_name: str, arguments: str) -> Any:
        """Return the arguments as plain JSON. Raises InvalidToolArguments."""
        try:
            given = parse_arguments(arguments)
            checked = self._adapter().validate_python(given)
        except (MalformedArguments, ValidationError) as error:
            raise InvalidToolArguments(
                f"The arguments do not fit {tool_name}: {error}"
            ) from error
        return self._adapter().dump_python(checked, mode="json")

    async def input_for(self, params: Any) -> str | list[JSONObject]:
        """Return the inner run's input. Raises ModelBehaviorError when it is none."""
        if not self.is_structured:
            text: str = params["input"]
            return text
        schema = self.schema() if self.parameters else {}
        options = StructuredToolInputBuilderOptions(
            params=params,
            summary=_summary(schema),
            json_schema=schema if schema and self.include_input_schema else None,
        )
        builder = self.input_builder
        if builder is None and not (options["summary"] or options["json_schema"]):
            return json.dumps(params)
        build = builder or default_tool_input_builder
        built = await called("The input_builder", build, options)
        if not isinstance(built, str | list):
            raise ModelBehaviorError(
                f"The input_builder gave {type(built).__name__}; it must give a text "
                "or a list of items."
            )
        return built

    async def output_of(self, result: RunResultBase[Any]) -> Any:
        """Return what the tool gives once the inner run has ended."""
        if self.extract_output is not None:
            what = "The custom_output_extractor"
            return await called(what, self.extract_output, result)
        output = result.final_output
        if output not in (None, "") or result.output_guardrail_results:
            return output
        return _last_words(result) or output

    def _adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.parameters or AgentAsToolInput)


def agent_as_tool(
    agent: Agent[Any],
    how: AgentTool,
    *,
    name: str | None,
    description: str | None,
    is_enabled: IsEnabled,
    failure_error_function: ToolErrorFunction | None,
    needs_approval: NeedsApproval,
    review: Review | None,
) -> FunctionTool:
    """Return the tool. A run opens a frame for it; called by hand it runs alone."""

    async def run_alone(context: ToolContext[Any], arguments: str) -> Any:
        from ..run import Runner  # the tool is made before there is anything to run

        params = how.parsed(context.tool_name or tool_name, arguments)
        result = await Runner.run(
            agent,
            await how.input_for(params),
            context=context.context,
            max_turns=how.max_turns or 10,
            hooks=how.hooks,
            run_config=how.run_config or context.run_config,
            previous_response_id=how.previous_response_id,
            conversation_id=how.conversation_id,
            session=how.session,
        )
        if result.interruptions:
            raise UserError(
                f"{tool_name} waits for an approval; call it within a run, which can "
                "wait for it."
            )
        return await how.output_of(result)

    tool_name = name or function_style(agent.name)
    return FunctionTool(
        name=tool_name,
        description=description or "",
        params_json_schema=how.schema(),
        on_invoke_tool=run_alone,
        is_enabled=is_enabled,
        needs_approval=needs_approval,
        failure_error_function=failure_error_function,
        # A frame goes on where it stood: its own calls are claimed, it never is twice.
        review=dataclasses.replace(review or Review(), idempotent=True),
        origin=ToolOrigin(
            type=ToolOriginType.AGENT_AS_TOOL,
            agent_name=agent.name,
            agent_tool_name=tool_name,
        ),
        agent_tool=how,
    )


def function_style(name: str) -> str:
    """Return `name` as that of a function: lower case, words joined by `_`."""
    return re.sub(r"[^a-zA-Z0-9_]", "_", name.replace(" ", "_")).lower()


def default_tool_input_builder(options: StructuredToolInputBuilderOptions) -> str:
    """Return structured arguments as a text an agent can work from."""
    parts = [PREAMBLE, "## Input", _fenced(options.get("params"))]
    if (schema := options.get("json_schema")) is not None:
        parts += ["## Schema of the input", _fenced(schema)]
    elif summary := options.get("summary"):
        parts += ["## Fields of the input", summary]
    return "\n\n".join(parts)


def _fenced(value: Any) -> str:
    return f"```json\n{json.dumps(value, indent=2)}\n```"


def _summary(schema: JSONObject) -> str | None:
    lines = [
        f"- {name}: {part.get('type', 'any')}, {part['description']}"
        for name, part in schema.get("properties", {}).items()
        if part.get("description")
    ]
    return "\n".join(lines) or None


def _last_words(result: RunResultBase[Any]) -> str | None:
    for item in reversed(result.new_items):
        if isinstance(item, MessageOutputItem) and (text := model_text(item.raw)):
            return text
        said = item.output if isinstance(item, ToolCallOutputItem) else None
        if isinstance(said, str) and said:
            return said
    return None


def _is_structure(kind: Any) -> bool:
    if not isinstance(kind, type):
        return False
    return dataclasses.is_dataclass(kind) or issubclass(kind, BaseModel)
