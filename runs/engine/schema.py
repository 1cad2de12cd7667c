"""From a function's signature and docstring to a tool's name and parameter schema."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import docstring_parser
from pydantic import BaseModel, ConfigDict, create_model
from pydantic.errors import PydanticSchemaGenerationError
from pydantic.fields import FieldInfo

from .context import RunContextWrapper
from .digest import JSONObject
from .errors import UserError
from .strict_schema import ensure_strict_json_schema

DocstringStyle = Literal["google", "numpy", "sphinx"]

_STYLES = {
    "google": docstring_parser.DocstringStyle.GOOGLE,
    "numpy": docstring_parser.DocstringStyle.NUMPYDOC,
    "sphinx": docstring_parser.DocstringStyle.REST,
}
_EMPTY = inspect.Parameter.empty


@dataclass(frozen=True)
class FuncDocumentation:
    """What a docstring says."""

    name: str
    description: str | None
    param_descriptions: dict[str, str]


@dataclass(frozen=True)
class FuncSchema:
    """A function as a tool: what the model is told, and how its answer is called."""

    name: str
    description: str | None
    params_pydantic_model: type[BaseModel]
    params_json_schema: JSONObject
    signature: inspect.Signature
    takes_context: bool
    """True when the first parameter is the run's context, which no model sees."""
    strict_json_schema: bool

    def to_call_args(self, data: BaseModel) -> tuple[list[Any], dict[str, Any]]:
        """Return the positional and keyword arguments that `data` stands for."""
        positional: list[Any] = []
        keywords: dict[str, Any] = {}
        after_star = False
        for name, parameter in self._parameters():
            value = getattr(data, name)
            if parameter.kind is parameter.VAR_POSITIONAL:
                positional.extend(value or [])
                after_star = True
            elif parameter.kind is parameter.VAR_KEYWORD:
                keywords.update(value or {})
            elif parameter.kind is parameter.KEYWORD_ONLY or after_star:
                keywords[name] = value
            else:
                positional.append(value)
        return positional, keywords

    def _parameters(self) -> list[tuple[str, inspect.Parameter]]:
        found = list(self.signature.parameters.items())
        return found[1:] if self.takes_context else found


def generate_func_documentation(
    func: Callable[..., Any], style: DocstringStyle | None = None
) -> FuncDocumentation:
    """Return what `func`'s docstring says; None for `style` finds the style out."""
    parsed = docstring_parser.parse(
        inspect.getdoc(func) or "",
        _STYLES[style] if style else docstring_parser.DocstringStyle.AUTO,
    )
    parts = (parsed.short_description, parsed.long_description)
    return FuncDocumentation(
        name=func.__name__,
        description="\n\n".join(part for part in parts if part) or None,
        param_descriptions={
            param.arg_name.lstrip("*"): param.description
            for param in parsed.params
            if param.description
        },
    )


def function_schema(
    func: Callable[..., Any],
    docstring_style: DocstringStyle | None = None,
    name_override: str | None = None,
    description_override: str | None = None,
    use_docstring_info: bool = True,
    strict_json_schema: bool = True,
) -> FuncSchema:
    """Return the schema of `func` from its type hints and docstring.

    A first parameter annotated with RunContextWrapper or ToolContext is the context.
    Raises UserError when a parameter's type has no JSON schema, or a context stands
    anywhere but first.
    """
    documented = (
        generate_func_documentation(func, docstring_style)
        if use_docstring_info
        else FuncDocumentation(func.__name__, None, {})
    )
    name = name_override or func.__name__
    signature = inspect.signature(func)
    hints = get_type_hints(func, include_extras=True)
    takes_context = _takes_context(func, signature, hints)
    fields = {
        parameter.name: _field(
            parameter, hints, documented.param_descriptions.get(parameter.name)
        )
        for parameter in list(signature.parameters.values())[takes_context:]
    }
    model, schema = _model_of(name, fields)
    if strict_json_schema:
        schema = ensure_strict_json_schema(schema)
    return FuncSchema(
        name=name,
        description=description_override or documented.description,
        params_pydantic_model=model,
        params_json_schema=schema,
        signature=signature,
        takes_context=takes_context,
        strict_json_schema=strict_json_schema,
    )


def _model_of(name: str, fields: dict[str, Any]) -> tuple[type[BaseModel], JSONObject]:
    try:
        model = create_model(
            f"{name}_args", __config__=ConfigDict(extra="forbid"), **fields
        )
        schema: JSONObject = model.model_json_schema()
    except PydanticSchemaGenerationError as error:
        raise UserError(
            f"Tool {name!r} has a parameter whose type has no JSON schema; "
            f"use types that pydantic knows. {error}"
        ) from error
    schema["additionalProperties"] = False
    return model, schema


def _takes_context(
    func: Callable[..., Any], signature: inspect.Signature, hints: dict[str, Any]
) -> bool:
    names = list(signature.parameters)
    for name in names[1:]:
        if _is_context(hints.get(name)):
            raise UserError(
                f"Tool {func.__name__!r} takes its context as {name!r}; "
                "the context must be the first parameter."
            )
    return bool(names) and _is_context(hints.get(names[0]))


def _is_context(hint: Any) -> bool:
    kind = get_origin(hint) or hint
    return isinstance(kind, type) and issubclass(kind, RunContextWrapper)


def _field(
    parameter: inspect.Parameter, hints: dict[str, Any], description: str | None
) -> tuple[Any, FieldInfo]:
    hint = hints.get(parameter.name, Any)
    if parameter.kind is parameter.VAR_POSITIONAL:
        many: Any = list.__class_getitem__(hint)
        return many, FieldInfo(default_factory=list, description=description)
    if parameter.kind is parameter.VAR_KEYWORD:
        named: Any = dict.__class_getitem__((str, hint))
        return named, FieldInfo(default_factory=dict, description=description)
    description = description or _annotated_text(hint)
    if isinstance(parameter.default, FieldInfo):
        merged = FieldInfo.merge_field_infos(
            parameter.default,
            description=parameter.default.description or description,
        )
        return hint, merged
    default = ... if parameter.default is _EMPTY else parameter.default
    return hint, FieldInfo(default=default, description=description)


def _annotated_text(hint: Any) -> str | None:
    """Return the text of `Annotated[type, "text"]`."""
    if get_origin(hint) is not Annotated:
        return None
    return next((part for part in get_args(hint)[1:] if isinstance(part, str)), None)
