"""The name, the words and the parameters of whatever an author hands us to call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_type_hints

from ..errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A callable as its caller sees it."""

    name: str
    doc: str | None
    owner_doc: str | None = None
    """The docstring of the class, for an object that is called."""
    signature: inspect.Signature
    """Without what is bound already: `self`, and what a partial fixes."""
    hints: dict[str, Any]
    """Resolved, with what `Annotated` adds; `return` among them."""


def shape_of(func: Callable[..., Any]) -> Shape:
    """Return the shape of a function, method, class, partial or callable object.

    Raises UserError for what is none of these, for a method that is not bound, and for
    annotations that cannot be resolved.
    """
    if isinstance(func, functools.partial):
        return _of_partial(func)
    if not callable(func):
        raise UserError(
            f"{func!r} cannot be called; give a function, a bound method or a "
            "callable object. A classmethod is taken as `Owner.method`."
        )
    if hasattr(func, "__name__"):
        return _of_function(func)
    called = type(func).__call__
    return Shape(
        name=type(func).__name__,
        doc=called.__doc__,
        owner_doc=type(func).__doc__,
        signature=inspect.signature(func),
        hints=_hints(called, type(func).__name__),
    )


def is_async(func: Callable[..., Any]) -> bool:
    """Say whether a call of `func` gives a coroutine and so need not leave the loop."""
    while isinstance(func, functools.partial):
        func = func.func
    called = getattr(func, "__call__", None)  # noqa: B004  an object's own method
    return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(called)


def _of_function(func: Callable[..., Any]) -> Shape:
    name = func.__name__
    signature = inspect.signature(func)
    hints = _hints(func.__init__ if inspect.isclass(func) else func, name)
    _refuse_unbound(func, signature, hints)
    return Shape(name=name, doc=inspect.getdoc(func), signature=signature, hints=hints)


def _refuse_unbound(
    func: Callable[..., Any], signature: inspect.Signature, hints: dict[str, Any]
) -> None:
    first = next(iter(signature.parameters), "")
    _, _, path = getattr(func, "__qualname__", "").rpartition("<locals>.")
    owner, _, name = path.rpartition(".")
    if owner and first in {"self", "cls"} and first not in hints:
        raise UserError(
            f"{owner}.{name} is not bound to an object, so nothing could stand for "
            f"{first!r}. Make the tool of the bound method, `thing.{name}`."
        )


def _of_partial(func: functools.partial[Any]) -> Shape:
    """Return the shape without what the partial fixes: no model sees or changes it."""
    inner = shape_of(func.func)
    signature = inspect.signature(func)
    free = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.name not in func.keywords
    ]
    return Shape(
        name=inner.name,
        doc=inner.doc,
        owner_doc=inner.owner_doc,
        signature=signature.replace(parameters=free),
        hints=inner.hints,
    )


def _hints(func: Callable[..., Any], name: str) -> dict[str, Any]:
    try:
        return get_type_hints(func, include_extras=True)
    except (NameError, TypeError, AttributeError) as error:
        raise UserError(
            f"The annotations of {name!r} cannot be resolved: {error}. Import what "
            "they name at run time, at the top of the function's module."
        ) from error
