"""The one port through which runs ask about approvals.

`settings.PLACET_GATE` names the class behind it. Every method is sync and is called
inside a transaction of `runs.services`, and opens none of its own; `expire_due` and
`look_after` are the exceptions.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, cast
from uuid import UUID

from django.conf import settings
from django.utils.module_loading import import_string

from .engine import Call, Verdict
from .models import Run
from .upgrades import CodeChange


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What is decided about some calls of a run."""

    verdicts: dict[str, Verdict]
    """By the key of the call. One that may still be undone is none yet."""
    permits: dict[str, UUID]
    """The Decision by which exactly that call may start now, as by `Gate.permit`."""
    released_at: datetime | None = None
    """When the next of those that may still be undone counts; None without one."""
    was_held: bool = False
    """True: a verdict could be undone until now. That nobody is just doing so shows
    only to who has locked the run."""


class Gate(Protocol):
    def propose(self, run: Run, calls: Sequence[Call]) -> None:
        """Make sure each of these gated calls has been put to people or rules.

        Safe to repeat: a call that has a request keeps it.
        """
        ...

    def reconcile(self, run: Run, call: Call, evidence: dict[str, Any]) -> None:
        """Put to a person whether `call`, which started, has had its effect."""
        ...

    def verdicts(self, run: Run, calls: Sequence[Call]) -> Decided:
        """Return what is decided about `calls`, and counts by now."""
        ...

    def take_up(
        self, run_id: UUID, calls: Sequence[Call], *, undecided: Sequence[Call]
    ) -> Decided:
        """Propose the `undecided` ones of `calls`; return what `verdicts` does."""
        ...

    def permit(self, run: Run, call: Call) -> UUID | None:
        """Return the Decision that approves exactly `call`, or None to wait for it.

        None means approved but not released yet. Raises ClaimRefused when there is no
        approval of exactly this run, call key and digest: that of what the model wrote,
        and that of what runs, where a person put other arguments in its place.
        """
        ...

    def go_ahead(self, run: Run, change: CodeChange) -> bool:
        """Say whether a person has let the run go on under exactly this change.

        False means that it has been put to people by now; a question about another
        change is replaced.
        """
        ...

    def renew(self, run: Run, calls: Sequence[Call], *, gone: Sequence[str]) -> None:
        """Put `calls`, which are not what they were, to people again if they are gated.

        Whatever was said of them before, or of the calls `gone`, holds no more.
        """
        ...

    def awaiting_go_ahead(self) -> list[UUID]:
        """Return the runs that have been asked about and wait for an answer."""
        ...

    def expire_due(self, now: datetime, *, up_since: datetime) -> int:
        """End what people had to decide by now, some at once; return how many.

        Called outside of transactions: each is one of its own. `up_since` is since
        when this process has looked; what fell due before then is given a while.
        """
        ...

    def look_after(self, now: datetime) -> None:
        """Ask more people where nobody has decided by now, and tell those who wait.

        Called outside of transactions: each change is one of its own.
        """
        ...

    def note(self, run_id: UUID, *, by: str, action: str, said: dict[str, Any]) -> None:
        """Put down in the run's audit trail what `by` did to it. It is locked."""
        ...

    def close(self, run: Run, *, below: str = "") -> None:
        """Cancel the open requests of a run that has ended.

        With `below`, the key of an agent's call that has: of the calls inside only.
        """
        ...


@functools.cache
def gate() -> Gate:
    return cast(Gate, import_string(settings.PLACET_GATE)())
