"""Patches: changes of files that the model writes and an editor makes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

from ..context import RunContextWrapper, ToolContext
from ..digest import JSONObject
from .local_tools import (
    CustomData,
    LocalOutput,
    LocalToolBase,
    MalformedCall,
    OnApproval,
    as_json,
    carried_out,
    custom_data_of,
    gate_by,
    output_of,
    told_of,
)
from .tool_callers import ToolCaller, checked_callers


@dataclass(slots=True)
class ApplyPatchOperation:
    """One change of a file."""

    type: Literal["create_file", "update_file", "delete_file"]
    path: str
    diff: str | None = None
    ctx_wrapper: RunContextWrapper[Any] | None = None
    move_to: str | None = None


@dataclass(slots=True)
class ApplyPatchResult:
    """What an editor says about a change it made."""

    status: Literal["completed", "failed"] | None = None
    output: str | None = None


Edited: TypeAlias = (
    ApplyPatchResult | str | Awaitable[ApplyPatchResult | str | None] | None
)


@runtime_checkable
class ApplyPatchEditor(Protocol):
    """Makes the changes; its methods may be sync or async."""

    def create_file(self, operation: ApplyPatchOperation) -> Edited: ...

    def update_file(self, operation: ApplyPatchOperation) -> Edited: ...

    def delete_file(self, operation: ApplyPatchOperation) -> Edited: ...


@dataclass(frozen=True)
class ApplyPatchToolCustomDataContext:
    """What a patch tool's extractor is called with."""

    run_context: RunContextWrapper[Any]
    tool: ApplyPatchTool
    operations: list[ApplyPatchOperation]
    output: str
    status: Literal["completed", "failed"]
    raw_item: Mapping[str, Any]


ApplyPatchToolCustomDataExtractor: TypeAlias = Callable[
    [ApplyPatchToolCustomDataContext], CustomData
]
ApplyPatchApprovalFunction: TypeAlias = Callable[
    [RunContextWrapper[Any], ApplyPatchOperation, str], bool | Awaitable[bool]
]


@dataclass
class ApplyPatchTool(LocalToolBase):
    """Lets the model change files, by `editor`."""

    editor: ApplyPatchEditor
    name: str = "apply_patch"
    needs_approval: bool | ApplyPatchApprovalFunction = False
    """True, or a sync or async callable of (context, operation, call id)."""
    on_approval: OnApproval | None = None
    """Decides in code, before any person is asked."""
    custom_data_extractor: ApplyPatchToolCustomDataExtractor | None = field(
        default=None, kw_only=True
    )
    allowed_callers: list[ToolCaller] | None = field(default=None, kw_only=True)

    call_type: ClassVar[str] = "apply_patch_call"

    def __post_init__(self) -> None:
        self.allowed_callers = checked_callers(self.allowed_callers, self.name)

    @property
    def type(self) -> str:
        return "apply_patch"

    def arguments(self, call: JSONObject) -> str:
        return as_json(_sent(call))

    async def gate(
        self, ctx: RunContextWrapper[Any], call: JSONObject
    ) -> tuple[bool, str]:
        return await gate_by(
            self.needs_approval, ctx, call, lambda: patch_operations(call, ctx)
        )

    async def answer(self, ctx: ToolContext[Any], call: JSONObject) -> LocalOutput:
        operations: list[ApplyPatchOperation] = []
        said: list[str] = []
        failed = False
        try:
            operations = patch_operations(call, ctx)
            for operation in operations:
                edit = getattr(self.editor, operation.type)
                result = _edited(await carried_out(edit, operation))
                failed = failed or result.status == "failed"
                said += [result.output] if result.output else []
        except Exception as error:
            said, failed = [told_of(error)], True
        text = "\n".join(said)
        item = self.output_item(call, text, failed=failed)
        given = ApplyPatchToolCustomDataContext(
            run_context=ctx,
            tool=self,
            operations=operations,
            output=text,
            status=item["status"],
            raw_item=item,
        )
        data = await custom_data_of(self.custom_data_extractor, given)
        return LocalOutput(item=item, text=text, failed=failed, custom_data=data)

    def output_item(
        self, call: JSONObject, text: str, *, failed: bool = False
    ) -> JSONObject:
        item = output_of(call, status="failed" if failed else "completed")
        return {**item, "output": text} if text else item


def patch_operations(
    call: Mapping[str, Any], ctx: RunContextWrapper[Any]
) -> list[ApplyPatchOperation]:
    """Return the changes that a call asks for. Raises MalformedCall."""
    sent = _sent(call)
    if sent is None or sent == []:
        raise MalformedCall("The patch has no operation.")
    operations = sent if isinstance(sent, list) else [sent]
    return [_operation(operation, ctx) for operation in operations]


def _sent(call: Mapping[str, Any]) -> Any:
    """Return what is to be done: the one thing that is both approved and run."""
    given = call.get("operations")
    return given if isinstance(given, list) else call.get("operation")


def _operation(sent: Any, ctx: RunContextWrapper[Any]) -> ApplyPatchOperation:
    given = sent if isinstance(sent, Mapping) else {}
    kind, path, diff = given.get("type"), given.get("path"), given.get("diff")
    target = given.get("move_to")
    if kind not in {"create_file", "update_file", "delete_file"}:
        raise MalformedCall(f"The patch has no operation {kind!r}.")
    if not isinstance(path, str) or not path:
        raise MalformedCall(f"The patch's {kind} names no path.")
    if kind != "delete_file" and (not isinstance(diff, str) or not diff):
        raise MalformedCall(f"The patch's {kind} of {path} has no diff.")
    if target is not None and (not isinstance(target, str) or not target):
        raise MalformedCall(f"The patch moves {path} to {target!r}, which is no path.")
    return ApplyPatchOperation(
        type=kind,
        path=path,
        diff=None if kind == "delete_file" else diff,
        ctx_wrapper=ctx,
        move_to=target,
    )


def _edited(given: Any) -> ApplyPatchResult:
    if given is None or isinstance(given, ApplyPatchResult):
        return given or ApplyPatchResult()
    if not isinstance(given, Mapping):
        return ApplyPatchResult(output=str(given))
    status, output = given.get("status"), given.get("output")
    return ApplyPatchResult(
        status=status if status in {"completed", "failed"} else None,
        output=None if output is None else str(output),
    )
