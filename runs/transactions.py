"""Every write is one named transaction, and nothing else opens one.

A service that wears `@write` is all or nothing. Called inside another one it is a part
of that one, which may go on when it fails (a savepoint).
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import ParamSpec, Protocol, TypeVar

from django.db import DatabaseError, transaction

P = ParamSpec("P")
T = TypeVar("T")

WRITES: set[str] = set()
"""The name of every write: its module and function."""


class Watcher(Protocol):
    def __call__(self, when: str, writes: tuple[str, ...]) -> None:
        """Be told, `before` and `after` a commit, which writes it is of."""


watcher: Watcher | None = None
"""Set by tests that end the process at a commit; nobody else needs to know."""

_open = threading.local()
_waiting: set[int] = set()


def others_wait() -> bool:
    """Say whether a thread of this process waits to begin a write.

    Whoever writes without a pause asks: SQLite's lock has no line to stand in.
    """
    return bool(_waiting)


class CommitFailed(DatabaseError):
    """The commit itself failed: nobody knows whether it was stored."""


def write(service: Callable[P, T]) -> Callable[P, T]:
    """Make `service` one transaction, known by its name."""
    name = f"{service.__module__}.{service.__qualname__}"
    WRITES.add(name)

    @functools.wraps(service)
    def in_transaction(*args: P.args, **kwargs: P.kwargs) -> T:
        with _named(name):
            return service(*args, **kwargs)

    return in_transaction


@contextmanager
def together() -> Iterator[None]:
    """Commit all writes made inside at once; each of them may still fail alone."""
    with _named(""):
        yield


@contextmanager
def attempt() -> Iterator[None]:
    """Try a part of a write that may fail while the rest goes on, as for a race."""
    with transaction.atomic():
        yield


@contextmanager
def _named(name: str) -> Iterator[None]:
    if transaction.get_connection().in_atomic_block:
        with transaction.atomic():
            yield
            _names().append(name)
        return
    _open.names = []
    complete = False
    try:
        with ExitStack() as stack:
            with _in_line():
                stack.enter_context(transaction.atomic())
            # First in line: the process may end before anybody is told of the commit.
            transaction.on_commit(functools.partial(_tell, "after"))
            yield
            _names().append(name)
            _tell("before")
            complete = True
    except DatabaseError as error:
        if complete:
            raise CommitFailed(f"A commit failed: {error}") from error
        raise


@contextmanager
def _in_line() -> Iterator[None]:
    me = threading.get_ident()
    _waiting.add(me)
    try:
        yield
    finally:
        _waiting.discard(me)


def _names() -> list[str]:
    if not hasattr(_open, "names"):
        _open.names = []  # a transaction that none of ours began, as a test's own
    names: list[str] = _open.names
    return names


def _tell(when: str) -> None:
    if watcher is not None:
        watcher(when, tuple(filter(None, _names())))
