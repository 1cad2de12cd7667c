"""Many requests decided at once, each on its own digest and in its own transaction."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import DatabaseError

from ..errors import AlreadyDecided, DecisionError
from ..models import ApprovalRequest, Verdict
from .deciding import decide

logger = logging.getLogger(__name__)

MOST = 100
"""So many are decided at once, at most: people must be able to read them."""
ALONE = "It asks for more than a yes or no; decide it on its own page."
TOO_LONG = "It is too long to be approved here; open it, or reject it."
NOT_NOW = "The database was busy; open it to see whether it is decided."
UNSEEN = "Its display warnings were not acknowledged."


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of the requests, as the person saw it."""

    request: ApprovalRequest
    digest_seen: str
    acknowledged: bool
    """The person said that they have seen its display warnings."""
    is_whole: bool = True
    """They were shown all of its arguments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one choice."""

    request: ApprovalRequest
    """As it stands now."""
    done: bool
    was_decided: bool = False
    """Somebody else was first."""
    problem: str = ""
    """Why nothing was done, as a sentence."""


def decide_each(
    choices: Iterable[Choice], *, verdict: Verdict, by: User, reason: str = ""
) -> list[Result]:
    """Give one verdict on each of the choices; return what became of each, in order.

    No Rule is made. One that cannot be decided keeps no other from it.
    """
    return list(_results(choices, verdict, by, reason))


def why_alone(request: ApprovalRequest) -> str | None:
    """Return why a request is not decided among others, or None."""
    return None if request.kind == ApprovalRequest.Kind.APPROVAL else ALONE


def _results(
    choices: Iterable[Choice], verdict: Verdict, by: User, reason: str
) -> Iterator[Result]:
    for choice in choices:
        request = choice.request
        problem = why_alone(request) or _why_not_approved(choice, verdict)
        if problem:
            yield Result(request=request, done=False, problem=problem)
            continue
        try:
            decided = decide(
                request.pk,
                verdict=verdict,
                by=by,
                digest_seen=choice.digest_seen,
                reason=reason,
            )
        except DecisionError as error:
            late = isinstance(error, AlreadyDecided)
            yield Result(
                request=error.request, done=False, was_decided=late, problem=str(error)
            )
        except DatabaseError:
            # Whoever decided many is told what became of each, whatever became of one.
            extra = {"request_id": str(request.pk)}
            logger.exception("One of many requests was not decided", extra=extra)
            yield Result(request=request, done=False, problem=NOT_NOW)
        else:
            yield Result(request=decided, done=True)


def _why_not_approved(choice: Choice, verdict: Verdict) -> str | None:
    """Return why nobody approves it here, if they wanted to; to reject takes less."""
    if verdict != Verdict.APPROVE:
        return None
    if not choice.is_whole:
        return TOO_LONG
    return UNSEEN if choice.request.warnings and not choice.acknowledged else None
