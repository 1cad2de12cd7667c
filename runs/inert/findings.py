"""What is found in a text."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """A stretch of a text that is named by a chip."""

    start: int
    end: int
    label: str
    title: str
    keeps_text: bool = False
    """True: the stretch is shown, with the chip behind it."""


def named(match: re.Match[str], label: str, title: str) -> Finding:
    return Finding(match.start(), match.end(), label, title)
