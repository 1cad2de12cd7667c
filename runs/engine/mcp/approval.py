"""Which calls of a server's tools a person must approve: `require_approval`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

from ..context import RunContextWrapper
from ..digest import JSONObject
from ..errors import UserError
from ..tools.tool import NeedsApproval, settled
from .package import MCPTool

if TYPE_CHECKING:
    from ..agent import Agent


class RequireApprovalToolList(TypedDict, total=False):
    """Names of tools, in a server's `require_approval`."""

    tool_names: list[str]


class RequireApprovalObject(TypedDict, total=False):
    """Tools that need approval and tools that do not; those in neither do not."""

    always: RequireApprovalToolList
    never: RequireApprovalToolList


RequireApprovalPolicy: TypeAlias = Literal["always", "never"]
RequireApprovalMapping: TypeAlias = dict[str, RequireApprovalPolicy | bool]
LocalMCPApprovalCallable: TypeAlias = Callable[
    [RunContextWrapper[Any], "Agent[Any]", MCPTool], bool | Awaitable[bool]
]
RequireApprovalSetting: TypeAlias = (
    RequireApprovalPolicy
    | RequireApprovalObject
    | RequireApprovalMapping
    | LocalMCPApprovalCallable
    | bool
    | None
)
ApprovalPolicy: TypeAlias = bool | dict[str, bool] | LocalMCPApprovalCallable


def approval_policy(setting: RequireApprovalSetting) -> ApprovalPolicy:
    """Return the setting in one of three forms: a bool, tool name -> bool, a callable.

    Raises UserError for a setting in none of the forms; nothing is guessed, because a
    misread policy would run calls that nobody saw.
    """
    if setting is None or isinstance(setting, bool):
        return bool(setting)
    if isinstance(setting, Mapping):
        lists = _has_tool_lists(setting)
        return _from_lists(setting) if lists else _from_names(setting)
    if callable(setting):
        return setting
    return _asks(setting, where="require_approval")


def needs_approval(
    policy: ApprovalPolicy, tool: MCPTool, agent: Agent[Any] | None
) -> NeedsApproval:
    """Return the policy for one tool, as a FunctionTool's `needs_approval`.

    A callable policy without an agent to ask about means that every call is asked for.
    """
    if isinstance(policy, bool):
        return policy
    if isinstance(policy, dict):
        return policy.get(tool.name, False)
    if agent is None:
        return True
    decide, owner = policy, agent

    async def ask(ctx: RunContextWrapper[Any], _: JSONObject, call_id: str) -> bool:
        return bool(await settled(decide(ctx, owner, tool)))

    return ask


def _asks(value: object, *, where: str) -> bool:
    if isinstance(value, bool):
        return value
    if value not in ("always", "never"):
        raise UserError(
            f"{where} is {value!r}; use 'always', 'never', True, False, "
            "{'always': {'tool_names': [...]}}, {tool name: 'always'} or a callable."
        )
    return value == "always"


def _has_tool_lists(setting: Mapping[str, Any]) -> bool:
    # Without `tool_names` the keys are names of tools, even "always" and "never".
    entries = [setting.get("always"), setting.get("never")]
    return any(isinstance(entry, dict) and "tool_names" in entry for entry in entries)


def _from_names(setting: Mapping[str, Any]) -> dict[str, bool]:
    return {
        str(name): _asks(value, where=f"require_approval[{name!r}]")
        for name, value in setting.items()
    }


def _from_lists(setting: Mapping[str, Any]) -> dict[str, bool]:
    if odd := sorted(set(setting) - {"always", "never"}):
        raise UserError(
            f"require_approval has the keys {odd!r} beside its lists of tools; "
            "only 'always' and 'never' may hold one."
        )
    always = _tool_names(setting, "always")
    never = _tool_names(setting, "never")
    if both := sorted(set(always) & set(never)):
        raise UserError(f"require_approval lists {both!r} both as always and never.")
    return dict.fromkeys(always, True) | dict.fromkeys(never, False)


def _tool_names(setting: Mapping[str, Any], key: str) -> list[str]:
    entry = setting.get(key, {})
    names = entry.get("tool_names", []) if isinstance(entry, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(
            f"require_approval[{key!r}] is {entry!r}; it must be an object whose "
            "tool_names are a list of texts."
        )
    return names
