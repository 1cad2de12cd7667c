"""What a standing Rule says of a call's arguments: a small, closed language.

A condition names one value by its path and says what it may be. Two Rules that look
alike are not: one for *any* arguments, and one for calls with *none*.

In doubt a person is asked. So nothing here raises on a call's arguments, whatever they
are. A path that is not there is not covered, nor is a value that no condition names, or
a number that some readers round. Text is compared as it is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from runs import codec, inert
from runs.engine.digest import (
    MAX_SAFE_INTEGER,
    MalformedArguments,
    parse_arguments,
)

MAX_CONDITIONS = 50
MAX_VALUES = 50
TEXT_CHARS = 4_000
SHOWN_CHARS = 60

NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?$"
Step: TypeAlias = (
    Annotated[str, Field(max_length=200)] | Annotated[int, Field(ge=0, le=100_000)]
)
Path: TypeAlias = Annotated[tuple[Step, ...], Field(min_length=1, max_length=64)]
Digits: TypeAlias = Annotated[str, Field(pattern=NUMBER, max_length=100)]
Count: TypeAlias = Annotated[int, Field(ge=0, le=1_000_000)]


class ConditionsError(ValueError):
    """A text that is no conditions; says where it goes wrong."""


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Text(_Strict):
    text: Annotated[str, Field(max_length=TEXT_CHARS)]

    def is_met_by(self, found: Any) -> bool:
        return isinstance(found, str) and found == self.text

    def __str__(self) -> str:
        return f"“{inert.excerpt(self.text, SHOWN_CHARS)}”"


class Number(_Strict):
    number: Digits

    def is_met_by(self, found: Any) -> bool:
        return isinstance(found, Decimal) and found == Decimal(self.number)

    def __str__(self) -> str:
        return self.number


class Constant(_Strict):
    """True, false or null."""

    constant: bool | None

    def is_met_by(self, found: Any) -> bool:
        return found is self.constant

    def __str__(self) -> str:
        return codec.dumps(self.constant)


Value: TypeAlias = Text | Number | Constant


class _AboutPath(_Strict):
    path: Path

    @property
    def name(self) -> str:
        """The path as a person reads it: `items[0].sku`."""
        return inert.excerpt(spelled(self.path), SHOWN_CHARS)


class Equals(_AboutPath):
    op: Literal["equals"] = "equals"
    value: Value

    def is_met_by(self, found: Any) -> bool:
        return self.value.is_met_by(found)

    def __str__(self) -> str:
        return f"{self.name} = {self.value}"


class In(_AboutPath):
    op: Literal["in"] = "in"
    values: Annotated[tuple[Value, ...], Field(min_length=1, max_length=MAX_VALUES)]

    def is_met_by(self, found: Any) -> bool:
        return any(value.is_met_by(found) for value in self.values)

    def __str__(self) -> str:
        return f"{self.name} is one of {', '.join(map(str, self.values))}"


class Between(_AboutPath):
    """A number from `low` to `high`, both included; one of them may be left out."""

    op: Literal["between"] = "between"
    low: Digits | None = None
    high: Digits | None = None

    @model_validator(mode="after")
    def has_room(self) -> Between:
        if self.low is None and self.high is None:
            raise ValueError("between needs a lowest or a highest number")
        low, high = self.low or self.high, self.high or self.low
        if low is not None and high is not None and Decimal(low) > Decimal(high):
            raise ValueError("the lowest number is above the highest")
        return self

    def is_met_by(self, found: Any) -> bool:
        if not isinstance(found, Decimal):
            return False
        above = self.low is None or found >= Decimal(self.low)
        return above and (self.high is None or found <= Decimal(self.high))

    def __str__(self) -> str:
        if self.low is None:
            return f"{self.name} ≤ {self.high}"
        if self.high is None:
            return f"{self.name} ≥ {self.low}"
        return f"{self.low} ≤ {self.name} ≤ {self.high}"


class StartsWith(_AboutPath):
    op: Literal["starts with"] = "starts with"
    prefix: Annotated[str, Field(min_length=1, max_length=TEXT_CHARS)]

    def is_met_by(self, found: Any) -> bool:
        return isinstance(found, str) and found.startswith(self.prefix)

    def __str__(self) -> str:
        return f"{self.name} starts with “{inert.excerpt(self.prefix, SHOWN_CHARS)}”"


class LengthAtMost(_AboutPath):
    """A text of at most `limit` code points."""

    op: Literal["length at most"] = "length at most"
    limit: Count

    def is_met_by(self, found: Any) -> bool:
        return isinstance(found, str) and len(found) <= self.limit

    def __str__(self) -> str:
        return f"{self.name} has at most {self.limit} characters"


class CountAtMost(_AboutPath):
    """A list or object of at most `limit` members, whatever they are."""

    op: Literal["count at most"] = "count at most"
    limit: Count

    def is_met_by(self, found: Any) -> bool:
        return isinstance(found, (list, dict)) and len(found) <= self.limit

    def __str__(self) -> str:
        return f"{self.name} has at most {self.limit} entries"


class Anything(_AboutPath):
    """Any value, but there must be one."""

    op: Literal["any"] = "any"

    def is_met_by(self, found: Any) -> bool:
        return True

    def __str__(self) -> str:
        return f"any {self.name}"


Condition: TypeAlias = Annotated[
    Equals | In | Between | StartsWith | LengthAtMost | CountAtMost | Anything,
    Field(discriminator="op"),
]


class Conditions(_Strict):
    """What all arguments of a call must be, for a Rule to cover it."""

    match: Literal["any", "none", "all"]
    """Any arguments; no arguments at all; all of the conditions in `of`."""
    of: Annotated[tuple[Condition, ...], Field(max_length=MAX_CONDITIONS)] = ()

    @model_validator(mode="after")
    def says_one_thing(self) -> Conditions:
        if (self.match == "all") != bool(self.of):
            raise ValueError("only “all” has conditions, and it has at least one")
        return self

    @property
    def words(self) -> list[str]:
        """Each condition as a person reads it; the text in them is inert."""
        if self.match != "all":
            return [f"{'with any' if self.match == 'any' else 'without'} arguments"]
        return [str(condition) for condition in self.of]


ANY = Conditions(match="any")
NO_ARGUMENTS = Conditions(match="none")


def parse(text: str) -> Conditions:
    """Return the conditions that `text` holds. Raises ConditionsError."""
    try:
        parse_arguments(text)
        return Conditions.model_validate_json(text)
    except MalformedArguments as error:
        told = str(error).replace("The arguments", "The conditions")
        raise ConditionsError(told) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(step) for step in first["loc"]) or "conditions"
        raise ConditionsError(f"{place}: {first['msg']}.") from None


def dump(conditions: Conditions) -> str:
    """Return the conditions as the text that `parse` reads."""
    return codec.dumps(conditions.model_dump(mode="json"))


def covers(conditions: Conditions, arguments: str) -> bool:
    """Say whether a call with these `arguments`, as the model wrote them, is meant."""
    values = values_of(arguments)
    if values is None:
        return False
    if conditions.match == "any":
        return True
    if conditions.match == "none":
        return not values
    named = {condition.path for condition in conditions.of}
    return _all_hold(conditions.of, values) and _all_named(values, named)


def values_of(arguments: str) -> dict[str, Any] | None:
    """Return a call's arguments, numbers as decimals; None where readers may differ."""
    try:
        parse_arguments(arguments)
        found = json.loads(arguments, parse_int=_exact_integer, parse_float=_exact)
    except (ArithmeticError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def spelled(path: Path) -> str:
    """Return a path as it is written in the table of arguments.

    A name that would read as another path stands in quotes.
    """
    return "".join(map(_spelled, path)).removeprefix(".")


def _spelled(step: Step) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    is_plain = step and not set(step) & set('.[]"')
    return f".{step}" if is_plain else f"[{json.dumps(step, ensure_ascii=False)}]"


def _all_hold(conditions: tuple[Condition, ...], values: dict[str, Any]) -> bool:
    for condition in conditions:
        found = list(_at(values, condition.path))
        if not found or not condition.is_met_by(found[0]):
            return False
    return True


def _at(value: Any, path: Path) -> Iterator[Any]:
    """Yield the value at `path`, if there is one: null is one too."""
    for step in path:
        if isinstance(step, str):
            if not isinstance(value, dict) or step not in value:
                return
        elif not isinstance(value, list) or step >= len(value):
            return
        value = value[step]
    yield value


def _all_named(values: dict[str, Any], named: set[Path]) -> bool:
    """Say whether each value stands at or below a path that a condition names.

    A Rule must not reach further than its words: what they do not name was not there
    when a person judged the call.
    """
    waiting: list[tuple[Path, Any]] = [((), values)]
    while waiting:
        path, value = waiting.pop()
        if path in named:
            continue
        inside = _members(value)
        if not inside:
            return False
        waiting.extend(((*path, step), part) for step, part in inside)
    return True


def _members(value: Any) -> list[tuple[str | int, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []


def _exact_integer(digits: str) -> Decimal:
    value = Decimal(digits)
    if abs(value) > MAX_SAFE_INTEGER:
        raise ValueError("Some readers round this integer.")
    return value


def _exact(digits: str) -> Decimal:
    value = Decimal(digits)
    if Decimal(repr(float(digits))) != value:
        raise ValueError("Some readers round this fraction.")
    return value
