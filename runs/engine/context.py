"""What code of an agent's author is given about the run it takes part in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

from .usage import Usage

if TYPE_CHECKING:
    from .agent import Agent
    from .items import ToolApprovalItem
    from .state import RunState

TContext = TypeVar("TContext", default=Any)


@dataclass(eq=False)
class RunContextWrapper(Generic[TContext]):
    """The caller's own context, and what the run has used so far."""

    context: TContext
    usage: Usage = field(default_factory=Usage)
    _state: RunState[TContext] | None = field(default=None, repr=False)

    def approve_tool(
        self, approval_item: ToolApprovalItem, always_approve: bool = False
    ) -> None:
        """Approve the call, as `RunState.approve` does."""
        self._of_run().approve(approval_item, always_approve=always_approve)

    def reject_tool(
        self,
        approval_item: ToolApprovalItem,
        always_reject: bool = False,
        *,
        rejection_message: str | None = None,
    ) -> None:
        """Reject the call, as `RunState.reject` does."""
        self._of_run().reject(
            approval_item,
            always_reject=always_reject,
            rejection_message=rejection_message,
        )

    def is_tool_approved(self, tool_name: str, call_id: str) -> bool | None:
        """Return what was decided about the call; None while nothing is."""
        return self._of_run().decided(tool_name, call_id)

    def _of_run(self) -> RunState[TContext]:
        if self._state is None:
            raise RuntimeError("This context does not belong to a run.")
        return self._state


@dataclass(eq=False)
class ToolContext(RunContextWrapper[TContext]):
    """The context of one tool call."""

    tool_name: str = ""
    tool_call_id: str = ""
    tool_arguments: str = ""
    """The text the model wrote."""
    idempotency_key: str = ""
    """The same whenever this call is made again; hand it to services that take one."""
    agent: Agent[Any] | None = None
