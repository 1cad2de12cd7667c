"""How code of an agent's author is called from the loop: hooks, guardrails, filters."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from .cancel import is_leaked_cancel
from .errors import UserError

T = TypeVar("T")


async def called(what: str, function: Callable[..., Any], *args: Any) -> Any:
    """Return what `function(*args)` gives, awaited when it is awaitable.

    A sync function runs on the loop. What it raises comes out as `contained` says.
    """
    return await contained(what, _given(function, *args))


async def contained(what: str, work: Awaitable[T]) -> T:
    """Return what `work`, code of an agent's author, gives.

    What it raises comes out as it is, with one exception: what no `except Exception`
    stops becomes a UserError that calls the code `what`. A SystemExit would end the
    worker, a CancelledError that nobody sent to this task would look as if the run had
    been stopped, and the like of a native library's panic would pass every handler.
    """
    try:
        return await work
    except (Exception, KeyboardInterrupt, GeneratorExit):
        raise
    except asyncio.CancelledError as error:
        if not is_leaked_cancel():
            raise
        raise UserError(f"{what} was cancelled by its own code.") from error
    except SystemExit as error:
        raise UserError(f"{what} asked the process to exit.") from error
    except BaseException as error:
        raise UserError(f"{what} raised {type(error).__name__}: {error}") from error


async def _given(function: Callable[..., Any], *args: Any) -> Any:
    given = function(*args)
    return await given if inspect.isawaitable(given) else given


def takes(function: Callable[..., Any], count: int) -> bool:
    """Say whether `function` can be called with `count` positional arguments.

    A callable that does not tell its signature is taken to.
    """
    try:
        inspect.signature(function).bind(*[None] * count)
    except ValueError:
        return True
    except TypeError:
        return False
    return True
