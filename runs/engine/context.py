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
    from .state.run_state import RunState

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

    # By keyword only here: the name of the tool is the third of a tool's context.
    turn_input: list[JSONObject] = field(default_factory=list, kw_only=True)
    tool_input: Any = field(default=None, kw_only=True)
    tool_name: str = ""
    tool_call_id: str = ""
    tool_arguments: str = ""
    """The text that runs: the model's, or a person's where one changed it."""
    tool_call: Any = None
    """The call as an object of the openai client, as the model wrote it."""
    tool_namespace: str | None = field(default=None, kw_only=True)
    """That of the tool's name; the call's own unless given."""
    agent: Agent[Any] | None = field(default=None, kw_only=True)
    run_config: RunConfig | None = field(default=None, kw_only=True)
    idempotency_key: str = field(default="", kw_only=True)
    """The same whenever this call is made again; hand it to services that take one."""

    def __post_init__(self) -> None:
        if self.tool_namespace is None:
            self.tool_namespace = getattr(self.tool_call, "namespace", None)

    @classmethod
    def from_agent_context(
        cls,
        context: RunContextWrapper[TContext],
        tool_call_id: str,
        tool_call: Any = None,
        agent: Agent[Any] | None = None,
        *,
        tool_name: str | None = None,
        tool_arguments: str | None = None,
        tool_namespace: str | None = None,
        run_config: RunConfig | None = None,
    ) -> ToolContext[TContext]:
        """Return the context of a call in the run that `context` is of.

        The name and the arguments are those of `tool_call`, the agent and the run's
        configuration those of `context` where it has them, unless they are given.
        Raises ValueError when there is neither a `tool_call` nor a name and arguments.
        """
        if tool_call is None and (tool_name is None or tool_arguments is None):
            raise ValueError("Give the tool_call, or tool_name and tool_arguments.")
        return cls(
            context=context.context,
            usage=context.usage,
            turn_input=context.turn_input,
            tool_input=context.tool_input,
            _state=context._state,
            tool_name=tool_call.name if tool_name is None else tool_name,
            tool_call_id=tool_call_id,
            tool_arguments=(
                tool_call.arguments if tool_arguments is None else tool_arguments
            ),
            tool_call=tool_call,
            tool_namespace=tool_namespace,
            agent=agent or getattr(context, "agent", None),
            run_config=run_config or getattr(context, "run_config", None),
        )

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
