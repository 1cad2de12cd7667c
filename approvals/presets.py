"""Reasons that reviewers give again and again, and how one joins their own words."""

from __future__ import annotations

REJECT_PRESETS = (
    ("target", "Wrong recipient or target"),
    ("amount", "Amount too high"),
    ("later", "Not now"),
    ("information", "Needs more information"),
    ("policy", "Not allowed by policy"),
)
"""Each with the name it is posted by; a reviewer's keys 1 to 5, in this order."""


def reason_of(preset: str, words: str) -> str:
    """Return the reason that the model reads: the preset's words before one's own."""
    parts = (dict(REJECT_PRESETS).get(preset, ""), words.strip())
    return ". ".join(part for part in parts if part)
