"""What a reviewer posts. Nothing here is read as a verdict unless it names one."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import QueryDict

from .models import ApprovalRequest, Verdict

REASON_CHARS = 4_000
OUTPUT_CHARS = 100_000
ACK_NEEDED = "Tick that you have seen the display warnings, then approve."


class DecisionForm(forms.Form):
    """A verdict on one request, on the digest that the reviewer saw."""

    verdict = forms.ChoiceField(
        choices=Verdict.choices,
        error_messages={
            "required": "No verdict was given; the request is still pending.",
            "invalid_choice": (
                "That is not a verdict (approve, reject or answer); "
                "the request is still pending."
            ),
        },
    )
    digest = forms.CharField(
        max_length=64,
        error_messages={
            "required": "The digest of the call is missing; load the page again."
        },
    )
    reason = forms.CharField(required=False, max_length=REASON_CHARS)
    output = forms.CharField(required=False, max_length=OUTPUT_CHARS, strip=False)
    always = forms.ChoiceField(choices=[("on", "on")], required=False)
    ack = forms.ChoiceField(choices=[("on", "on")], required=False)

    def __init__(self, data: QueryDict, *, card: ApprovalRequest) -> None:
        super().__init__(data)
        self.card = card

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        verdict = given.get("verdict")
        unseen = self.card.warnings and given.get("ack") != "on"
        if verdict == Verdict.APPROVE and unseen:
            self.add_error("ack", ACK_NEEDED)
        if verdict == Verdict.ANSWER and not given.get("output"):
            self.add_error("output", "Write the output that the model shall get.")
        return given

    @property
    def problem(self) -> str:
        """The first thing that is wrong, in a sentence."""
        return next((str(errors[0]) for errors in self.errors.values()), "")

    @property
    def decision(self) -> dict[str, Any]:
        """What `services.decide` takes."""
        given = self.cleaned_data
        return {
            "verdict": Verdict(given["verdict"]),
            "digest_seen": given["digest"],
            "reason": given["reason"],
            "output": given["output"],
            "always": given["always"] == "on",
        }
