"""How the pages show text, times and the state of runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

from django import template
from django.template import Context
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from .. import inert as inert_text
from .. import ops, queries, registry
from ..inert import Segment
from ..models import Run, RunStatus
from ..services import UnknownAgent

register = template.Library()

EXCERPT_CHARS = 4_000
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))
RUN_WORDS = {
    RunStatus.QUEUED: "Queued",
    RunStatus.RUNNING: "Running",
    RunStatus.WAITING: "Waits for a decision",
    RunStatus.COMPLETED: "Completed",
    RunStatus.FAILED: "Failed",
    RunStatus.CANCELLED: "Stopped",
}


@register.filter
def inert(text: Any) -> SafeString:
    """Show text an agent wrote: nothing in it can act, hide or move other text."""
    return render_segments(inert_text.segments(str(text)))


@register.filter
def segments(parts: list[Segment]) -> SafeString:
    """Show segments that were made before."""
    return render_segments(parts)


@register.filter
def inert_line(text: Any, limit: int = 200) -> str:
    """Return agent-written text as one safe plain line, for titles and attributes."""
    return inert_text.excerpt(str(text), limit)


@register.filter
def head_of(text: str) -> str:
    """Return the part of a long text that is shown at once."""
    return text if len(text) <= EXCERPT_CHARS * 1.1 else text[:EXCERPT_CHARS]


@register.filter
def chars_below(text: str) -> int:
    """Return how many characters `head_of` leaves out."""
    return len(text) - len(head_of(text))


@register.filter
def ago(moment: datetime | None) -> SafeString:
    """Show how long ago, or how long from now; the exact time is in the title."""
    return _time(moment, relative, keeps_true=True)


@register.filter
def ago_s(moment: datetime | None) -> SafeString:
    """Show as `ago` does, to the second; for what is read anew every few seconds."""
    return _time(moment, relative_s, keeps_true=False)


def _time(
    moment: datetime | None,
    words: Callable[[datetime, datetime], str],
    *,
    keeps_true: bool,
) -> SafeString:
    """Return a time element; with `keeps_true` the page's script renews its words."""
    if moment is None:
        return mark_safe("")
    local = timezone.localtime(moment)
    return format_html(
        '<time datetime="{}" title="{}"{}>{}</time>',
        moment.isoformat(timespec="seconds"),
        f"{local:%a %d %b %Y, %H:%M:%S %Z}",
        mark_safe(" data-ago" if keeps_true else ""),  # noqa: S308  our own words
        words(moment, timezone.now()),
    )


def relative(moment: datetime, now: datetime) -> str:
    """Return `moment` as a person says it: just now, 4 min ago, in 2 h."""
    seconds = (now - moment).total_seconds()
    for size, unit in _UNITS:
        if abs(seconds) >= size:
            count = int(abs(seconds) // size)
            return f"{count} {unit} ago" if seconds > 0 else f"in {count} {unit}"
    return "just now" if seconds >= 0 else "in under a minute"


def relative_s(moment: datetime, now: datetime) -> str:
    """Return `moment` as `relative` does, below a minute in seconds."""
    seconds = (now - moment).total_seconds()
    if abs(seconds) >= 60:
        return relative(moment, now)
    return f"{seconds:.0f} s ago" if seconds >= 0 else f"in {-seconds:.0f} s"


@register.filter
def left(moment: datetime) -> SafeString:
    """Show how long it is until `moment`; the page counts down."""
    return format_html(
        '<time datetime="{}" data-left>{}</time>',
        moment.isoformat(timespec="milliseconds"),
        relative_left(moment),
    )


def relative_left(moment: datetime) -> str:
    """Return how long it is until `moment`, to the second below a minute."""
    seconds = (moment - timezone.now()).total_seconds()
    if seconds >= 60:
        return relative(moment, timezone.now()).removeprefix("in ")
    return f"{max(0, math.ceil(seconds))} s"


@register.filter
def run_words(run: Run) -> str:
    """Return a run's status as a person says it."""
    return "Stopping" if run.is_stopping else RUN_WORDS[RunStatus(run.status)]


@register.filter
def run_tone(run: Run) -> str:
    """Return the CSS class of a run's status."""
    return "stopping" if run.is_stopping else run.status


@register.filter
def agent_title(key: str) -> str:
    """Return the title of the agent registered under `key`, else the key."""
    try:
        return registry.get(key).title
    except UnknownAgent:
        return key


@register.filter
def trigger_name(run: Run) -> str:
    """Return who or what asked for a run."""
    return run.requester.get_username() if run.requester else run.trigger


@register.filter
def decimals(number: int | None) -> str:
    """Return a count with thin spaces between groups of three digits."""
    return f"{number or 0:,}".replace(",", "\u202f")


@register.filter
def capped(number: int) -> str:
    """Return a count of `runs.ops`, with a plus where counting stopped."""
    return f"{decimals(number)}{'+' if number >= ops.COUNT_CAP else ''}"


@register.filter
def took(seconds: float) -> str:
    """Return a duration as a person says it: 12 ms, 1.4 s, 3 min 5 s, 2 h 10 min."""
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


@register.simple_tag(takes_context=True)
def may_follow(context: Context) -> bool:
    """Say whether the reader sees every conversation and run."""
    user = context.get("user")
    return user is not None and queries.may_follow(user)


@register.simple_tag(takes_context=True)
def may_start(context: Context) -> bool:
    """Say whether the reader may start, message, stop and resume runs."""
    user = context.get("user")
    return user is not None and queries.may_start(user)


def render_segments(parts: list[Segment]) -> SafeString:
    """Return segments as HTML: escaped text, chips between, isolated as a whole."""
    inside = format_html_join("", "{}", ((_segment(part),) for part in parts))
    return format_html('<bdi class="inert" hx-disable>{}</bdi>', inside)


def _segment(part: Segment) -> SafeString | str:
    if not part.label:
        return part.text.encode("utf-8", "replace").decode("utf-8")
    chip = format_html(
        '<span class="chip" title="{}">{}</span>', part.title, part.label
    )
    if not part.text:
        return chip
    return format_html('<span class="odd">{}</span>{}', part.text, chip)
