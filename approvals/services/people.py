"""What a person changes about themselves."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from runs.transactions import write

from ..models import Preferences
from ..notices import next_digest


@write
def save_preferences(person: User, **chosen: Any) -> Preferences:
    """Keep what `person` has chosen, by field; return all of it.

    The next digest is due at the next time it is their hour.
    """
    kept, _ = Preferences.objects.update_or_create(person=person, defaults=chosen)
    now = timezone.now()
    at = next_digest(kept.zone, kept.digest_hour, after=now) if kept.digest else None
    Preferences.objects.filter(pk=kept.pk).update(digest_at=at)
    kept.digest_at = at
    return kept
