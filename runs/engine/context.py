"""What code of an agent's author is given about the run it takes part in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

from .digest import JSONObject
from .usage import Usage

if TYPE_CHECKING:
    from .agent import Agent
    from .config import RunConfig
    from .items import ToolApprovalItem
    from .state import RunState

TContext = TypeVar("TContext", default=Any)


@dataclass(eq=False)
class RunContextWrapper(Generic[TContext]):
    """The caller's own context, and what the run has used so far."""

    context: TContext
    usage: Usage = field(default_factory=Usage)
    turn_input: list[JSONObject] = field(default_factory=list)
    """What the model reads in this turn; empty before the first."""
    tool_input: Any = None
    """The arguments an agent used as a tool was called with, parsed; else None."""
    _state: RunState[TContext] | None = field(default=None, repr=False, kw_only=True)

    def approve_tool(
        self, approval_item: ToolApprovalItem, always_approve: bool = False
    ) -> None:
        """Approve the call, as `RunState.approve` does, at any depth."""
        self._of_run().approve(approval_item, always_approve=always_approve)

    def reject_tool(
        self,
        approval_item: ToolApprovalItem,
        always_reject: bool = False,
        *,
        rejection_message: str | None = None,
    ) -> None:
        """Reject the call, as `RunState.reject` does, at any depth."""
        self._of_run().reject(
            approval_item,
            always_reject=always_reject,
            rejection_message=rejection_message,
        )

    def is_tool_approved(self, tool_name: str, call_id: str) -> bool | None:
        """Return what was decided about the open call; None while nothing is."""
        return self._of_run().decided(tool_name, call_id)

    def get_approval_status(
        self, tool_name: str, call_id: str, **kinds: Any
    ) -> bool | None:
        """Return what `is_tool_approved` does; `kinds` narrow nothing here.

        A call id names one call of a run, so that nothing more is needed to find it.
        """
        return self.is_tool_approved(tool_name, call_id)

    def get_rejection_message(
        self, tool_name: str, call_id: str, **kinds: Any
    ) -> str | None:
        """Return what a rejection of the open call tells the model, if one does."""
        return self._of_run().rejection_message(tool_name, call_id)

    def _of_run(self) -> RunState[TContext]:
        if self._state is None:
            raise RuntimeError("This context does not belong to a run.")
        return self._state


@dataclass(eq=False)
class AgentHookContext(RunContextWrapper[TContext]):
    """The context of a hook that tells of an agent."""


@dataclass(eq=False)
class ToolContext(RunContextWrapper[TContext]):
    """The context of one tool call."""

    tool_name: str = ""
    tool_call_id: str = ""
    tool_arguments: str = ""
    """The text that runs: the model's, or a person's where one changed it."""
    tool_call: Any = None
    """The call as an object of the openai client, as the model wrote it."""
    tool_namespace: str | None = None
    agent: Agent[Any] | None = None
    run_config: RunConfig | None = None
    idempotency_key: str = ""
    """The same whenever this call is made again; hand it to services that take one."""

    @property
    def qualified_tool_name(self) -> str:
        """The tool's name behind its namespace, where it has one."""
        if self.tool_namespace:
            return f"{self.tool_namespace}.{self.tool_name}"
        return self.tool_name


def context_of(wrapper: RunContextWrapper[TContext]) -> AgentHookContext[TContext]:
    """Return the context hooks of an agent are given, of the same run."""
    return AgentHookContext(
        context=wrapper.context,
        usage=wrapper.usage,
        turn_input=wrapper.turn_input,
        tool_input=wrapper.tool_input,
        _state=wrapper._state,
    )
