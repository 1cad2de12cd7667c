"""Custom tools: the model gives them one raw text rather than JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias, cast

from openai.types.responses.custom_tool_param import CustomToolParam

from ..context import RunContextWrapper, ToolContext
from ..digest import JSONObject
from .local_tools import (
    CustomData,
    LocalOutput,
    LocalToolBase,
    OnApproval,
    custom_data_of,
    gate_by,
    output_of,
    text_of,
)
from .tool_callers import ToolCaller, checked_callers


@dataclass(frozen=True)
class CustomToolCustomDataContext:
    """What a custom tool's extractor is called with."""

    tool_context: ToolContext[Any]
    tool: CustomTool
    input: str
    output: str
    raw_item: Mapping[str, Any]


CustomToolCustomDataExtractor: TypeAlias = Callable[
    [CustomToolCustomDataContext], CustomData
]
CustomToolExecutor: TypeAlias = Callable[[ToolContext[Any], str], Any]
CustomToolApprovalFunction: TypeAlias = Callable[
    [RunContextWrapper[Any], str, str], bool | Awaitable[bool]
]


@dataclass
class CustomTool(LocalToolBase):
    """A tool that takes one raw text rather than JSON arguments."""

    name: str
    description: str
    on_invoke_tool: CustomToolExecutor
    """Called with the context and the text; gives the output."""
    format: object | None = None
    """The grammar of the text, as the server takes it."""
    needs_approval: bool | CustomToolApprovalFunction = False
    """True, or a sync or async callable of (context, text, call id)."""
    on_approval: OnApproval | None = None
    """Decides in code, before any person is asked."""
    defer_loading: bool = False
    custom_data_extractor: CustomToolCustomDataExtractor | None = field(
        default=None, kw_only=True
    )
    allowed_callers: list[ToolCaller] | None = field(default=None, kw_only=True)
    tool_config: CustomToolParam = field(init=False, repr=False)

    call_type: ClassVar[str] = "custom_tool_call"

    def __post_init__(self) -> None:
        self.allowed_callers = checked_callers(self.allowed_callers, self.name)
        given: dict[str, Any] = {
            "type": "custom",
            "name": self.name,
            "description": self.description,
            "format": self.format,
            "defer_loading": self.defer_loading or None,
            "allowed_callers": self.allowed_callers,
        }
        config = {name: one for name, one in given.items() if one is not None}
        self.tool_config = cast("CustomToolParam", config)

    @property
    def type(self) -> str:
        return "custom"

    def carries_out(self, call: JSONObject) -> bool:
        return super().carries_out(call) and call.get("name") == self.name

    def arguments(self, call: JSONObject) -> str:
        return str(call.get("input") or "")

    async def gate(
        self, ctx: RunContextWrapper[Any], call: JSONObject
    ) -> tuple[bool, str]:
        return await gate_by(
            self.needs_approval, ctx, call, lambda: [self.arguments(call)]
        )

    async def answer(self, ctx: ToolContext[Any], call: JSONObject) -> LocalOutput:
        given = self.arguments(call)
        text, failed = await text_of(self.on_invoke_tool, ctx, given)
        item = self.output_item(call, text)
        told = CustomToolCustomDataContext(ctx, self, given, text, item)
        data = await custom_data_of(self.custom_data_extractor, told)
        return LocalOutput(item=item, text=text, failed=failed, custom_data=data)

    def output_item(
        self, call: JSONObject, text: str, *, failed: bool = False
    ) -> JSONObject:
        return output_of(call, output=text)
