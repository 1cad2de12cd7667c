"""How code of an agent's author is called from the loop: hooks, guardrails, filters."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from .cancel import is_leaked_cancel
from .errors import UserError


async def called(what: str, function: Callable[..., Any], *args: Any) -> Any:
    """Return what `function(*args)` gives, awaited when it is awaitable.

    A sync function runs on the loop. What it raises comes out as it is, with one
    exception: SystemExit, and a CancelledError that nobody sent to this task, become a
    UserError that calls the function `what`; they would end the worker, or look as if
    the run had been stopped.
    """
    try:
        given = function(*args)
        return await given if inspect.isawaitable(given) else given
    except asyncio.CancelledError as error:
        if not is_leaked_cancel():
            raise
        raise UserError(f"{what} was cancelled by its own code.") from error
    except SystemExit as error:
        raise UserError(f"{what} asked the process to exit.") from error


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
