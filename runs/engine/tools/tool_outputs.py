"""What a tool gives back, and the form in which the model reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, NotRequired, Self, TypeAlias

from pydantic import BaseModel, TypeAdapter, ValidationError, model_validator
from pydantic.errors import PydanticUserError
from typing_extensions import TypedDict

from ..digest import JSONObject
from ..errors import UserError
from .strict_schema import ensure_strict_json_schema

EncodedOutput: TypeAlias = str | list[JSONObject]
"""The `output` of a `function_call_output` item: a text, or content parts."""


class ToolOutputText(BaseModel):
    """A text for the model."""

    type: Literal["text"] = "text"
    text: str


class ToolOutputTextDict(TypedDict, total=False):
    """A ToolOutputText as a dict."""

    type: Literal["text"]
    text: str


class ToolOutputImage(BaseModel):
    """An image for the model: the URL (also a data URL) or the id of an upload."""

    type: Literal["image"] = "image"
    image_url: str | None = None
    file_id: str | None = None
    detail: Literal["low", "high", "auto"] | None = None

    @model_validator(mode="after")
    def _has_content(self) -> Self:
        if self.image_url is None and self.file_id is None:
            raise ValueError("An image needs an image_url or a file_id.")
        return self


class ToolOutputImageDict(TypedDict, total=False):
    """A ToolOutputImage as a dict."""

    type: Literal["image"]
    image_url: NotRequired[str]
    file_id: NotRequired[str]
    detail: NotRequired[Literal["low", "high", "auto"]]


class ToolOutputFileContent(BaseModel):
    """A file for the model: its content, its URL or the id of an upload."""

    type: Literal["file"] = "file"
    file_data: str | None = None
    """The content, in base64."""
    file_url: str | None = None
    file_id: str | None = None
    filename: str | None = None

    @model_validator(mode="after")
    def _has_content(self) -> Self:
        if self.file_data is None and self.file_url is None and self.file_id is None:
            raise ValueError("A file needs file_data, a file_url or a file_id.")
        return self


class ToolOutputFileContentDict(TypedDict, total=False):
    """A ToolOutputFileContent as a dict."""

    type: Literal["file"]
    file_data: NotRequired[str]
    file_url: NotRequired[str]
    file_id: NotRequired[str]
    filename: NotRequired[str]


_Part: TypeAlias = ToolOutputText | ToolOutputImage | ToolOutputFileContent
_PARTS: TypeAdapter[_Part] = TypeAdapter(_Part)
_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)


def encode_output(value: Any) -> EncodedOutput:
    """Return what the model is sent for `value`, which a tool returned.

    Text, image and file outputs (or their dicts), alone or in a list or tuple of only
    such, become content parts; anything else its `str()`.
    """
    if isinstance(value, str):
        return _wellformed(str.__str__(value))
    parts = _parts(value)
    return parts if parts is not None else _wellformed(str(value))


def encode_json_output(value: Any, adapter: TypeAdapter[Any] | None) -> str:
    """Return `value`, of the adapter's type, as compact JSON text: an object.

    Without an adapter a text must hold JSON, and anything that pydantic can write is
    taken. Raises ValueError when that gives no object.
    """
    if adapter is not None:
        plain = adapter.dump_python(value, mode="json", by_alias=True)
    elif isinstance(value, str):
        plain = json.loads(value)
    else:
        plain = _ANYTHING.dump_python(value, mode="json")
    if not isinstance(plain, Mapping):
        raise ValueError(f"The output is {type(plain).__name__}, not a JSON object.")
    text = json.dumps(dict(plain), ensure_ascii=False, separators=(",", ":"))
    return _wellformed(text)


def output_type_of(
    tool: str, kind: Any, schema: JSONObject | None
) -> tuple[JSONObject, TypeAdapter[Any] | None]:
    """Return the strict schema of a tool's output, and what checks it.

    `kind` is the output's type; without one, `schema` is made strict.
    Raises UserError when that is no JSON object with keys of known names.
    """
    try:
        adapter = None if kind is None else TypeAdapter(kind)
        given = adapter.json_schema(mode="serialization") if adapter else schema
        strict = ensure_strict_json_schema(given or {"type": "null"})
    except (PydanticUserError, NameError, UserError) as error:
        raise UserError(
            f"Tool {tool!r}: its output has no strict schema. {error}"
        ) from error
    if strict.get("type") != "object":
        raise UserError(
            f"Tool {tool!r}: its output must be a JSON object; use a pydantic model, "
            "a dataclass or a TypedDict as output_type, or give an output_json_schema."
        )
    return strict, adapter


def _parts(value: Any) -> list[JSONObject] | None:
    """Return `value` as content parts; None when it, or one of its items, is none."""
    if not isinstance(value, list | tuple):
        part = _part(value)
        return None if part is None else [part]
    parts = [part for part in map(_part, value) if part is not None]
    return parts if parts and len(parts) == len(value) else None


def _part(value: Any) -> JSONObject | None:
    if isinstance(value, dict) and "type" in value:
        try:
            value = _PARTS.validate_python(value)
        except ValidationError:
            return None
    if not isinstance(value, ToolOutputText | ToolOutputImage | ToolOutputFileContent):
        return None
    content = value.model_dump(mode="json", exclude={"type"}, exclude_none=True)
    return {"type": f"input_{value.type}", **content}


def _wellformed(text: str) -> str:
    """Return `text` without lone surrogates, which no UTF-8 holds (odd file names)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return text
