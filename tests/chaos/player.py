"""One process with pages and runners, as `serve` is: it tells a story, or ends it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from . import agents, invariants, journal
from .runners import beside_runners, with_connection
from .scenarios import Scenario
from .web import Restless, Web

GRACE_S = 10.0


def play(scenario: Scenario, web: Web) -> None:
    """Tell the story from its beginning."""
    with_connection(lambda: scenario.before(web))
    asyncio.run(beside_runners(lambda: scenario.story(web)))


def rescue(
    scenario: Scenario, web: Web, report: Path, *, paused: frozenset[int] = frozenset()
) -> None:
    """Let the world go on after a kill until it rests, and report what is wrong."""
    if scenario.deploys:
        agents.deploy()
    journal.set_sign("every gate")
    wrong: list[str] = []

    def go_on() -> None:
        try:
            scenario.again(web)
            web.to_rest()
        except Restless as error:
            wrong.append(str(error))

    asyncio.run(beside_runners(go_on))
    with_connection(lambda: wrong.extend(invariants.violations(web, paused=paused)))
    report.write_text(json.dumps(wrong))
