"""Shells: commands that the model writes, run here or in its server's container."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias, cast

from openai.types.responses.response_output_item import LocalShellCall

from ..context import RunContextWrapper, ToolContext
from ..digest import JSONObject
from ..errors import UserError
from .local_tools import (
    LocalOutput,
    LocalToolBase,
    OnApproval,
    as_json,
    carried_out,
    gate_by,
    output_of,
    text_of,
    told_of,
)
from .shell_calls import one_output, shell_call, shell_output
from .shell_types import (
    ShellActionRequest,
    ShellCommandRequest,
    ShellResult,
    ShellToolEnvironment,
)
from .tool_callers import ToolCaller, checked_callers


@dataclass
class LocalShellCommandRequest:
    """What a local shell's executor is called with."""

    ctx_wrapper: RunContextWrapper[Any]
    data: LocalShellCall


LocalShellExecutor: TypeAlias = Callable[
    [LocalShellCommandRequest], str | Awaitable[str]
]


@dataclass
class LocalShellTool(LocalToolBase):
    """Lets the model run commands here; the older form of `ShellTool`."""

    executor: LocalShellExecutor

    call_type: ClassVar[str] = "local_shell_call"

    @property
    def name(self) -> str:
        return "local_shell"

    def arguments(self, call: JSONObject) -> str:
        return as_json(call.get("action"))

    async def gate(
        self, ctx: RunContextWrapper[Any], call: JSONObject
    ) -> tuple[bool, str]:
        return False, ""

    async def answer(self, ctx: ToolContext[Any], call: JSONObject) -> LocalOutput:
        request = LocalShellCommandRequest(ctx, LocalShellCall.model_construct(**call))
        text, failed = await text_of(self.executor, request)
        return LocalOutput(item=self.output_item(call, text), text=text, failed=failed)

    def output_item(
        self, call: JSONObject, text: str, *, failed: bool = False
    ) -> JSONObject:
        return output_of(call, output=text)


ShellExecutor: TypeAlias = Callable[
    [ShellCommandRequest], "str | ShellResult | Awaitable[str | ShellResult]"
]
ShellApprovalFunction: TypeAlias = Callable[
    [RunContextWrapper[Any], ShellActionRequest, str], bool | Awaitable[bool]
]


@dataclass
class ShellTool(LocalToolBase):
    """Lets the model run commands: here, by `executor`, or in the server's container.

    Raises UserError when the environment and the executor do not go together.
    """

    executor: ShellExecutor | None = None
    name: str = "shell"
    needs_approval: bool | ShellApprovalFunction = False
    """True, or a sync or async callable of (context, action, call id)."""
    on_approval: OnApproval | None = None
    """Decides in code, before any person is asked."""
    environment: ShellToolEnvironment | None = None
    """None means here."""
    allowed_callers: list[ToolCaller] | None = field(default=None, kw_only=True)

    call_type: ClassVar[str] = "shell_call"

    def __post_init__(self) -> None:
        self.allowed_callers = checked_callers(self.allowed_callers, self.name)
        if self.environment is not None and not isinstance(self.environment, Mapping):
            raise UserError(f"Tool {self.name!r}: the environment must be a mapping.")
        place = {"type": "local", **(self.environment or {})}
        self.environment = cast("ShellToolEnvironment", place)
        if self.is_local and self.executor is None:
            raise UserError(f"Tool {self.name!r} runs here and needs an executor.")
        gated = self.needs_approval is not False or self.on_approval is not None
        if not self.is_local and (self.executor is not None or gated):
            raise UserError(
                f"Tool {self.name!r} runs on the model's server, which asks nobody: "
                "it takes no executor and no approval."
            )

    @property
    def type(self) -> str:
        return "shell"

    @property
    def is_local(self) -> bool:
        """Whether its commands run here."""
        return self.environment is None or self.environment["type"] == "local"

    def carries_out(self, call: JSONObject) -> bool:
        return self.is_local and super().carries_out(call)

    def arguments(self, call: JSONObject) -> str:
        return as_json(call.get("action"))

    async def gate(
        self, ctx: RunContextWrapper[Any], call: JSONObject
    ) -> tuple[bool, str]:
        return await gate_by(
            self.needs_approval, ctx, call, lambda: [shell_call(call).action]
        )

    async def answer(self, ctx: ToolContext[Any], call: JSONObject) -> LocalOutput:
        if self.executor is None:
            raise UserError(f"Tool {self.name!r} runs on the model's server, not here.")
        try:
            asked = shell_call(call)
            longest = asked.action.max_output_length
            given = await carried_out(self.executor, ShellCommandRequest(ctx, asked))
        except Exception as error:
            text = told_of(error)
            item = self.output_item(call, text, failed=True)
            return LocalOutput(item=item, text=text, failed=True)
        outputs, text, limit = shell_output(given, longest)
        item = output_of(call, output=outputs, status="completed")
        if limit is not None:
            item["max_output_length"] = limit
        return LocalOutput(item=item, text=text)

    def output_item(
        self, call: JSONObject, text: str, *, failed: bool = False
    ) -> JSONObject:
        return output_of(
            call, output=[one_output(text, failed=failed)], status="completed"
        )
