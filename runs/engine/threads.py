"""Sync functions of an agent's author, off the loop.

Each call has a daemon thread of its own: a pool would let slow tools starve others, and
a body that never returns would keep the process from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what `function` gives; cancelling the wait does not end its thread."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()
    call = partial(contextvars.copy_context().run, function, *args, **kwargs)

    def work() -> None:
        try:
            tell = partial(_give, outcome, call())
        except StopIteration as error:
            # No future takes it; asyncio would wait for ever.
            tell = partial(_fail, outcome, _as_error(error))
        except Exception as error:
            tell = partial(_fail, outcome, error)
        except BaseException as error:
            # An exit, or a native library's panic, that is of this thread only.
            tell = partial(_fail, outcome, _as_error(error))
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(tell)

    threading.Thread(target=work, name=f"tool-{function}"[:60], daemon=True).start()
    return await outcome


def _as_error(error: BaseException) -> RuntimeError:
    made = RuntimeError(f"{type(error).__name__}: {error}")
    made.__cause__ = error
    return made


def _give(outcome: asyncio.Future[T], value: T) -> None:
    if not outcome.done():
        outcome.set_result(value)


def _fail(outcome: asyncio.Future[T], error: BaseException) -> None:
    if not outcome.done():
        outcome.set_exception(error)
