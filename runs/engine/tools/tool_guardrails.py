"""Checks around a tool's body: of its arguments before, of its output after."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypedDict, overload

from typing_extensions import TypeVar

from ..callbacks import called
from ..context import ToolContext
from ..errors import (
    ToolInputGuardrailTripwireTriggered,
    ToolOutputGuardrailTripwireTriggered,
    UserError,
)

if TYPE_CHECKING:
    from ..agent import Agent
    from .tool import FunctionTool

TContext_co = TypeVar("TContext_co", covariant=True, default=Any)


class AllowBehavior(TypedDict):
    """Go on as if there were no guardrail."""

    type: Literal["allow"]


class RejectContentBehavior(TypedDict):
    """Tell the model `message` instead of running the tool, or of its output."""

    type: Literal["reject_content"]
    message: str


class RaiseExceptionBehavior(TypedDict):
    """End the run."""

    type: Literal["raise_exception"]


def _allow() -> AllowBehavior:
    return AllowBehavior(type="allow")


@dataclass
class ToolGuardrailFunctionOutput:
    """What a guardrail found, and what follows from it."""

    output_info: Any
    """Anything about the checks made; kept with the result."""
    behavior: AllowBehavior | RejectContentBehavior | RaiseExceptionBehavior = field(
        default_factory=_allow
    )

    @classmethod
    def allow(cls, output_info: Any = None) -> ToolGuardrailFunctionOutput:
        """Return the output that lets the call go on."""
        return cls(output_info, _allow())

    @classmethod
    def reject_content(
        cls, message: str, output_info: Any = None
    ) -> ToolGuardrailFunctionOutput:
        """Return the output that tells the model `message` instead."""
        return cls(
            output_info, RejectContentBehavior(type="reject_content", message=message)
        )

    @classmethod
    def raise_exception(cls, output_info: Any = None) -> ToolGuardrailFunctionOutput:
        """Return the output that ends the run."""
        return cls(output_info, RaiseExceptionBehavior(type="raise_exception"))


@dataclass
class ToolInputGuardrailData:
    """What a guardrail is given before the tool runs."""

    context: ToolContext[Any]
    """Holds the tool's name, the call's id and the arguments as written."""
    agent: Agent[Any]


@dataclass
class ToolOutputGuardrailData(ToolInputGuardrailData):
    """What a guardrail is given after the tool ran."""

    output: Any
    """What the tool returned; for a call that failed, what the model would be told."""


InputCheck: TypeAlias = Callable[
    [ToolInputGuardrailData],
    ToolGuardrailFunctionOutput | Awaitable[ToolGuardrailFunctionOutput],
]
OutputCheck: TypeAlias = Callable[
    [ToolOutputGuardrailData],
    ToolGuardrailFunctionOutput | Awaitable[ToolGuardrailFunctionOutput],
]


@dataclass
class ToolInputGuardrail(Generic[TContext_co]):
    """A check made before a tool runs."""

    guardrail_function: InputCheck
    """Sync or async."""
    name: str | None = None
    """None: the function's own name."""

    def get_name(self) -> str:
        """Return the name shown in results and traces."""
        return self.name or _name_of(self.guardrail_function)

    async def run(self, data: ToolInputGuardrailData) -> ToolGuardrailFunctionOutput:
        """Return what the check finds. Raises UserError when it gives no finding."""
        return await _finding(self.get_name(), self.guardrail_function, data)


@dataclass
class ToolOutputGuardrail(Generic[TContext_co]):
    """A check made after a tool ran."""

    guardrail_function: OutputCheck
    """Sync or async."""
    name: str | None = None
    """None: the function's own name."""

    def get_name(self) -> str:
        """Return the name shown in results and traces."""
        return self.name or _name_of(self.guardrail_function)

    async def run(self, data: ToolOutputGuardrailData) -> ToolGuardrailFunctionOutput:
        """Return what the check finds. Raises UserError when it gives no finding."""
        return await _finding(self.get_name(), self.guardrail_function, data)


@dataclass
class ToolInputGuardrailResult:
    """A guardrail that ran before a tool, and what it found."""

    guardrail: ToolInputGuardrail[Any]
    output: ToolGuardrailFunctionOutput


@dataclass
class ToolOutputGuardrailResult:
    """A guardrail that ran after a tool, and what it found."""

    guardrail: ToolOutputGuardrail[Any]
    output: ToolGuardrailFunctionOutput


@overload
def tool_input_guardrail(func: InputCheck) -> ToolInputGuardrail[Any]: ...


@overload
def tool_input_guardrail(
    func: None = None, *, name: str | None = None
) -> Callable[[InputCheck], ToolInputGuardrail[Any]]: ...


def tool_input_guardrail(
    func: InputCheck | None = None, *, name: str | None = None
) -> ToolInputGuardrail[Any] | Callable[[InputCheck], ToolInputGuardrail[Any]]:
    """Make a guardrail of a function of ToolInputGuardrailData."""

    def make(check: InputCheck) -> ToolInputGuardrail[Any]:
        return ToolInputGuardrail(check, name or _name_of(check))

    return make if func is None else make(func)


@overload
def tool_output_guardrail(func: OutputCheck) -> ToolOutputGuardrail[Any]: ...


@overload
def tool_output_guardrail(
    func: None = None, *, name: str | None = None
) -> Callable[[OutputCheck], ToolOutputGuardrail[Any]]: ...


def tool_output_guardrail(
    func: OutputCheck | None = None, *, name: str | None = None
) -> ToolOutputGuardrail[Any] | Callable[[OutputCheck], ToolOutputGuardrail[Any]]:
    """Make a guardrail of a function of ToolOutputGuardrailData."""

    def make(check: OutputCheck) -> ToolOutputGuardrail[Any]:
        return ToolOutputGuardrail(check, name or _name_of(check))

    return make if func is None else make(func)


async def run_tool_input_guardrails(
    tool: FunctionTool,
    context: ToolContext[Any],
    agent: Agent[Any],
    results: list[ToolInputGuardrailResult],
) -> str | None:
    """Return what the model is told instead of running `tool`; None lets it run.

    The guardrails run one after the other; the first that rejects is the last. Each is
    put into `results` as it ends. Raises ToolInputGuardrailTripwireTriggered when one
    ends the run.
    """
    for guardrail in tool.tool_input_guardrails or ():
        found = await guardrail.run(ToolInputGuardrailData(context, agent))
        results.append(ToolInputGuardrailResult(guardrail, found))
        if found.behavior["type"] == "raise_exception":
            raise ToolInputGuardrailTripwireTriggered(guardrail, found)
        if found.behavior["type"] == "reject_content":
            return found.behavior["message"]
    return None


async def run_tool_output_guardrails(
    tool: FunctionTool,
    context: ToolContext[Any],
    agent: Agent[Any],
    output: Any,
    results: list[ToolOutputGuardrailResult],
) -> str | None:
    """Return what the model is told instead of `output`; None keeps that.

    As `run_tool_input_guardrails`, with ToolOutputGuardrailTripwireTriggered.
    """
    for guardrail in tool.tool_output_guardrails or ():
        found = await guardrail.run(ToolOutputGuardrailData(context, agent, output))
        results.append(ToolOutputGuardrailResult(guardrail, found))
        if found.behavior["type"] == "raise_exception":
            raise ToolOutputGuardrailTripwireTriggered(guardrail, found)
        if found.behavior["type"] == "reject_content":
            return found.behavior["message"]
    return None


def _name_of(check: Callable[..., Any]) -> str:
    return getattr(check, "__name__", type(check).__name__)


async def _finding(name: str, check: Any, data: Any) -> ToolGuardrailFunctionOutput:
    if not callable(check):
        raise UserError(f"The guardrail function {check!r} cannot be called.")
    found = await called(f"The tool guardrail {name!r}", check, data)
    if not isinstance(found, ToolGuardrailFunctionOutput):
        raise UserError(
            f"Tool guardrail {name!r} returned {found!r}; return a "
            "ToolGuardrailFunctionOutput: its allow(), reject_content(...) or "
            "raise_exception()."
        )
    return found
