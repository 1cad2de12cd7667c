"""What people may type into the pages of runs."""

from __future__ import annotations

from django import forms

from .registry import RegisteredAgent

MESSAGE_CHARS = 100_000


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
