"""Who may call a tool: the model itself, or code that it has its server run."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from ..errors import UserError

ToolCaller: TypeAlias = Literal["direct", "programmatic"]

_CALLERS = ("direct", "programmatic")


def checked_callers(given: Any, tool_name: str) -> list[ToolCaller] | None:
    """Return a copy of `given`; None stays None. Raises UserError for what is no list
    of different callers."""
    if given is None:
        return None
    usable = isinstance(given, list) and given and all(one in _CALLERS for one in given)
    if not usable or len(set(given)) < len(given):
        raise UserError(
            f"Tool {tool_name!r} has allowed_callers={given!r}; give 'direct', "
            "'programmatic' or both, in a list."
        )
    return list(given)
