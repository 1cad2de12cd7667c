"""Short stories that together reach every write.

A story is told by the web side of a process that runs runs as well. It may end
anywhere: whoever comes after it opens every gate, mends what is broken, does once more
what nobody was told is done, and lets the world go on.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.utils import timezone

from runs.journal import gated_calls, open_calls
from runs.loading import load
from runs.models import RunStatus
from runs.services import lease as leases
from runs.services import saved_states, steps
from runs.services.prune import prune_states
from runs.services.record import open_conversation
from runs.webhooks import sources

from . import journal, kills, plans
from .plans import Calls
from .runners import beside_runners
from .web import OPERATOR, Web, source

Story = Callable[[Web], None]


def _nothing(web: Web) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    name: str
    story: Story
    before: Story = _nothing
    """What has happened when the runners start."""
    again: Story = _nothing
    """What is done once more after a kill."""


SCENARIOS: list[Scenario] = []


def scenario(before: Story = _nothing, again: Story = _nothing) -> Callable[..., Story]:
    def add(story: Story) -> Story:
        name = story.__name__.removeprefix("_")
        SCENARIOS.append(Scenario(name=name, story=story, before=before, again=again))
        return story

    return add


@scenario()
def calls(web: Web) -> None:
    """Parallel calls: gated and not, idempotent and not."""
    web.start(
        [("look", {"ref": "{}a"}), ("send", {"ref": "{}b"})],
        [
            ("pay", {"ref": "{}c", "eur": 5}),
            ("put", {"ref": "{}d"}),
            ("send", {"ref": "{}e"}),
        ],
        [("close", {"ref": "{}f"}), ("pay", {"ref": "{}g", "eur": 7})],
    )
    web.to_rest()


@scenario()
def frames(web: Web) -> None:
    """An agent as a tool, another that is gated, and a handoff."""
    inner = plans.plan(
        "{}-inner",
        [("send", {"ref": "{}h"}), ("pay", {"ref": "{}i", "eur": 1})],
        [("put", {"ref": "{}j"})],
    )
    gated = plans.plan("{}-gated", [("pay", {"ref": "{}k", "eur": 2})])
    web.start(
        [
            ("delegate", {"input": inner}),
            ("entrust", {"input": gated}),
            ("send", {"ref": "{}l"}),
        ],
        [(plans.HANDOFF, {})],
        [("pay", {"ref": "{}m", "eur": 3}), ("send", {"ref": "{}n"})],
    )
    web.to_rest()


@scenario()
def messages(web: Web) -> None:
    """Something is said to a run in hand, and to a conversation whose run has ended."""
    run = web.start([("hold", {"ref": "{}o"})])
    ref = f"{web.name}-1o"
    web.until_begun(ref)
    web.say(run.conversation_id, [("pay", {"ref": "{}p", "eur": 4})])
    journal.set_sign(ref)
    web.to_rest()
    web.say(run.conversation_id, [("send", {"ref": "{}q"})])
    web.to_rest()


@scenario()
def stopped_at_work(web: Web) -> None:
    run = web.start([("hold", {"ref": "{}a"}), ("pay", {"ref": "{}b", "eur": 1})])
    ref = f"{web.name}-1a"
    web.until_begun(ref)
    web.stop(run)
    journal.set_sign(ref)
    web.to_rest()


@scenario()
def stopped_while_waiting(web: Web) -> None:
    run = web.start([("pay", {"ref": "{}a", "eur": 1})])
    web.until_status(run, RunStatus.WAITING)
    web.stop(run)
    web.to_rest()


def _resume(web: Web) -> None:
    journal.set_sign("mended")
    for run in web.runs().filter(status=RunStatus.FAILED):
        web.resume(run)


@scenario(again=_resume)
def failed_and_resumed(web: Web) -> None:
    run = web.start([("pay", {"ref": "{}a", "eur": 1})])
    web.to_rest()
    web.start([("send", {"ref": "{}b"})], **{plans.BROKEN: True})
    run = web.runs().exclude(pk=run.pk).get()
    web.until_status(run, RunStatus.FAILED)
    _resume(web)
    web.to_rest()


@scenario()
def taken_from_its_worker(web: Web) -> None:
    """A person queues a run again while its tool works: the outcome comes too late."""
    run = web.start([("hold", {"ref": "{}a"}), ("send", {"ref": "{}b"})])
    ref = f"{web.name}-1a"
    web.until_begun(ref)
    web.requeue(run)
    web.until(lambda: web.pending(), "a question about the call in doubt")
    journal.set_sign(ref)
    kept = run.executions.exclude(evidence="")
    web.until(kept.exists, "what the late worker saw")
    web.to_rest()


@scenario()
def left_in_order(web: Web) -> None:
    """The process is asked to leave in the middle of a turn."""
    web.start([("hold", {"ref": "{}a"})], [("send", {"ref": "{}b"})])
    ref = f"{web.name}-1a"
    web.until_begun(ref)
    # The runners are stopped when this returns; the tool ends a moment later.
    threading.Timer(0.1, journal.set_sign, [ref]).start()


@scenario()
def lease_renewed(web: Web) -> None:
    """A tool that takes longer than a lease's third."""
    web.start([("hold", {"ref": "{}a"})])
    ref = f"{web.name}-1a"
    web.until_begun(ref)
    renewed = ("after", "runs.services.lease.renew")
    before = kills.watch.seen[renewed]
    web.until(lambda: kills.watch.seen[renewed] > before, "the heartbeat")
    journal.set_sign(ref)
    web.to_rest()


def _dead_holder(web: Web) -> None:
    """Have a run held by a process of this machine that has died."""
    run = web.start([("pay", {"ref": "{}a", "eur": 1})])
    owner = f"1-{web.name}"
    leases.take(run.pk, owner)
    _leave_a_mark(owner)


def _leave_a_mark(owner: str) -> None:
    """Leave what a process that has died leaves: a mark that nobody holds."""
    folder = settings.DATA_DIR / "runners"
    folder.mkdir(exist_ok=True)
    (folder / owner).touch()


@scenario(before=_dead_holder)
def holder_found_dead(web: Web) -> None:
    web.to_rest()


def _taken_and_left(web: Web) -> None:
    """Have a process take a run, change its mind about a claim, and die.

    A runner writes these only where something has changed while it looked.
    """
    calls: Calls = [("close", {"ref": "{}a"}), ("pay", {"ref": "{}b", "eur": 1})]
    run = web.start(calls)
    asyncio.run(beside_runners(partial(web.until_status, run, RunStatus.WAITING)))
    web.decide(web.pending()[0])
    owner, loaded = f"1-{web.name}", load(run.pk)
    seen = steps.Seen(
        last_seq=loaded.last_seq, calls=open_calls(loaded.state), undecided=[]
    )
    if begun := steps.begin(run.pk, owner, seen):
        steps.propose(begun.lease, gated_calls(loaded.state))
        steps.give_back(begun.lease, list(begun.claims))
    _leave_a_mark(owner)


@scenario(before=_taken_and_left)
def taken_and_left(web: Web) -> None:
    web.to_rest()


def _deliver(web: Web) -> None:
    text = plans.plan(f"{web.name}-hook", [("pay", {"ref": f"{web.name}a", "eur": 1})])
    web.deliver(f"id-{web.name}", text)
    web.deliver(f"id-{web.name}", text)


@scenario(again=_deliver)
def webhooks(web: Web) -> None:
    _deliver(web)
    web.rotate()
    sources.clear_previous(source())
    web.to_rest()


@scenario()
def states_of_programs(web: Web) -> None:
    key = web.name
    web.save(key, "one")
    web.save(key, "two")
    web.clear(key)
    web.save(key, "three")
    saved_states.delete_before(timezone.now() - timedelta(days=1), key=key)


def _prune(web: Web) -> None:
    prune_states(timedelta(0))


@scenario(again=_prune)
def pruned(web: Web) -> None:
    """Old states are cleaned up; what was decided stays."""
    web.start([("pay", {"ref": "{}a", "eur": 1})])
    web.to_rest()
    _prune(web)


@scenario()
def recorded(web: Web) -> None:
    """Items that no run made are kept in a conversation, which then goes on."""
    conversation = open_conversation(plans.KEY, owner=web.person(OPERATOR))
    web.record(conversation.pk, [{"role": "user", "content": f"{web.name} one"}])
    web.record(conversation.pk, [{"role": "user", "content": f"{web.name} two"}])
    web.say(conversation.pk, [("send", {"ref": "{}a"})])
    web.to_rest()
