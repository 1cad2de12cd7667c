"""Gives each request its person's own settings."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from .models import Preferences

Respond = Callable[[HttpRequest], HttpResponseBase]


class PreferencesMiddleware:
    """Sets `request.preferences`, and shows times as the person's clock has them.

    One query for who is signed in, none for others. The last of all: the page is made
    inside it.
    """

    def __init__(self, get_response: Respond) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        chosen = _preferences_of(request)
        request.preferences = chosen  # type: ignore[attr-defined]  # ours
        with timezone.override(chosen.zone if chosen.time_zone else None):
            return self.get_response(request)


def _preferences_of(request: HttpRequest) -> Preferences:
    """Return what the person of `request` has saved, else the defaults, unsaved."""
    if not request.user.is_authenticated:
        return Preferences()
    found = Preferences.objects.filter(person=request.user).first()
    return found or Preferences(person=request.user)
