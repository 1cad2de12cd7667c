"""Where a process is to die: the n-th commit that a named write is part of.

The watcher of `runs.transactions` is told just before and just after each commit. The
body of a tool is a point of its own: before its effect, and after it.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from django.db import OperationalError

from runs import transactions

from . import journal

When = Literal["before", "after"]
MOMENTS: tuple[When, When] = ("before", "after")
ANYWHERE = ""
BODY = "the body of "
"""With a tool's name a point: between its claim and the record of its outcome."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    point: str
    """The name of a write, BODY and a tool, or ANYWHERE."""
    when: When
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.when} {self.point or 'any write'}, time {self.nth}"


class Watch:
    """Counts what the process reaches, and ends it where its rule says."""

    def __init__(self, child: str, rule: Rule | None) -> None:
        self.child = child
        self.rule = rule
        self.seen: Counter[tuple[str, str]] = Counter()
        self.refuses: set[str] = set()
        """Writes of which one more commit is to fail."""
        self._lock = threading.Lock()

    def refuse_once(self, write: str) -> None:
        """Have the next commit of `write` fail, as with a database that goes away."""
        self.refuses.add(write)

    def __call__(self, when: str, writes: tuple[str, ...]) -> None:
        with self._lock:
            for name in {*writes, ANYWHERE}:
                self.seen[when, name] += 1
                if self.rule == Rule(
                    point=name,
                    when="before" if when == "before" else "after",
                    nth=self.seen[when, name],
                ):
                    self._die(when, writes)
            if refused := self.refuses & {*writes}:
                self.refuses -= refused
                raise OperationalError(f"Refused: {', '.join(refused)}")

    def _die(self, when: str, writes: tuple[str, ...]) -> None:
        journal.tell("marks", child=self.child, when=when, writes=writes)
        os.kill(os.getpid(), signal.SIGKILL)


watch = Watch("nobody", None)
"""The watch of this process."""


def set_watch(child: str, rule: Rule | None) -> Watch:
    """Watch this process from here on."""
    global watch
    transactions.watcher = watch = Watch(child, rule)
    return watch


def in_body(tool: str, when: When) -> None:
    watch(when, (f"{BODY}{tool}",))
