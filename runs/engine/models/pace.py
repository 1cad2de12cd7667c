"""How fast the runs of one process may ask one model together.

A server counts the requests of all runs. So when it tells one of them to wait, all of
them do, and a budget that is set is one for all. Of this process alone: others have
paces of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable
from typing import Any
from weakref import WeakKeyDictionary

from ..errors import UserError
from ..ports import Clock
from .interface import Model
from .retry_advice import normalized_error

LONGEST_PAUSE_S = 120.0
"""A run whose server asks for more gives up, and says so; see `retry.py`."""
SPREAD = 0.2
"""Part of a pause over which those who waited come back, so that not all come at once.
"""
LONGEST_SPREAD_S = 2.0
_MINUTE_S = 60.0
_TELLS_TO_WAIT = {429, 503}

Waiting = Callable[[Coroutine[Any, Any, None]], Awaitable[None]]


class Pace:
    """A pause that the server asked for, and a budget of requests.

    `per_minute` and `at_once` are how many requests may be sent in any minute, and be
    under way together; None is any number.
    """

    def __init__(
        self, *, per_minute: int | None = None, at_once: int | None = None
    ) -> None:
        self._sent = deque[float](maxlen=per_minute)
        self._per_minute = per_minute
        self._line = asyncio.Lock()
        self._places = asyncio.Semaphore(at_once) if at_once else None
        self._inside = set[object]()
        self._pause_began = self._pause_end = 0.0

    @contextlib.asynccontextmanager
    async def request(self, clock: Clock, waiting: Waiting) -> AsyncIterator[None]:
        """Send one request inside, once its turn has come.

        `waiting` is what the wait for that is awaited through; it may end it. What the
        server says in an error is kept for the others.
        """
        ticket = object()
        try:
            await waiting(self._enter(ticket, clock))
            yield
        except Exception as error:
            self._heed(error, clock)
            raise
        finally:
            self._leave(ticket)

    async def _enter(self, ticket: object, clock: Clock) -> None:
        if self._places is not None:
            await self._places.acquire()
            self._inside.add(ticket)
        while True:
            await self._wait_for_pause(clock)
            async with self._line:
                await self._wait_for_budget(clock)
                # A pause may have begun meanwhile.
                if (now := clock.monotonic()) >= self._pause_end:
                    self._sent.append(now)
                    return

    def _leave(self, ticket: object) -> None:
        """Give back the place of who has got one: a stop may have come just then."""
        if self._places is not None and ticket in self._inside:
            self._inside.discard(ticket)
            self._places.release()

    async def _wait_for_budget(self, clock: Clock) -> None:
        if self._per_minute is None or len(self._sent) < self._per_minute:
            return
        if (wait_s := self._sent[0] + _MINUTE_S - clock.monotonic()) > 0:
            await clock.sleep(wait_s)

    async def _wait_for_pause(self, clock: Clock) -> None:
        now, spread_s = clock.monotonic(), self._spread_s()
        if now >= self._pause_end + spread_s:
            return
        back = self._pause_end + random.uniform(0, spread_s)  # noqa: S311  no secret
        if back > now:
            await clock.sleep(back - now)

    def _spread_s(self) -> float:
        length_s = self._pause_end - self._pause_began
        return min(LONGEST_SPREAD_S, length_s * SPREAD)

    def _heed(self, error: Exception, clock: Clock) -> None:
        facts = normalized_error(error)
        if facts.status_code not in _TELLS_TO_WAIT or not facts.retry_after:
            return
        now = clock.monotonic()
        end = now + min(facts.retry_after, LONGEST_PAUSE_S)
        if end > self._pause_end:
            self._pause_began, self._pause_end = now, end


_Paces = dict[Hashable, Pace]
_paces: WeakKeyDictionary[asyncio.AbstractEventLoop, _Paces] = WeakKeyDictionary()


def pace_of(model: Model) -> Pace | None:
    """Return the pace that all requests to `model` on the running loop share.

    None for a model that names no limit. Its budget is PLACET_MODEL_RPM and
    PLACET_MODEL_CONCURRENCY; UserError where one of them is no number above 0.
    """
    key = model.rate_limit_key()
    if key is None:
        return None
    paces = _paces_of(asyncio.get_running_loop())
    if key not in paces:
        paces[key] = Pace(
            per_minute=_budget("PLACET_MODEL_RPM"),
            at_once=_budget("PLACET_MODEL_CONCURRENCY"),
        )
    return paces[key]


def _paces_of(loop: asyncio.AbstractEventLoop) -> _Paces:
    # A lock refers to its loop, so the weak key alone would keep a closed one for ever.
    for other in [known for known in _paces if known.is_closed()]:
        del _paces[other]
    return _paces.setdefault(loop, {})


def _budget(name: str) -> int | None:
    given = os.environ.get(name)
    if not given:
        return None
    if not given.isdecimal() or not int(given):
        raise UserError(
            f"{name}={given!r} is no number of requests; use digits, as 60, or leave "
            "it empty for no limit."
        )
    return int(given)
