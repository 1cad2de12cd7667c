"""The parent of all children: imports everything once, and never asks the database."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import time
from importlib import import_module
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from approvals.models import ApprovalRequest, Decision, RequestStatus
from runs import registry
from runs.engine import Runner, RunState
from runs.gate import gate
from runs.models import Run, RunEvent, WebhookSource
from runs.transactions import WRITES
from runs.webhooks.sources import make_secret

from . import journal, plans
from .family import fork
from .report import Report
from .scenarios import SCENARIOS
from .storm import STORM, Storm
from .sweep import Sweep
from .web import OPERATOR, REVIEWERS

SWEPT = 0.55
"""The share of all kills that are at a write on purpose; the storm has the rest."""


def run(folder: Path, kills: int, seed: int, story: str = "") -> Report:
    """Kill about `kills` times on the database of the settings.

    With `story`, in that one alone: "storm" or the name of a scenario.
    """
    began = time.monotonic()
    journal.keep_in(folder / "warm")
    for module in ("procrastinate.worker", settings.PLACET_DISPATCH):
        import_module(module)
    gate()
    asyncio.run(_warm_up())
    gc.freeze()  # a child that collects would copy all of it
    told = folder / "database.json"
    _child(folder, "prepare", lambda: _prepare(told))
    report = Report(database=json.loads(told.read_text()), seed=seed)
    report.writes = all_writes()
    told_of = [one for one in SCENARIOS if story in ("", one.name)]
    swept = kills if story else int(kills * SWEPT)
    Sweep(folder, seed, report, told_of).run(swept if told_of else 0)
    if story in ("", STORM):
        storm = Storm(folder, seed, report, os.environ["DATABASE_URL"])
        storm.run(kills - report.kills)
    _child(folder, "count", lambda: told.write_text(json.dumps(_counts())))
    report.counts = json.loads(told.read_text())
    report.seconds = time.monotonic() - began
    report.processor_seconds = sum(os.times()[:4])
    return report


async def _warm_up() -> None:
    """Run an agent once without a database: what is built then is not in each child."""
    agent = registry.get(plans.KEY).agent
    inner = plans.plan("inner", [("look", {"ref": "a"})])
    text = plans.plan(
        "warm",
        [("pay", {"ref": "b", "eur": 1}), ("delegate", {"input": inner})],
        [(plans.HANDOFF, {})],
    )
    context = {"run": "none"}
    paused = Runner.run_streamed(agent, text, context=context)
    async for _ in paused.stream_events():
        pass
    saved = paused.to_state().to_string()
    state = await RunState.from_string(agent, saved, context_override=context)
    state.approve(state.get_interruptions()[0])
    await Runner.run(agent, state)


def all_writes() -> set[str]:
    """Return the name of every write, after importing whatever has one."""
    for app in ("runs", "approvals"):
        root = Path(apps.get_app_config(app).path)
        for path in root.rglob("*.py"):
            if "@write\n" in path.read_text():
                inside = path.relative_to(root.parent).with_suffix("")
                import_module(".".join(inside.parts))
    return set(WRITES)


def _child(folder: Path, name: str, job: object) -> None:
    assert callable(job)
    child = fork(name, folder, job)
    if child.wait(120) != 0:
        raise RuntimeError(f"{name} failed: {child.log.read_text()}")


def _prepare(told: Path) -> None:
    """Make the tables and the cast; tell which database it is."""
    call_command("migrate", verbosity=0)
    for name, group in (
        *((name, "reviewers") for name in REVIEWERS),
        (OPERATOR, "operators"),
    ):
        User.objects.create_user(name).groups.add(Group.objects.get(name=group))
    WebhookSource.objects.create(
        slug=plans.KEY,
        name="Chaos",
        agent_key=plans.KEY,
        template="{{ body.text }}",
        secret=make_secret(),
        created_at=timezone.now(),
    )
    version = ".".join(map(str, connection.get_database_version()))
    told.write_text(json.dumps(f"{connection.display_name} {version}"))


def _counts() -> dict[str, int]:
    requests = ApprovalRequest.objects
    return {
        "runs": Run.objects.count(),
        "decisions": Decision.objects.count(),
        "verdicts undone": requests.filter(status=RequestStatus.UNDONE).count(),
        "requests expired": requests.filter(status=RequestStatus.EXPIRED).count(),
        "questions about changed code": requests.filter(
            kind=ApprovalRequest.Kind.UPGRADE
        ).count(),
        "rows of their logs": RunEvent.objects.count(),
        "effects of tools in the storm": len(journal.told("effects")),
    }
