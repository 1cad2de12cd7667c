"""Contexts as JSON, for states that outlive the process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from ..digest import JSONObject
from ..errors import UserError

T = TypeVar("T")


class ContextSerializer(Generic[T]):
    """Writes contexts of one type as JSON, and reads them back as that type.

        contexts = ContextSerializer(Customer)
        text = state.to_string(context_serializer=contexts.serialize)
        state = await RunState.from_string(
            agent, text, context_deserializer=contexts.deserialize
        )

    The type is a dataclass, a pydantic model, a TypedDict: what pydantic knows to
    write as a JSON object.
    """

    def __init__(self, kind: type[T]) -> None:
        self._adapter = TypeAdapter(kind)
        self._name = getattr(kind, "__name__", repr(kind))

    def serialize(self, context: T) -> JSONObject:
        """Return the context as a JSON object. Raises UserError when it is none."""
        try:
            # A context of another type would be read back as something it was not.
            self._adapter.validate_python(context, strict=True)
            written = self._adapter.dump_python(context, mode="json")
        except ValueError as error:
            raise UserError(f"The context is no {self._name}: {error}") from error
        if not isinstance(written, Mapping):
            raise UserError(
                f"A context is written as a JSON object; {self._name} gives "
                f"{type(written).__name__}."
            )
        return dict(written)

    def deserialize(self, data: Mapping[str, Any]) -> T:
        """Return the context of `serialize`. Raises UserError when it does not fit."""
        try:
            return self._adapter.validate_python(dict(data))
        except ValidationError as error:
            raise UserError(
                f"The state's context does not fit {self._name}: {error}"
            ) from error
