"""Each story again and again, killed once at each of its writes.

First every story is told undisturbed, and what it reaches is counted: the places to
kill at are found and not listed, so that a new write has its turn by itself.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from . import journal, kills, player
from .family import KILLED, Child, fork
from .kills import ANYWHERE, MOMENTS, Rule
from .report import Report
from .scenarios import SCENARIOS, Scenario
from .web import Web

PATIENCE_S = 150.0
ROUNDS = 10
"""Tries at a place not yet killed at: whether its story comes by is a matter of chance,
as a call that is rejected this time has no body."""
SHORT_S = 0.5
"""Stories that differ by less are as short as each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    scenario: Scenario
    rule: Rule
    seconds: float
    """What the story takes when nobody is killed."""

    @property
    def cost(self) -> tuple[int, int]:
        """How surely, and how soon, it is reached: a first time, in a short story.

        Later times hang on the moment.
        """
        return self.rule.nth, round(self.seconds / SHORT_S)

    def __str__(self) -> str:
        return f"{self.scenario.name}, {self.rule}"


class Sweep:
    def __init__(
        self,
        folder: Path,
        seed: int,
        report: Report,
        scenarios: Sequence[Scenario] = SCENARIOS,
    ) -> None:
        self._folder = folder
        self._seed = seed
        self._report = report
        self._scenarios = scenarios
        self._count = 0

    def run(self, count: int) -> None:
        """Kill `count` times, and at every place known by name at least once."""
        places = list(self._census())
        random.Random(self._seed).shuffle(places)
        for place in sorted(places, key=lambda place: place.cost) * ROUNDS:
            if not self._report.killed[place.rule.point, place.rule.when]:
                self._kill(place)
        for place in places[: max(0, count - self._report.kills)]:
            self._kill(place)

    def _census(self) -> Iterator[Place]:
        """Tell each story undisturbed; yield every place it can be killed at."""
        for scenario in self._scenarios:
            began = time.monotonic()
            reached = self._tell(scenario)
            seconds = time.monotonic() - began
            for when, point, times in reached:
                self._report.reached.add(point)
                for nth in range(1, times + 1):
                    moment = MOMENTS[when == "after"]
                    rule = Rule(point=point, when=moment, nth=nth)
                    yield Place(scenario=scenario, rule=rule, seconds=seconds)

    def _tell(self, scenario: Scenario) -> list[tuple[str, str, int]]:
        name, seen = self._begin(scenario), self._folder / "seen"
        web = partial(Web, name, seed=self._seed, since=time.time())

        def tell() -> None:
            watch = kills.set_watch(name, None)
            player.play(scenario, web())
            rows = [(when, point, n) for (when, point), n in watch.seen.items()]
            seen.write_text(json.dumps(rows))

        child = fork(name, self._folder, tell)
        if self._ended(child, f"{scenario.name}, undisturbed") != 0:
            return []
        self._rescue(scenario, web, scenario.name)
        told: list[tuple[str, str, int]] = json.loads(seen.read_text())
        return [row for row in told if row[1] != ANYWHERE]

    def _kill(self, place: Place) -> None:
        name = self._begin(place.scenario)
        web = partial(Web, name, seed=self._seed + self._count, since=time.time())

        def die() -> None:
            kills.set_watch(name, place.rule)
            player.play(place.scenario, web())

        child = fork(name, self._folder, die)
        ended = self._ended(child, str(place))
        marks = [line for line in journal.told("marks") if line["child"] == name]
        if ended == KILLED and len(marks) == 1:
            self._report.killed[place.rule.point, place.rule.when] += 1
        elif ended == 0 and not marks:
            self._report.missed.append(str(place))
        else:
            self._report.add(f"{place}: ended with {ended}, {len(marks)} marks", child)
        self._rescue(place.scenario, web, str(place))

    def _begin(self, scenario: Scenario) -> str:
        self._count += 1
        name = f"{scenario.name}-{self._count}"
        journal.keep_in(self._folder / name)
        return name

    def _ended(self, child: Child, what: str) -> int | None:
        ended = child.wait(PATIENCE_S)
        if ended is None:
            child.end()
        if ended not in (0, KILLED):
            self._report.add(f"{what}: ended with {ended}", child)
        return ended

    def _rescue(self, scenario: Scenario, web: partial[Web], what: str) -> None:
        told = self._folder / "rescue.json"
        told.unlink(missing_ok=True)
        name = f"{scenario.name}-{self._count}-rescue"
        child = fork(name, self._folder, lambda: player.rescue(scenario, web(), told))
        if self._ended(child, f"{what}: the next process") == 0:
            for wrong in json.loads(told.read_text()):
                self._report.add(f"{what}: {wrong}", child)
