"""What people may type into the pages of runs."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

from django import forms
from django.core.validators import MaxValueValidator, MinValueValidator
from django.utils import timezone

from .registry import RegisteredAgent

MESSAGE_CHARS = 100_000
FIRST_DAY, LAST_DAY = date(2000, 1, 1), date(2199, 12, 31)


def _message() -> forms.CharField:
    return forms.CharField(
        max_length=MESSAGE_CHARS,
        error_messages={"required": "Write what the agent shall do."},
    )


class MessageForm(forms.Form):
    """The next message of a conversation."""

    text = _message()


class NewConversationForm(forms.Form):
    """An agent and the first message for it."""

    agent = forms.ChoiceField(
        error_messages={
            "required": "Choose an agent.",
            "invalid_choice": "There is no such agent; choose one of these.",
        }
    )
    text = _message()

    def __init__(
        self, agents: list[RegisteredAgent], data: dict[str, str] | None = None
    ) -> None:
        super().__init__(data)
        choice = self.fields["agent"]
        if isinstance(choice, forms.ChoiceField):
            choice.choices = [(agent.key, agent.title) for agent in agents]


def day(label: str) -> forms.DateField:
    """Return a field for a day, one of those that every database has."""
    limits = [MinValueValidator(FIRST_DAY), MaxValueValidator(LAST_DAY)]
    return forms.DateField(
        label=label,
        required=False,
        validators=limits,
        widget=forms.DateInput(attrs={"type": "date"}),
        error_messages={"invalid": "Write a day as 2026-01-31."},
    )


def begin_of(first: date | None) -> datetime | None:
    """Return when that day begins here."""
    return timezone.make_aware(datetime.combine(first, time.min)) if first else None


def end_of(last: date | None) -> datetime | None:
    """Return when that day is over here."""
    return begin_of(last + timedelta(days=1)) if last else None
