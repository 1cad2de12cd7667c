"""From the JSON body of a delivery to the text an agent is given."""

from __future__ import annotations

from typing import Any

from django.template import Context, Engine, Template, TemplateSyntaxError

from .. import codec
from ..engine.digest import MalformedArguments, parse_arguments


class MappingError(Exception):
    """A body cannot be made into an input; str() says why."""


class _Object(dict[str, Any]):
    """A JSON object that a template prints as JSON, not as Python."""

    def __str__(self) -> str:
        return codec.dumps(self)


class _List(list[Any]):
    """A JSON list that a template prints as JSON, not as Python."""

    def __str__(self) -> str:
        return codec.dumps(self)


class _Missing(str):
    """What a template finds where the body has nothing: an error.

    Left empty, `order-{{ body.order.id }}` would name one conversation for every order
    without an id. Django formats `string_if_invalid` with the variable's name when it
    holds %s; `{% if %}` and `{% for %}` never ask for it.
    """

    def __mod__(self, variable: Any) -> str:
        raise MappingError(
            f"The source's template uses {variable}, which the body does not have; "
            f"guard what is optional: {{% if {variable} %}}…{{% endif %}}."
        )


# No loaders and no libraries: a template reads the body and nothing else.
_engine = Engine(autoescape=False, loaders=[], string_if_invalid=_Missing("%s"))


def parse_body(body: bytes) -> dict[str, Any]:
    """Return the JSON object in `body`. Raises MappingError when it is none."""
    try:
        return parse_arguments(body.decode("utf-8"))
    except (UnicodeDecodeError, MalformedArguments) as error:
        raise MappingError(
            "The body must be a JSON object in UTF-8, without duplicate keys, NaN or "
            "lone surrogates."
        ) from error


def compile_template(source: str) -> Template:
    """Return the template. Raises MappingError when its syntax is wrong."""
    try:
        return _engine.from_string(source)
    except TemplateSyntaxError as error:
        raise MappingError(f"The template is wrong: {error}") from error


def fill(template: str, body: dict[str, Any]) -> str:
    """Return `template` with `body` filled in, without spaces around it.

    Raises MappingError when the template is wrong or needs what the body has not.
    """
    context = Context(
        {"body": _printable(body)}, autoescape=False, use_l10n=False, use_tz=False
    )
    compiled = compile_template(template)
    try:
        return compiled.render(context).strip()
    except MappingError:
        raise
    except Exception as error:
        raise MappingError(
            f"The source's template failed: {type(error).__name__}: {error}"
        ) from error


def _printable(value: Any) -> Any:
    if isinstance(value, dict):
        return _Object({key: _printable(part) for key, part in value.items()})
    if isinstance(value, list):
        return _List(_printable(part) for part in value)
    return value
