"""What people may type into the pages of runs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from urllib.parse import urlencode

from django import forms
from django.core.validators import MaxValueValidator, MinValueValidator
from django.utils import timezone

from . import registry
from .models import Run, RunStatus
from .registry import RegisteredAgent

MESSAGE_CHARS = 100_000
MOST_EXTRA_TURNS = 100
ALL = [("", "All")]
FIRST_DAY, LAST_DAY = date(2000, 1, 1), date(2199, 12, 31)


def _message() -> forms.CharField:
    return forms.CharField(
        max_length=MESSAGE_CHARS,
        error_messages={"required": "Write what the agent shall do."},
    )


class ResumeForm(forms.Form):
    """How many more turns a failed run gets."""

    extra_turns = forms.IntegerField(
        min_value=1,
        max_value=MOST_EXTRA_TURNS,
        error_messages={
            "required": "Say how many more turns it may take.",
            "invalid": "Write the number of turns in digits.",
            "min_value": "It needs one more turn at least.",
            "max_value": f"Give it {MOST_EXTRA_TURNS} more turns at most.",
        },
    )


class ForkForm(forms.Form):
    """Where a fork begins, and what is said to its agent first."""

    at = forms.IntegerField(min_value=1, max_value=2_147_483_647)
    text = forms.CharField(required=False, max_length=MESSAGE_CHARS)


class ViewForm(forms.Form):
    """A name for a search."""

    name = forms.CharField(
        max_length=60,
        error_messages={
            "required": "Give the view a name.",
            "max_length": "A name has 60 characters at most.",
        },
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


class ConversationsForm(forms.Form):
    """Which conversations are shown; what is empty filters nothing."""

    q = forms.CharField(
        label="Search",
        required=False,
        max_length=200,
        widget=forms.TextInput(
            attrs={
                "type": "search",
                "placeholder": "What was said, arguments, outputs, titles",
                "data-key": "/",
            }
        ),
    )
    agent = forms.ChoiceField(label="Agent", required=False)
    status = forms.ChoiceField(
        label="Status", required=False, choices=[*ALL, *RunStatus.choices]
    )
    owner = forms.CharField(label="Opened by", required=False, max_length=150)
    trigger = forms.ChoiceField(
        label="Started by", required=False, choices=[*ALL, *Run.Trigger.choices]
    )
    since = day("From")
    until = day("To")

    def __init__(self, data: Mapping[str, str] | None = None) -> None:
        super().__init__(data)
        agent = self.fields["agent"]
        if isinstance(agent, forms.ChoiceField):
            known = [(one.key, one.title) for one in registry.all_agents()]
            agent.choices = [*ALL, *known]

    @property
    def address(self) -> str:
        """What is asked for, as it stands behind the ? of an address."""
        return urlencode({name: v for name, v in self.cleaned_data.items() if v})
