"""Text of an answer on its way, as the model writes it.

Never stored, and any part may be lost: the stored message replaces it when complete.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass
from uuid import UUID

from .pokes import group_send

BATCH_S = 0.05

_SURROGATE = re.compile("[\ud800-\udfff]")
_ending: set[asyncio.Task[None]] = set()


@dataclass(slots=True)
class _Chunk:
    turn: int
    attempt: int
    offset: int
    text: str

    @property
    def end(self) -> int:
        return self.offset + len(self.text)


class DeltaSender:
    """Sends the text of one run's answers, in batches. No method raises.

    Each batch carries (turn, attempt, offset), the offset in characters, so that a
    reader sees what it lacks. A higher attempt withdraws the text of the one before.
    """

    def __init__(self, run_id: UUID) -> None:
        self._run = str(run_id)
        self._waiting: list[_Chunk] = []
        self._last = _Chunk(0, 0, 0, "")
        self._hurry = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def text(self, turn: int, attempt: int, text: str) -> None:
        """Add `text` to the answer of this turn and attempt; returns at once."""
        self._add(turn, attempt, text)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain())

    async def close(self) -> None:
        """Have sent what still waits, and that no more will come; returns at once.

        The run does not wait for the layer, which may hang.
        """
        self._hurry.set()
        last = asyncio.create_task(self._end())
        _ending.add(last)
        last.add_done_callback(_ending.discard)

    async def _end(self) -> None:
        if self._task is not None:
            await asyncio.wait({self._task})
        if self._last.end:
            await self._send(_Chunk(self._last.turn, self._last.attempt, 0, ""), True)

    def _add(self, turn: int, attempt: int, text: str) -> None:
        same = (turn, attempt) == (self._last.turn, self._last.attempt)
        if same and self._waiting:
            self._last.text += text
            return
        offset = self._last.end if same else 0
        self._last = _Chunk(turn, attempt, offset, text)
        self._waiting.append(self._last)

    async def _drain(self) -> None:
        while self._waiting:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BATCH_S):
                    await self._hurry.wait()
            chunks, self._waiting = self._waiting, []
            for chunk in chunks:
                await self._send(chunk)

    async def _send(self, chunk: _Chunk, done: bool = False) -> None:
        await group_send(
            {
                "type": "live.delta",
                "run": self._run,
                "turn": chunk.turn,
                "attempt": chunk.attempt,
                "offset": chunk.offset,
                "text": _sendable(chunk.text),
                "done": done,
            }
        )


def _sendable(text: str) -> str:
    """Return `text` with a sign for each lone surrogate, which no layer can encode."""
    return _SURROGATE.sub("\ufffd", text)
