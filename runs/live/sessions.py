"""Who is still signed in: a socket lives no longer than its session."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.contrib.auth import (
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user_model,
    user_logged_out,
)
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from .pokes import poke, session_topic


def signed_in(session_keys: Collection[str]) -> dict[str, User]:
    """Return the user of each of these sessions that is still good, in two queries.

    A session ends at sign-out, by expiry, by a changed password or with its user.
    """
    rows = Session.objects.filter(
        session_key__in=session_keys, expire_date__gt=timezone.now()
    )
    sessions = {row.session_key: row.get_decoded() for row in rows}
    ids = {data[SESSION_KEY] for data in sessions.values() if SESSION_KEY in data}
    users = get_user_model().objects.filter(is_active=True).in_bulk(ids)
    found = {
        key: (data, users.get(int(data.get(SESSION_KEY, 0))))
        for key, data in sessions.items()
    }
    return {key: user for key, (data, user) in found.items() if _good(data, user)}  # type: ignore[misc]  # _good refuses None


def _good(data: dict[str, Any], user: User | None) -> bool:
    return user is not None and constant_time_compare(
        data.get(HASH_SESSION_KEY, ""), user.get_session_auth_hash()
    )


def _signed_out(request: HttpRequest | None, **_: Any) -> None:
    if request is not None and request.session.session_key:
        poke(session_topic(request.session.session_key))


user_logged_out.connect(_signed_out, dispatch_uid="close the sockets of the session")
