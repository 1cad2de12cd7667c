"""One process with pages and runners, as `serve` is: it tells a story, or ends it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from django.db import connections

from runs.executor import Executor
from runs.live.pokes import set_home

from . import invariants, journal
from .scenarios import Scenario
from .web import Restless, Web

GRACE_S = 10.0


def play(scenario: Scenario, web: Web) -> None:
    """Tell the story from its beginning."""
    _with_connection(lambda: scenario.before(web))
    asyncio.run(_beside_runners(lambda: scenario.story(web)))


def rescue(
    scenario: Scenario, web: Web, report: Path, *, paused: frozenset[int] = frozenset()
) -> None:
    """Let the world go on after a kill until it rests, and report what is wrong."""
    journal.set_sign("every gate")
    wrong: list[str] = []

    def go_on() -> None:
        try:
            scenario.again(web)
            web.to_rest()
        except Restless as error:
            wrong.append(str(error))

    asyncio.run(_beside_runners(go_on))
    _with_connection(lambda: wrong.extend(invariants.violations(web, paused=paused)))
    report.write_text(json.dumps(wrong))


async def _beside_runners(story: Callable[[], None]) -> None:
    executor = Executor(concurrency=20)
    set_home(asyncio.get_running_loop())
    await executor.start()
    try:
        await asyncio.to_thread(_with_connection, story)
    finally:
        await executor.stop(GRACE_S)


def _with_connection(story: Callable[[], None]) -> None:
    try:
        story()
    finally:
        connections.close_all()
