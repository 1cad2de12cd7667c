"""Short stories that together reach every write.

A story is told by the web side of a process that runs runs as well. It may end
anywhere: whoever comes after it opens every gate, mends what is broken, does once more
what nobody was told is done, and lets the world go on.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.contrib.auth.models import Group
from django.utils import timezone

from approvals import services as desk
from approvals.errors import DecisionError
from approvals.models import ApprovalRequest, Preferences
from runs import driving, services
from runs.journal import gated_calls
from runs.loading import load
from runs.models import Run, RunStatus
from runs.services import lease as leases
from runs.services import saved_states, steps
from runs.services.prune import prune_states
from runs.services.record import open_conversation
from runs.sweeper import Sweeper
from runs.webhooks import sources

from . import agents, journal, kills, mails, plans
from .plans import Calls
from .runners import beside_runners
from .web import OPERATOR, REVIEWERS, Web, source

Story = Callable[[Web], None]
Kind = ApprovalRequest.Kind


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
    deploys: bool = False
    """Whether whoever comes after a kill has newer code."""


SCENARIOS: list[Scenario] = []


def scenario(
    before: Story = _nothing, again: Story = _nothing, *, deploys: bool = False
) -> Callable[..., Story]:
    def add(story: Story) -> Story:
        told = Scenario(
            name=story.__name__.removeprefix("_"),
            story=story,
            before=before,
            again=again,
            deploys=deploys,
        )
        SCENARIOS.append(told)
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


def _freed_by_a_web_process(web: Web) -> None:
    """Have a run whose holder is gone found by a process without runners."""
    run = web.start([("send", {"ref": "{}a"})])
    owner = f"1-{web.name}"
    leases.take(run.pk, owner)
    leases.expire(owner)
    Sweeper().look()


@scenario(before=_freed_by_a_web_process)
def freed_by_a_web_process(web: Web) -> None:
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
    if begun := steps.begin(run.pk, owner, driving.seen(loaded)):
        steps.propose(begun.lease, gated_calls(loaded.state))
        steps.give_back(begun.lease, list(begun.claims))
    _leave_a_mark(owner)


@scenario(before=_taken_and_left)
def taken_and_left(web: Web) -> None:
    web.to_rest()


@scenario()
def held_and_released(web: Web) -> None:
    """Verdicts that count after a while: of a run at work, and of one that waits."""
    run = web.start([("hold", {"ref": "{}a"}), ("wire", {"ref": "{}b"})])
    waiting = web.start([("wire", {"ref": "{}c"})])
    ref = f"{web.name}-1a"
    web.until_begun(ref)
    web.until_status(waiting, RunStatus.WAITING)
    for each in (waiting, run):
        web.decide(web.until_asked(each, Kind.APPROVAL))
    heard = ("after", "runs.services.steps.verdicts_once_held")
    web.until(lambda: kills.watch.seen[heard], "the held verdict")
    journal.set_sign(ref)
    web.to_rest()


@scenario()
def undone(web: Web) -> None:
    """A verdict is taken back before it counts, and given again."""
    run = web.start([("wire", {"ref": "{}a"})])
    request = web.until_asked(run, Kind.APPROVAL)
    web.until_status(run, RunStatus.WAITING)
    web.decide(request)
    with suppress(DecisionError):  # too late, on a machine that stood still
        web.undo(request)
    web.to_rest()


@scenario()
def edited(web: Web) -> None:
    """A payment is changed and approved, and a run is stopped with a rejection."""
    run = web.start([("pay", {"ref": "{}a", "eur": 8}), ("send", {"ref": "{}b"})])
    other = web.start([("pay", {"ref": "{}c", "eur": 9}), ("put", {"ref": "{}d"})])
    with suppress(DecisionError):
        web.edit(web.until_asked(run, Kind.APPROVAL))
    with suppress(DecisionError):
        web.refuse(web.until_asked(other, Kind.APPROVAL))
    web.to_rest()


def _time_goes_by(web: Web) -> None:
    """Let what is due expire: a process that is back gives people a minute more."""

    def is_over() -> bool:
        web.expire()
        for request in web.pending():
            if request.expires_at is None:  # whether a call has happened
                web.decide(request)
        return not web.restless()

    web.until(is_over, "the end of what nobody decides")


@scenario(again=_time_goes_by)
def expired(web: Web) -> None:
    """Nobody decides in time, and the sweeper sees it."""
    run = web.start([("offer", {"ref": "{}a"}), ("send", {"ref": "{}b"})])
    web.until_status(run, RunStatus.COMPLETED)


def _wants_mail(web: Web) -> None:
    """Have a reviewer who leads wait for mail, and for a digest that is due."""
    mails.switch_on()
    person = web.person(REVIEWERS[0])
    person.email = "ada@example.com"
    person.save(update_fields=["email"])
    person.groups.add(Group.objects.get_or_create(name=agents.LEADS)[0])
    desk.save_preferences(person, email=True, digest=True)
    mine = Preferences.objects.filter(person=person)
    mine.update(mailed_at=None, digest_at=timezone.now())


@scenario(before=_wants_mail)
def escalated_and_mailed(web: Web) -> None:
    """Nobody decides for a while: people are told, one group more, and a mail fails."""
    run = web.start([("ship", {"ref": "{}a"})])
    web.until_asked(run, Kind.APPROVAL)
    escalated = ("after", "approvals.services.escalation.escalate")
    web.until(lambda: kills.watch.seen[escalated], "the escalation")
    web.until(lambda: journal.told("mails"), "a mail that is taken")
    web.to_rest()


@scenario()
def attended(web: Web) -> None:
    """What people say of a request besides a verdict: whose it is, and when."""
    run = web.start([("pay", {"ref": "{}a", "eur": 1})])
    request = web.until_asked(run, Kind.APPROVAL).pk
    ada, cyd = (web.person(name) for name in REVIEWERS)
    desk.look(request, by=ada)
    desk.claim(request, by=ada)
    desk.release(request, by=ada)
    desk.assign(request, to=cyd, by=ada)
    desk.snooze(request, until=timezone.now() + timedelta(hours=1), by=ada)
    desk.unsnooze(request, by=ada)
    desk.look_away(request, by=ada)
    web.to_rest()


@scenario()
def always_for_a_while(web: Web) -> None:
    """A Rule decides the next call of its run, and is revoked."""
    first: Calls = [("pay", {"ref": "{}a", "eur": 1}), ("hold", {"ref": "{}b"})]
    run = web.start(first, [("pay", {"ref": "{}c", "eur": 2})])
    rule = web.always(web.until_asked(run, Kind.APPROVAL))
    ref = f"{web.name}-1b"
    web.until_begun(ref)
    desk.revoke_rule(rule.pk, by=web.person(REVIEWERS[0]), reason="Enough.")
    journal.set_sign(ref)
    web.to_rest()


@scenario()
def forked(web: Web) -> None:
    """An operator keeps a search, and goes on from the end of a run elsewhere."""
    bob = web.person(OPERATOR)
    view = services.save_view(bob, web.name, "q=sent")
    services.rename_view(view.pk, f"{web.name}, again", by=bob)
    services.delete_view(view.pk, by=bob)
    run = web.start([("send", {"ref": "{}a"})])
    web.until_status(run, RunStatus.COMPLETED)
    web.fork(Run.objects.get(pk=run.pk), [("pay", {"ref": "{}b", "eur": 1})])
    web.to_rest()


def _code_changes(web: Web) -> None:
    """Have runs of older code: one was approved, one asks already, one never began."""
    waiting = [web.start([("pay", {"ref": "{}a", "eur": 1})]) for _ in range(2)]

    def until_all_wait() -> None:
        for run in waiting:
            web.until_status(run, RunStatus.WAITING)

    asyncio.run(beside_runners(until_all_wait))
    web.decide(web.until_asked(waiting[0], Kind.APPROVAL))
    agents.deploy()

    def until_asked() -> None:
        web.until_asked(waiting[0], Kind.UPGRADE)

    asyncio.run(beside_runners(until_asked))
    web.decide(web.until_asked(waiting[1], Kind.APPROVAL))


@scenario(before=_code_changes, deploys=True)
def code_changed(web: Web) -> None:
    web.to_rest()


def _begins_under_newer_code(web: Web) -> None:
    web.start([("send", {"ref": "{}a"})])
    agents.deploy()


@scenario(before=_begins_under_newer_code, deploys=True)
def code_changed_before_it_began(web: Web) -> None:
    web.to_rest()


@scenario()
def lost_its_database(web: Web) -> None:
    """A step cannot be stored, and a call beside it ends later.

    The run is given up, and taken up where it stands.
    """
    inner = plans.plan(
        "{}-inner", [("hold", {"ref": "{}a"})], [("pay", {"ref": "{}b", "eur": 1})]
    )
    run = web.start([("delegate", {"input": inner}), ("hold", {"ref": "{}c"})])
    refs = [f"{web.name}-1a", f"{web.name}-1c"]
    for ref in refs:
        web.until_begun(ref)
    kills.watch.refuse_once("runs.services.steps.append_step")
    journal.set_sign(refs[0])
    web.until(lambda: not kills.watch.refuses, "the step that cannot be stored")
    journal.set_sign(refs[1])
    web.until_status(run, RunStatus.WAITING)
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
