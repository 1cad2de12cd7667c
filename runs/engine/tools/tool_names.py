"""Names of tools: spaces for them, and what happens when two are the same."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from ..errors import UserError
from .tool import FunctionTool

if TYPE_CHECKING:
    from typing import Protocol

    class _Handoff(Protocol):
        @property
        def tool_name(self) -> str: ...


ToolNameCollisionPolicy: TypeAlias = Literal["warn", "error"]
ToolT = TypeVar("ToolT")
HandoffT = TypeVar("HandoffT", bound="_Handoff")

logger = logging.getLogger(__name__)


def tool_namespace(
    *, name: str, description: str | None, tools: list[FunctionTool]
) -> list[FunctionTool]:
    """Return copies of `tools` in a namespace, which a tool search finds as a whole.

    Raises UserError when a text is missing, or a tool has the name of its namespace.
    """
    for text, what in ((name, "name"), (description, "description")):
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"A tool namespace needs a {what}.")
    placed = []
    for tool in tools:
        if not isinstance(tool, FunctionTool):
            raise UserError(
                f"{tool!r} cannot be in a namespace; only function tools can."
            )
        tool = copy.copy(tool)
        tool.namespace = name.strip()
        tool.namespace_description = (description or "").strip()
        _refuse_reserved(tool)
        placed.append(tool)
    return placed


def resolve_name_collisions(
    tools: Sequence[ToolT],
    handoffs: Sequence[HandoffT],
    policy: ToolNameCollisionPolicy,
) -> tuple[list[ToolT], list[HandoffT]]:
    """Return the tools and handoffs the model is offered: one of each name.

    Of those of one name the last handoff, or else the last tool, is offered, with a
    warning; the policy "error" raises UserError instead. Tools that could not be told
    apart even so raise it always.
    """
    ours = [tool for tool in tools if isinstance(tool, FunctionTool)]
    _refuse_ambiguous(ours)
    # (is a handoff, place): the greatest of these is the one that stays.
    owners: dict[str, list[tuple[bool, int]]] = {}
    for place, tool in enumerate(tools):
        if isinstance(tool, FunctionTool) and tool.lookup_key[0] == "bare":
            owners.setdefault(tool.name, []).append((False, place))
    for place, handoff in enumerate(handoffs):
        owners.setdefault(handoff.tool_name, []).append((True, place))
    dropped: set[tuple[bool, int]] = set()
    for name, same in owners.items():
        if len(same) == 1:
            continue
        if policy == "error":
            raise UserError(_collision(name, [is_handoff for is_handoff, _ in same]))
        logger.warning(
            "Several tools have one name; only the last is offered to the model.",
            extra={"tool": name, "tools": len(same)},
        )
        dropped.update(set(same) - {max(same)})
    return _kept(tools, False, dropped), _kept(handoffs, True, dropped)


def _kept(
    offered: Sequence[ToolT], are_handoffs: bool, dropped: set[tuple[bool, int]]
) -> list[ToolT]:
    return [
        each
        for place, each in enumerate(offered)
        if (are_handoffs, place) not in dropped
    ]


def _collision(name: str, are_handoffs: Sequence[bool]) -> str:
    if all(are_handoffs):
        return (
            f"Several handoffs are named {name!r}; give each a name of its own with "
            "tool_name_override."
        )
    if any(are_handoffs):
        return (
            f"A tool and a handoff are both named {name!r}; give one of them another "
            "name (name_override, tool_name or tool_name_override)."
        )
    return (
        f"Several tools are named {name!r}; give each a name of its own with "
        "name_override or tool_name, or put them into namespaces."
    )


def _refuse_ambiguous(tools: Iterable[FunctionTool]) -> None:
    seen: dict[tuple[str, str], FunctionTool] = {}
    for tool in tools:
        _refuse_reserved(tool)
        is_deferred = tool.lookup_key[0] == "deferred_top_level"
        for key in {("name", tool.qualified_name), ("deferred", tool.name)}:
            if key[0] == "deferred" and not is_deferred:
                continue
            other = seen.setdefault(key, tool)
            if other is tool:
                continue
            if is_deferred or tool.namespace or other.namespace:
                raise UserError(
                    f"Several tools are named {tool.qualified_name!r}, and a server "
                    "could not tell them apart; rename one of them."
                )


def _refuse_reserved(tool: FunctionTool) -> None:
    if tool.namespace == tool.name:
        raise UserError(
            f"Tool {tool.name!r} has the name of its namespace, by which servers mean "
            "a tool that is loaded later; rename one of them."
        )
