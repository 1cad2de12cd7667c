"""What a person posts about standing Rules: how far *always* reaches, and its end."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.forms import BoundField
from django.http import QueryDict
from pydantic import ValidationError

from runs import inert

from ..conditions import (
    ANY,
    NO_ARGUMENTS,
    TEXT_CHARS,
    Conditions,
    Path,
    spelled,
    values_of,
)
from ..models import ApprovalRequest, Rule, RuleState, Verdict
from ..terms import MAX_USES, Terms
from .verdicts import REASON_CHARS

MAX_ROWS = 40
"""More values than this in a call, and conditions are for its outermost ones."""
SHORT_LIST = 10
LIVES = {
    "": None,
    "1h": timedelta(hours=1),
    "8h": timedelta(hours=8),
    "1d": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
LIFE_WORDS = [
    ("", "as usual"),
    ("1h", "1 hour"),
    ("8h", "8 hours"),
    ("1d", "1 day"),
    ("7d", "7 days"),
    ("30d", "30 days"),
]
EQUALS, IN = ("equals", "is exactly"), ("in", "is one of")
ANYTHING = ("any", "may be anything")
OPERATORS = {
    "text": [
        EQUALS,
        ("in", "is one of, one a line"),
        ("starts with", "starts with"),
        ("length at most", "has at most so many characters"),
        ANYTHING,
    ],
    "number": [EQUALS, ("between", "is between"), IN, ANYTHING],
    "constant": [EQUALS, ANYTHING],
    "members": [("count at most", "has at most so many entries"), ANYTHING],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One value of a call that a condition may be about."""

    path: Path
    found: Any

    @property
    def kind(self) -> str:
        if isinstance(self.found, str):
            return "text"
        if isinstance(self.found, Decimal):
            return "number"
        return "members" if isinstance(self.found, (dict, list)) else "constant"

    @property
    def defaults(self) -> dict[str, str]:
        """Operator and value that mean this call; `low` for a number."""
        if self.kind == "members":
            return {"op": "count at most", "value": str(len(self.found))}
        if self.kind == "constant":
            return {"op": "equals", "value": ""}
        if isinstance(self.found, str):
            if len(self.found) > TEXT_CHARS:
                return {"op": "length at most", "value": str(len(self.found))}
            return {"op": "equals", "value": self.found}
        # An amount has a fraction; a whole number may be the name of something.
        is_amount = "." in str(self.found) and self.found >= 0
        op, low = ("between", "0") if is_amount else ("equals", "")
        return {"op": op, "value": str(self.found), "low": low}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgumentFields:
    """A row of the form: one value of the call, and what it must be."""

    name: str
    kind: str
    op: BoundField
    value: BoundField | None
    low: BoundField | None


class AlwaysForm(forms.Form):
    """Verdict and terms for calls like the card's; starts as this call and this run."""

    verdict = forms.ChoiceField(
        choices=[(Verdict.APPROVE, "Approve"), (Verdict.REJECT, "Reject")]
    )
    digest = forms.CharField(max_length=64)
    scope = forms.ChoiceField(choices=Rule.Scope.choices)
    match = forms.ChoiceField(choices=[("all", ""), ("none", ""), ("any", "")])
    life = forms.ChoiceField(choices=LIFE_WORDS, required=False)
    use_cap = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=MAX_USES,
        widget=forms.NumberInput(attrs={"placeholder": "no limit"}),
    )
    reason = forms.CharField(required=False, max_length=REASON_CHARS)

    def __init__(self, data: QueryDict | None = None, *, card: ApprovalRequest) -> None:
        self.arguments = arguments_of(card)
        super().__init__(_defaults(card, self.arguments) if data is None else data)
        for number, argument in enumerate(self.arguments):
            self.fields |= _fields(number, argument)

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        self.conditions = ANY
        match = given.get("match")
        if match == "none":
            self.conditions = NO_ARGUMENTS
        elif match == "all":
            self._read_conditions(given)
        return given

    def _read_conditions(self, given: Mapping[str, Any]) -> None:
        told = [
            _condition(argument, lambda part, n=n: given.get(f"{part}-{n}") or "")
            for n, argument in enumerate(self.arguments)
        ]
        try:
            text = {"match": "all", "of": tuple(told)}
            self.conditions = Conditions.model_validate(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            at = [step for step in first["loc"] if isinstance(step, int)]
            field = f"value-{at[0]}" if at and f"value-{at[0]}" in self.fields else None
            about = f"{self._name(at[0])}: " if at else ""
            self.add_error(field, f"{about}{_why(first)}")

    def _name(self, number: int) -> str:
        return inert.excerpt(spelled(self.arguments[number].path), 60)

    @property
    def rows(self) -> Iterator[ArgumentFields]:
        for number, argument in enumerate(self.arguments):
            value, low = f"value-{number}", f"low-{number}"
            yield ArgumentFields(
                name=self._name(number),
                kind=argument.kind,
                op=self[f"op-{number}"],
                value=self[value] if value in self.fields else None,
                low=self[low] if low in self.fields else None,
            )

    @property
    def problem(self) -> str:
        """The first thing that is wrong, in a sentence."""
        return next((str(errors[0]) for errors in self.errors.values()), "")

    @property
    def terms(self) -> Terms:
        given = self.cleaned_data
        return Terms(
            scope=Rule.Scope(given["scope"]),
            conditions=self.conditions,
            use_cap=given["use_cap"],
            life=LIVES[given["life"]],
        )


class RevokeForm(forms.Form):
    reason = forms.CharField(
        max_length=REASON_CHARS,
        error_messages={"required": "Say why; the Rule is still in force."},
    )


class RulesFilter(forms.Form):
    """What of the Rules is listed; what is not understood is left out."""

    q = forms.CharField(required=False, max_length=200)
    tool = forms.CharField(required=False, max_length=200)
    scope = forms.ChoiceField(
        choices=[("", "any scope"), *Rule.Scope.choices], required=False
    )
    state = forms.ChoiceField(
        choices=[("", "any state"), *RuleState.choices], required=False
    )


def arguments_of(card: ApprovalRequest) -> list[Argument]:
    """Return the values of a call that conditions may be about, if not too many."""
    values = values_of(str(card.call_data.get("arguments", ""))) or {}
    found = list(_leaves((), values))
    if len(found) > MAX_ROWS:
        found = [((name,), value) for name, value in values.items()]
    if len(found) > MAX_ROWS or any(_is_long(path) for path, _ in found):
        return []
    return [Argument(path=path, found=value) for path, value in found]


def _is_long(path: Path) -> bool:
    return any(isinstance(step, str) and len(step) > 200 for step in path)


def _leaves(path: tuple[str | int, ...], value: Any) -> Iterator[tuple[Path, Any]]:
    """Yield path and value of what holds no others; a long list is one value."""
    inside: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        inside = list(value.items())
    elif isinstance(value, list) and len(value) <= SHORT_LIST:
        inside = list(enumerate(value))
    if not inside and path:
        yield path, value
    for step, part in inside:
        yield from _leaves((*path, step), part)


def _defaults(card: ApprovalRequest, arguments: list[Argument]) -> dict[str, Any]:
    said = {"verdict": Verdict.APPROVE, "digest": card.digest, "scope": Rule.Scope.RUN}
    if arguments:
        said["match"] = "all"
    else:
        has_none = values_of(str(card.call_data.get("arguments", ""))) == {}
        said["match"] = "none" if has_none else "any"
    for number, argument in enumerate(arguments):
        said |= {f"{part}-{number}": text for part, text in argument.defaults.items()}
    return said


def _fields(number: int, argument: Argument) -> dict[str, forms.Field]:
    name = inert.excerpt(spelled(argument.path), 60)
    operators = OPERATORS[argument.kind]
    select = forms.Select(attrs={"aria-label": f"What {name} must be"})
    fields: dict[str, forms.Field] = {
        f"op-{number}": forms.ChoiceField(choices=operators, widget=select)
    }
    if argument.kind == "constant":
        return fields
    shown = {"aria-label": f"{name}: value", "autocomplete": "off"}
    widget = forms.Textarea(attrs={**shown, "rows": 1})
    if argument.kind != "text":
        widget = forms.TextInput(attrs={**shown, "inputmode": "decimal"})  # type: ignore[assignment]
    fields[f"value-{number}"] = forms.CharField(
        required=False, strip=False, max_length=TEXT_CHARS, widget=widget
    )
    if argument.kind == "number":
        low = {"aria-label": f"{name}: from", "inputmode": "decimal", "size": 8}
        fields[f"low-{number}"] = forms.CharField(
            required=False, max_length=100, widget=forms.TextInput(attrs=low)
        )
    return fields


def _condition(argument: Argument, given: Any) -> dict[str, Any]:
    """Return a condition as plain data; `given` is asked for op, value and low."""
    op, value = given("op"), given("value").replace("\r\n", "\n")
    told: dict[str, Any] = {"op": op, "path": argument.path}
    if op == "equals":
        told["value"] = _exactly(argument, value)
    elif op == "in":
        told["values"] = tuple(
            _tagged(argument, one) for one in _several(argument, value)
        )
    elif op == "between":
        told |= {"low": given("low").strip() or None, "high": value.strip() or None}
    elif op == "starts with":
        told["prefix"] = value
    elif op in ("length at most", "count at most"):
        told["limit"] = int(value) if re.fullmatch(r"[0-9]{1,9}", value.strip()) else ""
    return told


def _exactly(argument: Argument, value: str) -> dict[str, Any]:
    """Return the typed value, or the call's own where only line ends may differ."""
    if argument.kind == "constant":
        return {"constant": argument.found}
    if argument.kind == "text" and argument.found.replace("\r\n", "\n") == value:
        return {"text": argument.found}
    return _tagged(argument, value)


def _tagged(argument: Argument, value: str) -> dict[str, Any]:
    return {"text": value} if argument.kind == "text" else {"number": value.strip()}


def _several(argument: Argument, value: str) -> list[str]:
    if argument.kind == "text":
        return [line for line in value.split("\n") if line]
    return re.split(r"[,\s]+", value.strip())


def _why(error: Any) -> str:
    if error["type"] == "value_error":
        return f"{error['ctx']['error']}."
    if error["type"] == "string_pattern_mismatch":
        return "write a number, as 50 or 49.90."
    if error["type"] in ("int_type", "int_parsing", "too_short", "string_too_short"):
        return "write a value."
    return f"{error['msg']}."
