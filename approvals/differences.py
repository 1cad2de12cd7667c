"""What a person changed in a call, argument by argument."""

from __future__ import annotations

import json
from dataclasses import dataclass

from .editing import values_in
from .models import ApprovalRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """An argument that is another now. Whole texts, for the page to make inert."""

    name: str
    before: str | None
    """None: it was not there."""
    after: str | None
    """None: it is left out."""


def differences(before: str, after: str) -> list[Difference]:
    """Return what differs between two texts of arguments, in the order of `after`."""
    old, new = values_in(before), values_in(after)
    if not old and before.strip() not in ("", "{}"):
        return [Difference(name="all of it", before=before, after=after)]
    return [
        _difference(name, old.get(name), new.get(name))
        for name in {**new, **old}
        if old.get(name) != new.get(name)
    ]


def edit_of(request: ApprovalRequest) -> list[Difference]:
    """Return what a person changed in the request's call; [] where nobody did."""
    if not request.is_edited:
        return []
    return differences(request.written_arguments, request.call_arguments)


def _difference(name: str, before: str | None, after: str | None) -> Difference:
    told, told_now = _told(before), _told(after)
    if told == told_now:  # a text and a number, say: the JSON tells them apart
        told, told_now = before, after
    return Difference(name=name, before=told, after=told_now)


def _told(token: str | None) -> str | None:
    """Return a value as a person reads it: a text as its characters."""
    if token is None or not token.startswith('"'):
        return token
    return str(json.loads(token))
