"""What a reviewer posts. Nothing here is read as a verdict unless it names one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django import forms
from django.http import QueryDict

from ..editing import PREFIX, Argument, Kind, arguments_of, written_as
from ..errors import InvalidEdit
from ..models import ApprovalRequest, Verdict
from ..presets import REJECT_PRESETS, reason_of
from ..services import check_edit
from ..services.deciding import MAX_OUTPUT
from ..terms import FOR_THIS_RUN

REASON_CHARS = 4_000
OUTPUT_CHARS = MAX_OUTPUT
ACK_NEEDED = "Tick that you have seen the display warnings, then approve."
_NO_DIGEST = {"required": "The digest of the call is missing; load the page again."}
_ON = [("on", "on")]


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
    digest = forms.CharField(max_length=64, error_messages=_NO_DIGEST)
    preset = forms.ChoiceField(choices=REJECT_PRESETS, required=False)
    reason = forms.CharField(required=False, max_length=REASON_CHARS)
    output = forms.CharField(required=False, max_length=OUTPUT_CHARS, strip=False)
    always = forms.ChoiceField(choices=_ON, required=False)
    stop = forms.ChoiceField(choices=_ON, required=False)
    ack = forms.ChoiceField(choices=_ON, required=False)

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
            "reason": reason_of(given["preset"], given["reason"]),
            "output": given["output"],
            "always": FOR_THIS_RUN if given["always"] == "on" else None,
            "stop": given["stop"] == "on",
        }


@dataclass(slots=True, kw_only=True)
class EditField:
    """An argument's field, with what was typed into it."""

    argument: Argument
    typed: str
    error: str = ""

    @property
    def rows(self) -> int:
        """How many lines of it are seen at once."""
        lines = self.typed.count("\n") + len(self.typed) // 70 + 1
        return min(12, max(1 if self.argument.kind is Kind.TEXT else 2, lines))


class EditForm:
    """Other arguments for one request's call, as they were typed, and why.

    Whatever else is posted is refused, the name of a tool above all.
    """

    OTHERS = frozenset(
        ("csrfmiddlewaretoken", "digest", "reason", "step", "edited", "ack", "view")
    ) | {"next"}

    def __init__(self, card: ApprovalRequest, data: QueryDict | None = None) -> None:
        self.card = card
        self.data = data
        self.problem = ""
        self.reason_error = ""
        self.arguments = ""
        self.digest = ""
        self.reason = data.get("reason", "") if data else ""
        self.fields = [
            EditField(argument=each, typed=_typed(each, data))
            for each in arguments_of(card)
        ]

    def is_valid(self) -> bool:
        """Check everything; what is wrong then stands beside its field."""
        self.problem = next(self._strange(), "")
        self.arguments = written_as(dict(self._tokens()))
        if self.problem or self._has_faults():
            return False
        if len(self.reason) > REASON_CHARS:
            self.reason_error = f"Use at most {REASON_CHARS} characters."
            return False
        try:
            self.digest = check_edit(self.card, self.arguments, self.reason)
        except InvalidEdit as error:
            self._take(error)
            return False
        return True

    def _strange(self) -> Iterator[str]:
        data = self.data or QueryDict()
        if not data.get("digest"):
            yield _NO_DIGEST["required"]
        known = self.OTHERS | {field.argument.field for field in self.fields}
        for name in data:
            if name == "tool":
                yield "The tool of a call cannot be changed; only its arguments can."
            elif name not in known:
                yield "That is no argument of this tool; nothing was changed."
            elif len(data.getlist(name)) > 1:
                yield "An argument was given twice; nothing was changed."

    def _tokens(self) -> Iterator[tuple[str, str]]:
        for field in self.fields:
            try:
                yield field.argument.name, field.argument.token_of(field.typed)
            except ValueError as error:
                field.error = str(error)

    def _has_faults(self) -> bool:
        return any(field.error for field in self.fields)

    def _take(self, error: InvalidEdit) -> None:
        self.reason_error = error.why
        for field in self.fields:
            field.error = error.faults.get(field.argument.name, "")
        names = {field.argument.name for field in self.fields}
        rest = [fault for name, fault in error.faults.items() if name not in names]
        self.problem = " ".join(rest)


def _typed(argument: Argument, data: QueryDict | None) -> str:
    return argument.shown if data is None else data.get(f"{PREFIX}{argument.name}", "")
