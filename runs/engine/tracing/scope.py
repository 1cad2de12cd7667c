"""Where the running code is: its trace, its span, and who listens besides.

All three are context variables: a new asyncio task and a thread started with a copied
context begin where their maker was, and what they enter does not reach back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from .processor_interface import TracingProcessor
    from .spans import Span
    from .traces import Trace

T = TypeVar("T")

current_trace: ContextVar[Trace | None] = ContextVar("current_trace", default=None)
current_span: ContextVar[Span[Any] | None] = ContextVar("current_span", default=None)
listening_here: ContextVar[tuple[TracingProcessor, ...]] = ContextVar(
    "listening_here", default=()
)


@contextmanager
def recording(*processors: TracingProcessor) -> Iterator[None]:
    """Let `processors` hear the traces and spans begun in this context only.

    They hear them after the processors registered for everything. Tasks begun inside,
    and threads with a copied context, belong to the context.
    """
    token = listening_here.set(listening_here.get() + processors)
    try:
        yield
    finally:
        leave(listening_here, token)


def leave(variable: ContextVar[T], token: Token[T]) -> None:
    """Give `variable` the value it had before `token`, where that can be done.

    An abandoned async generator is closed in another task's context, which never held
    the value: there is nothing to give back there, and no reason to fail a run.
    """
    try:
        variable.reset(token)
    except ValueError:
        return
