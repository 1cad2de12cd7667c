"""What an agent's answer must be: a type, its JSON schema, and its check."""

from __future__ import annotations

import abc
import functools
from typing import Any, Protocol, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from typing_extensions import TypedDict

from .digest import JSONObject
from .errors import ModelBehaviorError, UserError
from .tools.faults import faults_of
from .tools.strict_schema import ensure_strict_json_schema

WRAPPER_KEY = "response"
"""The only key of the object around an answer that is no object itself."""


class AgentOutputSchemaBase(abc.ABC):
    """What the answer of an agent must be; subclass it for checks of your own."""

    @abc.abstractmethod
    def is_plain_text(self) -> bool:
        """Say whether the answer is any text, with no schema."""

    @abc.abstractmethod
    def name(self) -> str:
        """Return the name of the type."""

    @abc.abstractmethod
    def json_schema(self) -> JSONObject:
        """Return the schema the model is given; never asked of plain text."""

    @abc.abstractmethod
    def is_strict_json_schema(self) -> bool:
        """Say whether the server is to hold the model to the schema."""

    @abc.abstractmethod
    def validate_json(self, json_str: str) -> Any:
        """Return the value that the model's text holds.

        Raises ModelBehaviorError when it does not fit.
        """


class AgentOutputSchema(AgentOutputSchemaBase):
    """The schema of a Python type, as pydantic sees it.

    A type whose JSON is no object is asked for within one, under `response`.
    """

    def __init__(self, output_type: Any, strict_json_schema: bool = True) -> None:
        """Raise UserError for a type without a schema, or without a strict one."""
        self.output_type = output_type
        self._strict = strict_json_schema
        self._is_wrapped = not (self.is_plain_text() or _is_object_type(output_type))
        asked = _wrapping(output_type) if self._is_wrapped else output_type
        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(asked)
            self._schema = self._adapter.json_schema()
        except (PydanticUserError, NameError) as error:
            raise UserError(
                f"The output type {self.name()} has no JSON schema; "
                f"use a type that pydantic knows. {error}"
            ) from error
        if strict_json_schema and not self.is_plain_text():
            self._schema = self._strictly(self._schema)

    def is_plain_text(self) -> bool:
        """Say whether the answer is any text, with no schema."""
        return self.output_type is None or self.output_type is str

    def is_strict_json_schema(self) -> bool:
        """Say whether the server is to hold the model to the schema."""
        return self._strict

    def name(self) -> str:
        """Return the type as it is written: `Order`, `list[int]`."""
        return _written(self.output_type)

    def json_schema(self) -> JSONObject:
        """Return the schema the model is given. Raises UserError for plain text."""
        if self.is_plain_text():
            raise UserError("An answer in plain text has no JSON schema.")
        return self._schema

    def validate_json(self, json_str: str) -> Any:
        """Return the value that `json_str` holds.

        In strict mode no value is converted: "3" is no number.
        Raises ModelBehaviorError, which says what does not fit.
        """
        try:
            value = self._adapter.validate_json(
                json_str, strict=True if self._strict else None
            )
        except ValidationError as error:
            faults = faults_of(error, root="answer")
            raise ModelBehaviorError(
                f"The answer does not fit {self.name()}: {faults}."
            ) from error
        except UnicodeEncodeError as error:
            raise ModelBehaviorError("The answer holds a lone surrogate.") from error
        return value[WRAPPER_KEY] if self._is_wrapped else value

    def dump_json(self, value: Any) -> str:
        """Return `value` as the JSON text that the model would have written for it."""
        wrapped = {WRAPPER_KEY: value} if self._is_wrapped else value
        return self._adapter.dump_json(wrapped).decode()

    def _strictly(self, schema: JSONObject) -> JSONObject:
        try:
            return ensure_strict_json_schema(schema)
        except UserError as error:
            raise UserError(
                f"The output type {self.name()} has no strict schema: {error} Or give "
                f"the agent AgentOutputSchema({self.name()}, strict_json_schema=False)."
            ) from error


class HasOutputType(Protocol):
    """An agent, as far as its answer goes."""

    output_type: Any


def output_schema_of(agent: HasOutputType) -> AgentOutputSchemaBase | None:
    """Return what `agent`'s answer must be; None for plain text.

    Raises UserError for an output type that has no (strict) schema.
    """
    kind = agent.output_type
    if kind is None or kind is str:
        return None
    if isinstance(kind, AgentOutputSchemaBase):
        return kind
    try:
        # With its text: `int | str` and `str | int` are equal, their schemas are not.
        return _made(kind, str(kind))
    except TypeError:  # a type that cannot be a key
        return AgentOutputSchema(kind)


@functools.lru_cache(maxsize=256)
def _made(kind: Any, text: str) -> AgentOutputSchema:
    # 0.2 to 0.4 ms, which every turn of every run would spend anew.
    return AgentOutputSchema(kind)


def _wrapping(kind: Any) -> Any:
    # Its name is the schema's title, and pydantic reads it at run time only.
    make: Any = TypedDict
    return make("OutputType", {WRAPPER_KEY: kind})


def _is_object_type(kind: Any) -> bool:
    """Say whether the type's JSON is an object for sure."""
    origin = get_origin(kind) or kind
    return isinstance(origin, type) and issubclass(origin, BaseModel | dict)


def _written(kind: Any) -> str:
    origin, args = get_origin(kind), get_args(kind)
    if origin is None:
        return str(getattr(kind, "__name__", repr(kind)))
    if not args:
        return str(kind)
    inside = ", ".join(map(_written, args))
    return f"{getattr(origin, '__name__', str(origin))}[{inside}]"
