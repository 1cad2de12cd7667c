"""Messages of a run's socket: HTML that htmx swaps out of band."""

from __future__ import annotations

from uuid import UUID

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from runs.templatetags.runs_tags import inert

REPLACE = "outerHTML"
"""hx-swap-oob of an element that takes the place of the one with its id."""


def appended(run_id: UUID, block: str) -> SafeString:
    return format_html(
        '<ol hx-swap-oob="beforeend:#timeline-{}">{}</ol>',
        run_id,
        mark_safe(block),  # noqa: S308  was rendered by a template
    )


def cursor(run_id: UUID, seq: int) -> SafeString:
    """Return where the browser goes on after a reconnect."""
    return format_html(
        '<output id="cursor-{}" data-after="{}" hx-swap-oob="{}" hidden></output>',
        run_id,
        seq,
        REPLACE,
    )


def text_is(run_id: UUID, text: str) -> SafeString:
    """Return the whole live text; none empties it."""
    return format_html(
        '<div id="writing-{}" hx-swap-oob="innerHTML">{}</div>',
        run_id,
        inert(text) if text else "",
    )


def text_goes_on(run_id: UUID, text: str) -> SafeString:
    return format_html(
        '<span hx-swap-oob="beforeend:#writing-{}">{}</span>',
        run_id,
        inert(text),
    )
