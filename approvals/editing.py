"""A form made of a tool's JSON schema: each argument a field, and back to one text.

What is not touched keeps the spelling the model gave it. Text that holds what cannot be
seen is edited as JSON with escapes: a field shows no chips.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from runs import codec, inert
from runs.engine.digest import JSONObject, MalformedArguments, parse_arguments

from .models import ApprovalRequest

PREFIX = "arg-"
"""Before an argument's name, in what is posted."""
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_SPACE = " \t\r\n"
_decoder = json.JSONDecoder()


class Kind(StrEnum):
    TEXT = "text"
    NUMBER = "number"
    CHOICE = "choice"
    """One of a few values, yes and no among them."""
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """An argument of a call, as a field."""

    name: str
    kind: Kind
    shown: str
    """What the field holds before anything is typed."""
    token: str
    """The value as the call has it, JSON; empty when it has none."""
    required: bool
    choices: tuple[tuple[str, str], ...] = ()
    """Of a choice: each value as JSON, and as a person reads it."""
    help: str = ""

    @property
    def field(self) -> str:
        return f"{PREFIX}{self.name}"

    def token_of(self, typed: str) -> str:
        """Return what was typed as JSON; empty leaves the argument out.

        Raises ValueError with a sentence for the person who typed it.
        """
        typed = typed.replace("\r\n", "\n").replace("\r", "\n")
        if typed == self.shown:
            return self.token
        return _TOKEN_OF[self.kind](self, typed)


def arguments_of(request: ApprovalRequest) -> list[Argument]:
    """Return the arguments a person may change: the schema's, and others in the call.

    Others only where the schema takes them: what it does not take is left out.
    """
    schema: JSONObject = codec.loads(request.parameters)
    given = values_in(request.call_arguments)
    known: Mapping[str, Any] = schema.get("properties") or {}
    required = set(schema.get("required") or ())
    takes_others = schema.get("additionalProperties", True) is not False
    others = [name for name in given if name not in known] if takes_others else []
    fields = [
        _argument(name, _resolved(part, schema), given.get(name, ""), name in required)
        for name, part in known.items()
    ]
    return fields + [_argument(name, {}, given[name], False) for name in others]


def values_in(text: str) -> dict[str, str]:
    """Return each value of a call's arguments as it is spelled; {} where malformed."""
    try:
        parse_arguments(text)
    except MalformedArguments:
        return {}
    return dict(_pairs(text))


def written_as(tokens: Mapping[str, str]) -> str:
    """Return the arguments of these values, each in its own spelling."""
    pairs = (f"{json.dumps(name)}: {token}" for name, token in tokens.items() if token)
    return f"{{{', '.join(pairs)}}}"


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the spelling of each value in sound JSON of an object."""
    at = text.index("{") + 1
    while True:
        at = _next(text, at)
        if text[at] == "}":
            return
        if text[at] == ",":
            at = _next(text, at + 1)
        name, at = _decoder.raw_decode(text, at)
        start = _next(text, text.index(":", at) + 1)
        _, at = _decoder.raw_decode(text, start)
        yield name, text[start:at]


def _next(text: str, at: int) -> int:
    while text[at] in _SPACE:
        at += 1
    return at


def _resolved(part: Any, schema: JSONObject) -> JSONObject:
    """Return a parameter's own schema, through a reference to a definition."""
    if not isinstance(part, dict):
        return {}
    name = str(part.get("$ref", "")).removeprefix("#/$defs/")
    found = (schema.get("$defs") or {}).get(name)
    return {**found, **part} if isinstance(found, dict) else part


def _argument(name: str, part: JSONObject, token: str, required: bool) -> Argument:
    kind = _kind(part, token, required)
    choices = _choices(part) if kind is Kind.CHOICE else ()
    described = part.get("description")
    return Argument(
        name=name,
        kind=kind,
        shown=_shown(kind, token),
        token=token,
        required=required,
        choices=choices,
        help=described if isinstance(described, str) else "",
    )


def _kind(part: JSONObject, token: str, required: bool) -> Kind:
    """Return how a value is typed; as JSON where no field of its own can hold it."""
    if not required:
        return Kind.JSON  # only there nothing at all can be said
    held = json.loads(token) if token else None
    if (choices := _choices(part)) and (not token or _has(choices, token)):
        return Kind.CHOICE
    if part.get("type") in ("number", "integer") and _is_number(held, token):
        return Kind.NUMBER
    if part.get("type") == "string" and (not token or _is_plain(held)):
        return Kind.TEXT
    return Kind.JSON


def _choices(part: JSONObject) -> tuple[tuple[str, str], ...]:
    if part.get("type") == "boolean":
        return (("true", "yes"), ("false", "no"))
    values = part.get("enum")
    if not isinstance(values, list) or any(isinstance(v, dict | list) for v in values):
        return ()
    return tuple((codec.dumps(value), _word(value)) for value in values)


def _word(value: Any) -> str:
    return value if isinstance(value, str) else codec.dumps(value)


def _has(choices: tuple[tuple[str, str], ...], token: str) -> bool:
    return codec.dumps(json.loads(token)) in [value for value, _ in choices]


def _is_number(held: Any, token: str) -> bool:
    return not token or (isinstance(held, int | float) and not isinstance(held, bool))


def _is_plain(held: Any) -> bool:
    """Say whether a field holds the text, and shows all of it."""
    if not isinstance(held, str) or "\r" in held or "\0" in held:
        return False
    return inert.count_warnings(held) == 0


def _shown(kind: Kind, token: str) -> str:
    if not token:
        return ""
    if kind is Kind.TEXT:
        return str(json.loads(token))
    if kind is Kind.CHOICE:
        return codec.dumps(json.loads(token))
    return _visible(token)


def _visible(token: str) -> str:
    """Return sound JSON with escapes for all that may not be seen as what it is."""
    if inert.count_warnings(token) == 0:
        return token
    return "".join(one if one.isascii() else codec.dumps(one)[1:-1] for one in token)


def _text_token(argument: Argument, typed: str) -> str:
    return json.dumps(typed, ensure_ascii=False)


def _number_token(argument: Argument, typed: str) -> str:
    typed = typed.strip()
    if not _NUMBER.fullmatch(typed):
        raise ValueError("Write a number, as 480 or 12.50.")
    return _one_value(typed)


def _choice_token(argument: Argument, typed: str) -> str:
    if typed not in [value for value, _ in argument.choices]:
        raise ValueError("Choose one of the values.")
    return typed


def _json_token(argument: Argument, typed: str) -> str:
    typed = typed.strip()
    if not typed and not argument.required:
        return ""
    return _one_value(typed)


def _one_value(typed: str) -> str:
    """Return `typed`, if it is exactly one JSON value to every reader."""
    try:
        read = parse_arguments(f'{{"value": {typed}}}')
    except MalformedArguments as error:
        told = str(error).replace("The arguments are not JSON", "This is not JSON")
        raise ValueError(f"{told.rstrip('.')}.") from error
    if list(read) != ["value"]:
        raise ValueError("This is more than one JSON value.")
    return typed


_TOKEN_OF = {
    Kind.TEXT: _text_token,
    Kind.NUMBER: _number_token,
    Kind.CHOICE: _choice_token,
    Kind.JSON: _json_token,
}
