"""Tools whose calls have a form of their own and are carried out here.

A shell, a patch of files, a tool that takes raw text. What a tool's code raises is its
output, as is what is wrong with the call: the model reads both.
"""

from __future__ import annotations

import abc
import inspect
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NotRequired, TypeAlias, TypedDict, cast

from ..callbacks import called
from ..context import RunContextWrapper, ToolContext
from ..digest import JSONObject
from ..threads import in_thread
from ..tools.tool import settled

if TYPE_CHECKING:
    from ..items import ToolApprovalItem
    from .hosted_tools import LocalTool


class MalformedCall(ValueError):
    """A call that its tool cannot take; the text tells the model what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOutput:
    """What a call gave."""

    item: JSONObject
    """The output as the model's server takes it."""
    text: str
    """The same as one text."""
    failed: bool = False
    custom_data: Mapping[str, Any] | None = None
    """What the tool's extractor keeps beside the output; the model never sees it."""


class LocalToolBase(abc.ABC):
    """What a run does with each of these tools; `call` is the server's item."""

    call_type: ClassVar[str]
    """The `type` of the items that are its calls."""

    def carries_out(self, call: JSONObject) -> bool:
        """Say whether the call is one of this tool's, to be done here."""
        return call.get("type") == self.call_type

    @property
    def always_asks(self) -> bool:
        """Whether no call of it runs unless a person approves it."""
        asks = getattr(self, "needs_approval", False) is True
        return asks and getattr(self, "on_approval", None) is None

    @abc.abstractmethod
    def arguments(self, call: JSONObject) -> str:
        """Return what the model asks for, as text: what a person approves."""

    @abc.abstractmethod
    async def gate(
        self, ctx: RunContextWrapper[Any], call: JSONObject
    ) -> tuple[bool, str]:
        """Say whether a person must approve the call, and why. Fails closed."""

    @abc.abstractmethod
    async def answer(self, ctx: ToolContext[Any], call: JSONObject) -> LocalOutput:
        """Carry the call out and return what it gave, a failure too."""

    @abc.abstractmethod
    def output_item(
        self, call: JSONObject, text: str, *, failed: bool = False
    ) -> JSONObject:
        """Return a text, as that of a rejection, in the form of the call's output."""


class OnApprovalResult(TypedDict):
    """The decision of code about a call that needs approval."""

    approve: bool
    reason: NotRequired[str]


OnApproval: TypeAlias = Callable[
    [RunContextWrapper[Any], "ToolApprovalItem"],
    OnApprovalResult | Awaitable[OnApprovalResult],
]


CustomData: TypeAlias = Mapping[str, Any] | Awaitable[Mapping[str, Any] | None] | None


def local_tool_of(tools: Iterable[object], call: JSONObject) -> LocalTool | None:
    """Return the tool that carries the call out here; None where none does."""
    local = (tool for tool in tools if isinstance(tool, LocalToolBase))
    found = next((tool for tool in local if tool.carries_out(call)), None)
    return cast("LocalTool | None", found)  # the union of all LocalToolBases


async def gate_by(
    rule: bool | Callable[..., Any],
    ctx: RunContextWrapper[Any],
    call: JSONObject,
    asked_for: Callable[[], Iterable[Any]],
) -> tuple[bool, str]:
    if isinstance(rule, bool):
        return rule, "Every call of this tool needs approval."
    try:
        for one in asked_for():
            if await called("It", rule, ctx, one, str(call.get("call_id") or "")):
                return True, "Its approval rule asks for a person."
    except MalformedCall as error:
        return True, str(error)
    except Exception as error:
        return True, f"Its approval rule failed: {type(error).__name__}: {error}"
    return False, ""


async def carried_out(function: Callable[..., Any], *given: Any) -> Any:
    if inspect.iscoroutinefunction(function):
        return await function(*given)
    return await settled(await in_thread(function, *given))


async def text_of(function: Callable[..., Any], *given: Any) -> tuple[str, bool]:
    """Return what the function gives, and whether it failed instead."""
    try:
        return str(await carried_out(function, *given)), False
    except Exception as error:
        return told_of(error), True


async def custom_data_of(
    extractor: Callable[[Any], CustomData] | None, given: Any
) -> Mapping[str, Any] | None:
    data = (
        None
        if extractor is None
        else await called("The custom_data_extractor", extractor, given)
    )
    return dict(data) if isinstance(data, Mapping) else None


def output_of(call: JSONObject, **parts: Any) -> JSONObject:
    """Return the output item of a call; the caller goes back to its server."""
    item = {"type": f"{call['type']}_output", "call_id": call.get("call_id"), **parts}
    caller = call.get("caller")
    return item if caller is None else {**item, "caller": caller}


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


def told_of(error: Exception) -> str:
    return str(error) or type(error).__name__
