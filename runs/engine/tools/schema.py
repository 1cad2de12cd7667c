"""From a function's signature and docstring to a tool's name and parameter schema."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo

from ..context import RunContextWrapper
from ..digest import JSONObject
from ..errors import ModelBehaviorError, UserError
from .callables import Shape, shape_of
from .docstrings import DocstringStyle, Documented, read_docstring
from .strict_schema import ensure_strict_json_schema

_EMPTY = inspect.Parameter.empty


@dataclass
class FuncDocumentation:
    """What a function's docstring says."""

    name: str
    description: str | None
    param_descriptions: dict[str, str] | None


@dataclass
class FuncSchema:
    """A function as a tool: what the model is told, and how its answer is called."""

    name: str
    description: str | None
    params_pydantic_model: type[BaseModel]
    params_json_schema: JSONObject
    signature: inspect.Signature
    takes_context: bool = False
    """True when the first parameter is the run's context, which no model sees."""
    strict_json_schema: bool = True
    return_annotation: Any = inspect.Signature.empty

    def to_call_args(self, data: BaseModel) -> tuple[list[Any], dict[str, Any]]:
        """Return the positional and keyword arguments that `data` stands for.

        Raises ModelBehaviorError when a key of `**kwargs` is a parameter's name.
        """
        positional: list[Any] = []
        keywords: dict[str, Any] = {}
        for name, parameter in self._parameters():
            value = data.__dict__[_field_name(name)]
            if parameter.kind is parameter.VAR_POSITIONAL:
                positional.extend(value or [])
            elif parameter.kind is parameter.VAR_KEYWORD:
                keywords.update(self._without_names_taken(value or {}))
            elif parameter.kind is parameter.KEYWORD_ONLY:
                keywords[name] = value
            else:
                positional.append(value)
        return positional, keywords

    def _parameters(self) -> list[tuple[str, inspect.Parameter]]:
        found = list(self.signature.parameters.items())
        return found[1:] if self.takes_context else found

    def _without_names_taken(self, extra: dict[str, Any]) -> dict[str, Any]:
        named = {
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            inspect.Parameter.KEYWORD_ONLY,
        }
        taken = [
            name
            for name, parameter in self.signature.parameters.items()
            if parameter.kind in named and name in extra
        ]
        if taken:
            raise ModelBehaviorError(
                f"{', '.join(taken)}: a parameter of that name is given on its own, "
                "not among the further keys."
            )
        return extra


def generate_func_documentation(
    func: Callable[..., Any], style: DocstringStyle | None = None
) -> FuncDocumentation:
    """Return what `func`'s docstring says; None for `style` finds the style out."""
    shape = shape_of(func)
    said = _documented(shape, style)
    return FuncDocumentation(shape.name, said.description, said.parameters or None)


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
    Raises UserError when a parameter's type has no JSON schema, a context stands
    anywhere but first, or strict mode cannot describe the parameters.
    """
    shape = shape_of(func)
    said = _documented(shape, docstring_style) if use_docstring_info else Documented()
    name = name_override or shape.name
    if name == "<lambda>":
        raise UserError("A lambda has no name; give its tool one with name_override.")
    takes_context = _takes_context(shape)
    parameters = list(shape.signature.parameters.values())[takes_context:]
    _refuse_open_keywords(name, parameters, strict_json_schema)
    model, schema = _model_of(
        name,
        {
            _field_name(parameter.name): _field(
                parameter, shape.hints, said.parameters.get(parameter.name)
            )
            for parameter in parameters
        },
        # Strict mode says that other keys are refused, so they are; else they are
        # refused only where **kwargs might seem to take them.
        closed=strict_json_schema or _has_open_keywords(parameters),
    )
    return FuncSchema(
        name=name,
        description=description_override or said.description,
        params_pydantic_model=model,
        params_json_schema=_strict(name, schema) if strict_json_schema else schema,
        signature=shape.signature,
        takes_context=takes_context,
        strict_json_schema=strict_json_schema,
        return_annotation=shape.hints.get("return", shape.signature.return_annotation),
    )


def _documented(shape: Shape, style: DocstringStyle | None) -> Documented:
    said, of_owner = (
        read_docstring(shape.doc, style),
        read_docstring(shape.owner_doc, style),
    )
    return Documented(
        of_owner.description or said.description, of_owner.parameters | said.parameters
    )


def _model_of(
    name: str, fields: dict[str, Any], *, closed: bool
) -> tuple[type[BaseModel], JSONObject]:
    config = ConfigDict(protected_namespaces=())
    if closed:
        config["extra"] = "forbid"
    try:
        model = create_model(f"{name}_args", __config__=config, **fields)
        return model, model.model_json_schema()
    except (PydanticUserError, NameError) as error:
        raise UserError(
            f"Tool {name!r} has a parameter whose type has no JSON schema; "
            f"use types that pydantic knows. {error}"
        ) from error


def _strict(name: str, schema: JSONObject) -> JSONObject:
    try:
        return ensure_strict_json_schema(schema)
    except UserError as error:
        raise UserError(f"Tool {name!r}: {error}") from error


def _has_open_keywords(parameters: list[inspect.Parameter]) -> bool:
    return any(each.kind is each.VAR_KEYWORD for each in parameters)


def _refuse_open_keywords(
    name: str, parameters: list[inspect.Parameter], strict: bool
) -> None:
    if strict and _has_open_keywords(parameters):
        raise UserError(
            f"Tool {name!r} takes any keywords (**{parameters[-1].name}), which strict "
            "mode does not have; name them, or use strict_mode=False."
        )


def _takes_context(shape: Shape) -> bool:
    first, *others = [*shape.signature.parameters, ""]
    for name in others:
        if _is_context(shape.hints.get(name)):
            raise UserError(
                f"Tool {shape.name!r} takes its context as {name!r}; "
                "the context must be the first parameter."
            )
    return _is_context(shape.hints.get(first))


def _is_context(hint: Any) -> bool:
    kind = get_origin(hint) or hint
    if kind is Annotated:
        return _is_context(get_args(hint)[0])
    if kind in (Union, UnionType):
        return any(_is_context(part) for part in get_args(hint))
    return isinstance(kind, type) and issubclass(kind, RunContextWrapper)


def _field_name(name: str) -> str:
    """Return the model's field for a parameter; pydantic does not take every name."""
    return f"p_{name}" if name.startswith("_") or hasattr(BaseModel, name) else name


def _field(
    parameter: inspect.Parameter, hints: Mapping[str, Any], said: str | None
) -> tuple[Any, Any]:
    """Return the type and the default of the parameter's field.

    What the docstring says comes before a text in `Annotated`, that before a Field's.
    """
    hint = hints.get(parameter.name, Any)
    notes = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    if said is None:
        said = next((note for note in notes if isinstance(note, str)), None)
    notes_of_field = _notes_of_field(parameter.name, said)
    if parameter.kind is parameter.VAR_POSITIONAL:
        many: Any = list.__class_getitem__(_each(parameter.name, hint))
        return many, Field(default_factory=list, **notes_of_field)
    if parameter.kind is parameter.VAR_KEYWORD:
        named: Any = dict.__class_getitem__((str, _constrained(hint)))
        return named, Field(default_factory=dict, **notes_of_field)
    default: Any = ... if parameter.default is _EMPTY else parameter.default
    if said and isinstance(default, FieldInfo):
        default = FieldInfo.merge_field_infos(default, description=said)
    return Annotated[hint, Field(**notes_of_field)] if notes_of_field else hint, default


def _notes_of_field(name: str, said: str | None) -> dict[str, Any]:
    notes = {} if said is None else {"description": said}
    return notes if _field_name(name) == name else notes | {"alias": name}


def _each(name: str, hint: Any) -> Any:
    """Return the type of each value of `*name`. Raises UserError for a fixed tuple."""
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if get_origin(kind) is not tuple:
        return _constrained(hint)
    if get_args(kind)[1:] != (...,):
        raise UserError(
            f"*{name} is annotated with {kind}, but an annotation there is of each "
            "value; use `tuple[T, ...]`, or the type of one value."
        )
    return _constrained(hint)


def _constrained(hint: Any) -> Any:
    """Return `hint` with its constraints, without what describes the whole."""
    if get_origin(hint) is not Annotated:
        return hint
    kind, limits = get_args(hint)[0], FieldInfo.from_annotation(hint).metadata
    return Annotated[(kind, *limits)] if limits else kind
