"""To whom a request goes, and until when it is put off."""

from __future__ import annotations

from datetime import datetime, timedelta

from django import forms
from django.contrib.auth.models import User
from django.db import models

from .. import policies

EVENING_H, MORNING_H = 18, 9


class Later(models.TextChoices):
    HOUR = "hour", "In 1 hour"
    EVENING = "evening", "This evening"
    MORNING = "morning", "Tomorrow morning"
    WEEK = "week", "Next week"
    NOW = "now", "Back now"


class _Form(forms.Form):
    @property
    def problem(self) -> str:
        """The first thing that is wrong, in a sentence."""
        return next((str(errors[0]) for errors in self.errors.values()), "")


class LaterForm(_Form):
    until_when = forms.ChoiceField(
        choices=Later.choices,
        error_messages={
            "required": "Choose until when it is put off.",
            "invalid_choice": "Choose one of the times that are offered.",
        },
    )

    def until(self, now: datetime) -> datetime | None:
        """Return the moment that was chosen, `now` being local; None for at once."""
        return moment(Later(self.cleaned_data["until_when"]), now)


class AssignForm(_Form):
    to = forms.ModelChoiceField(
        User.objects.none(),
        required=False,
        to_field_name="username",
        error_messages={"invalid_choice": "Nobody of that name decides requests."},
    )

    def __init__(self, *args: object, **more: object) -> None:
        super().__init__(*args, **more)  # type: ignore[arg-type]  # passed on as they are
        self.fields["to"].queryset = policies.deciders().distinct()  # type: ignore[attr-defined]


def moment(later: Later, now: datetime) -> datetime | None:
    """Return when a request put off at `now`, a local time, comes back."""
    tomorrow = now + timedelta(days=1)
    match later:
        case Later.HOUR:
            return now + timedelta(hours=1)
        case Later.EVENING:
            this = _at(now, EVENING_H)
            return this if this > now else _at(tomorrow, EVENING_H)
        case Later.MORNING:
            return _at(tomorrow, MORNING_H)
        case Later.WEEK:
            return _at(now + timedelta(days=7 - now.weekday()), MORNING_H)
        case Later.NOW:
            return None


def _at(day: datetime, hour: int) -> datetime:
    return day.replace(hour=hour, minute=0, second=0, microsecond=0)
