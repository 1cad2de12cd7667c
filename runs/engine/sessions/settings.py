"""How a run reads its session."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..digest import JSONObject
from ..errors import UserError

SessionInputCallback: TypeAlias = Callable[
    [list[JSONObject], list[JSONObject]], list[JSONObject] | Awaitable[list[JSONObject]]
]
"""Makes a run's input from (what the session holds, what is new); sync or async."""


@dataclass(init=False)
class SessionSettings:
    """Settings of a session; None leaves one as it is."""

    limit: int | None
    """How many of the newest items are read; None means all."""

    def __init__(
        self, limit: int | None = None, *, max_items: int | None = None
    ) -> None:
        """`max_items` is another name of `limit`.

        Raises TypeError on an unknown name, on both names at once, and on a limit that
        is no whole number; UserError on a negative one.
        """
        if limit is not None and max_items is not None:
            raise TypeError("`max_items` is another name of `limit`; give one of them.")
        self.limit = checked_limit(max_items if limit is None else limit)

    @classmethod
    def of(cls, given: SessionSettings | Mapping[str, Any] | None) -> SessionSettings:
        """Return `given` as settings; a mapping names them. Raises TypeError."""
        if given is None:
            return cls()
        if isinstance(given, SessionSettings):
            return given
        if isinstance(given, Mapping):
            return cls(**given)
        raise TypeError(
            f"Session settings are SessionSettings or a dict, not {given!r}."
        )

    @property
    def max_items(self) -> int | None:
        """Another name of `limit`."""
        return self.limit

    def resolve(
        self, override: SessionSettings | Mapping[str, Any] | None
    ) -> SessionSettings:
        """Return these settings with every value that `override` sets put over them."""
        over = type(self).of(override)
        changes = {
            field.name: value
            for field in dataclasses.fields(self)
            if (value := getattr(over, field.name, None)) is not None
        }
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON."""
        return dataclasses.asdict(self)


def checked_limit(limit: int | None) -> int | None:
    """Return `limit`. Raises TypeError or UserError when it counts nothing."""
    if limit is None:
        return None
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise TypeError(f"A limit is a whole number of items or None, not {limit!r}.")
    if limit < 0:
        raise UserError(f"A limit counts items: it is 0 or more, or None; not {limit}.")
    return limit
