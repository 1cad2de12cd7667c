"""Many runs and workers, and the worst of chance: kills, pauses, lost connections.

A worker dies at a commit that chance has chosen for it, or at any moment. One that is
paused for longer than its lease comes back as a zombie whose late writes are refused.
"""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.core.management import call_command
from django.db import Error as DatabaseError
from django.db import close_old_connections

from approvals.errors import DecisionError
from runs.errors import RunError
from runs.models import OPEN_STATUSES, Run, RunStatus

from . import agents, databases, journal, kills, plans, player
from .family import KILLED, Child, fork
from .kills import ANYWHERE, BODY, MOMENTS, Rule
from .report import Report
from .scenarios import Scenario
from .web import Web, open_conversations

WORKERS = 3
MACHINES = 2
OPEN_RUNS = 16
TICK_S = 0.02
DROP_EVERY_S = 1.0
SECONDS_A_KILL = 5.0
PATIENCE_S = 150.0
WEB = "web"
CUT = "terminating connection due to administrator command"
STORM = "storm"


@dataclass(eq=False)
class Fate:
    """What is to become of a child."""

    child: Child
    at: float
    """When, by the monotonic clock, unless it dies of its rule before."""
    rule: Rule | None
    pause: bool
    is_paused: bool = False


class Storm:
    def __init__(self, folder: Path, seed: int, report: Report, url: str) -> None:
        self._folder = folder
        self._seed = seed
        self._report = report
        self._url = url
        self._chance = random.Random(seed)
        self._count = 0
        self._since = time.time()
        self._fates: dict[str, Fate] = {}
        self._drop_at = 0.0
        self._deploys_at = 0.0
        """At how many kills children begin to have newer code; some have the older."""
        journal.keep_in(folder / STORM)

    def run(self, count: int) -> None:
        """Kill `count` times or more, then see that the world comes to rest."""
        if count <= 0:
            return
        target = self._report.kills + count
        self._deploys_at = self._report.kills + count / 2
        deadline = time.monotonic() + 30 + SECONDS_A_KILL * count
        while self._report.kills < target:
            if time.monotonic() > deadline:
                self._report.add("the storm has no end: too few have died")
                break
            self._tick()
            time.sleep(TICK_S)
        for fate in self._fates.values():
            fate.child.end()
            self._bury(fate)
        self._calm()

    def _tick(self) -> None:
        for place in [WEB, *(f"worker{number}" for number in range(WORKERS))]:
            fate = self._fates.get(place)
            if fate is None or fate.child.wait(0) is not None:
                if fate is not None:
                    self._bury(fate)
                self._fates[place] = self._birth(place)
            elif time.monotonic() > fate.at:
                self._strike(fate)
        if self._url and time.monotonic() > self._drop_at:
            self._drop()

    def _birth(self, place: str) -> Fate:
        self._count += 1
        name, rule = f"{place}-{self._count}", self._rule()
        machine = self._folder / f"machine-{self._chance.randrange(MACHINES)}"
        job = self._web if place == WEB else self._work
        seed = self._chance.random()
        is_newer = self._report.kills > self._deploys_at

        def live() -> None:
            if is_newer:
                agents.deploy()
            kills.set_watch(name, rule)
            settings.DATA_DIR = machine  # who is alive is told apart by machine
            job(name, seed)

        life_s = self._chance.uniform(0.2, 2.5) + (10.0 if rule else 0.0)
        return Fate(
            child=fork(name, self._folder, live),
            at=time.monotonic() + life_s,
            rule=rule,
            pause=place != WEB and self._chance.random() < 0.3,
        )

    def _rule(self) -> Rule | None:
        if self._chance.random() < 0.4:
            return None
        point, last = ANYWHERE, 60
        if self._chance.random() < 0.25:
            point, last = BODY + self._chance.choice(sorted(plans.TOOLS)), 3
        return Rule(
            point=point,
            when=self._chance.choice(MOMENTS),
            nth=self._chance.randint(1, last),
        )

    def _strike(self, fate: Fate) -> None:
        if fate.is_paused:
            fate.child.send(signal.SIGCONT)
            fate.is_paused, fate.pause = False, False
            fate.at = time.monotonic() + self._chance.uniform(0.5, 2.0)
        elif fate.pause:
            fate.child.send(signal.SIGSTOP)
            fate.is_paused = True
            self._report.paused.add(fate.child.pid)
            lease_s = settings.PLACET_LEASE.total_seconds()
            fate.at = time.monotonic() + lease_s * self._chance.uniform(1.1, 1.6)
        else:
            fate.child.end()

    def _bury(self, fate: Fate) -> None:
        """Count a death, if it is of the right kind."""
        name, ended = fate.child.name, fate.child.returncode
        marks = [line for line in journal.told("marks") if line["child"] == name]
        if ended == 1 and self._url and _lost_its_database(fate.child):
            return  # as a supervisor, the next birth starts it again
        if ended != KILLED or len(marks) > 1:
            self._report.add(
                f"{name} ended with {ended}, {len(marks)} marks", fate.child
            )
        elif marks:
            for point in marks[0]["writes"]:
                self._report.killed[point, marks[0]["when"]] += 1
                break
        else:
            self._report.killed_by_chance += 1

    def _drop(self) -> None:
        share, start = self._chance.uniform(0.1, 1.0), self._chance.random()
        self._report.dropped += databases.drop_connections(self._url, share, start)
        every_s = DROP_EVERY_S * self._chance.uniform(0.5, 1.5)
        self._drop_at = time.monotonic() + every_s

    def _calm(self) -> None:
        told = self._folder / "calm.json"
        nothing = Scenario(name=STORM, story=lambda web: None, deploys=True)
        web = partial(Web, "calm", seed=self._seed, since=self._since, leaves=True)
        paused = frozenset(self._report.paused)
        child = fork(
            "calm",
            self._folder,
            lambda: player.rescue(nothing, web(), told, paused=paused),
        )
        if child.wait(PATIENCE_S) != 0:
            child.end()
            self._report.add("the process after the storm did not end", child)
            return
        for wrong in json.loads(told.read_text()):
            self._report.add(f"storm: {wrong}", child)

    # In the children

    def _work(self, name: str, seed: float) -> None:
        call_command("worker", concurrency=OPEN_RUNS)

    def _web(self, name: str, seed: float) -> None:
        people = People(
            Web(name, seed=self._seed, since=self._since, leaves=True),
            random.Random(seed),
        )
        while True:
            close_old_connections()
            with suppress(DatabaseError, DecisionError, RunError):
                people.act()


def _lost_its_database(child: Child) -> bool:
    """Say whether a connection was cut before the child was at work."""
    return child.log.read_text(errors="replace").rstrip().endswith(CUT)


class People:
    """Everybody at once: they start, decide, undo, say, stop, and re-queue runs."""

    def __init__(self, web: Web, chance: random.Random) -> None:
        self._web = web
        self._chance = chance
        self._delivered = 0

    def act(self) -> None:
        if self._web.runs().filter(status__in=OPEN_STATUSES).count() < OPEN_RUNS:
            self._begin()
        self._web.review()
        for chance, deed in (
            (0.10, self._say),
            (0.05, self._stop),
            (0.05, self._requeue),
            (0.30, self._resume),
            (0.10, self._undo),
        ):
            if self._chance.random() < chance:
                deed()
        time.sleep(TICK_S)

    def _begin(self) -> None:
        kind = self._chance.random()
        if kind < 0.1:
            self._deliver()
        elif kind < 0.2:
            self._web.start(*self._turns(), **{plans.BROKEN: True})
        else:
            self._web.start(*self._turns())

    def _deliver(self) -> None:
        """Deliver, and deliver again, as a sender that has not heard does."""
        self._delivered += 1
        text = self._web.plan(*self._turns())
        for _ in range(self._chance.randint(1, 3)):
            self._web.deliver(f"id-{self._web.name}-{self._delivered}", text)

    def _say(self) -> None:
        if conversations := open_conversations(self._web.runs()):
            self._web.say(self._chance.choice(conversations), *self._turns())

    def _stop(self) -> None:
        if run := self._any(*OPEN_STATUSES):
            self._web.stop(run)

    def _requeue(self) -> None:
        if run := self._any(RunStatus.RUNNING):
            self._web.requeue(run)

    def _resume(self) -> None:
        if run := self._any(RunStatus.FAILED):
            self._web.resume(run)

    def _undo(self) -> None:
        if held := self._web.held():
            self._web.undo(self._chance.choice(held))

    def _any(self, *statuses: RunStatus) -> Run | None:
        found: list[UUID] = list(
            self._web.runs().filter(status__in=statuses).values_list("pk", flat=True)
        )
        return Run.objects.get(pk=self._chance.choice(found)) if found else None

    def _turns(self) -> list[plans.Calls]:
        count = self._chance.randint(1, 3)
        return [list(self._calls(f"{turn}", depth=0)) for turn in range(count)]

    def _calls(self, at: str, depth: int) -> Iterator[tuple[str, dict[str, object]]]:
        for number in range(self._chance.randint(1, 3)):
            ref = f"{{}}-{at}-{number}"
            tool = self._chance.choice([*plans.TOOLS_OF_A_STORM, "delegate"])
            if tool == "delegate":
                if depth == 0:
                    inner = list(self._calls(f"{at}-{number}", depth=1))
                    yield tool, {"input": plans.plan(ref, inner)}
            elif tool == "pay":
                yield tool, {"ref": ref, "eur": self._chance.randint(1, 9)}
            else:
                yield tool, {"ref": ref}
