from __future__ import annotations

from dataclasses import dataclass, field

import pytest


@dataclass
class FakeClock:
    """Time that passes only by being waited for."""

    waits: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return sum(self.waits)

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
