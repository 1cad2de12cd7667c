"""What must be true at rest, of the database and of the journal beside it.

Each function yields a sentence for each thing that is not as it must be.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from approvals import audit, wording
from approvals.models import (
    ApprovalRequest,
    AuditEntry,
    Decision,
    RequestStatus,
    Verdict,
    Vote,
)
from runs import codec
from runs.models import (
    TERMINAL_STATUSES,
    EventKind,
    Run,
    RunEvent,
    RunStatus,
    ToolExecution,
    WebhookDelivery,
)
from runs.services import saved_states

from . import journal, plans
from .web import Web

Line = dict[str, Any]
DENIED = (RequestStatus.REJECTED, RequestStatus.EXPIRED)
WITHDRAWN = (RequestStatus.SUPERSEDED, RequestStatus.UNDONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What stands about one run, in the database and in the journal."""

    run: Run
    events: Sequence[RunEvent]
    executions: dict[str, ToolExecution]
    requests: Sequence[ApprovalRequest]
    decisions: Sequence[Decision]
    effects: Sequence[Line] = field(default=())
    acks: Sequence[Line] = field(default=())

    @property
    def is_pruned(self) -> bool:
        return self.run.state_inactive_at is not None

    def items(self, kind: str) -> Iterator[tuple[RunEvent, Line]]:
        """Yield the items of a type, each with its row."""
        for event in self.events:
            if event.kind == EventKind.ITEM and event.data["type"] == kind:
                yield event, event.data


def violations(web: Web, *, paused: frozenset[int] = frozenset()) -> list[str]:
    """Return what is wrong with the runs of `web`.

    `paused` are processes that were stopped for a while: they may ask a model what
    another has asked since.
    """
    found = [f"not at rest: {line}" for line in web.restless()]
    for told in _read(web):
        for check in OF_A_RUN:
            found += [f"run {told.run.pk}: {wrong}" for wrong in check(told)]
        found += [f"run {told.run.pk}: {wrong}" for wrong in _asked_once(told, paused)]
    return found + list(_acknowledged())


def _read(web: Web) -> Iterator[Told]:
    effects, acks = _by_run("effects"), _by_run("acks")
    for run in web.runs().order_by("id"):
        yield Told(
            run=run,
            events=list(run.events.order_by("seq")),
            executions={row.call_key: row for row in run.executions.all()},
            requests=list(run.requests.order_by("revision")),
            decisions=list(
                Decision.objects.filter(request__run=run)
                .select_related("request")
                .order_by("created_at")
            ),
            effects=effects[str(run.pk)],
            acks=acks[str(run.pk)],
        )


def _by_run(what: str) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = defaultdict(list)
    for line in journal.told(what):
        found[line.get("run", "")].append(line)
    return found


# The log and the status


def log_has_no_gap(told: Told) -> Iterator[str]:
    seqs = [event.seq for event in told.events]
    whole = list(range(1, told.run.last_seq + 1))
    if seqs != whole and not told.is_pruned:
        yield f"the log has {len(seqs)} rows up to {told.run.last_seq}"


def ends_once(told: Told) -> Iterator[str]:
    """Nothing follows an end but the resumption of a failed run."""
    before = ""
    for event in told.events:
        if event.kind == EventKind.REQUEST and before in TERMINAL_STATUSES:
            yield f"a request is {event.data['status']} after the run has {before}"
        if event.kind != EventKind.STATUS:
            continue
        status = event.data["status"]
        resumed = before == RunStatus.FAILED and status == RunStatus.QUEUED
        if before in TERMINAL_STATUSES and not resumed:
            yield f"{status} follows {before} in the log"
        before = status
    if before != told.run.status:
        yield f"it is {told.run.status}, and its log says {before}"


def ends_as_it_may(told: Told) -> Iterator[str]:
    """Only a broken model or a person fails a run, and only a stop cancels one."""
    run = told.run
    may_fail = plans.BROKEN in run.error or _was_ended(told)
    if run.status == RunStatus.FAILED and not may_fail:
        yield f"it failed: {run.error}"
    if (run.status == RunStatus.CANCELLED) != (run.stop_requested_at is not None):
        yield f"it is {run.status}, stop requested at {run.stop_requested_at}"


def leaves_nothing_open(told: Told) -> Iterator[str]:
    """A run that has ended has no call in hand and asks nobody anything."""
    pending = [r.pk for r in told.requests if r.status == RequestStatus.PENDING]
    if told.run.status == RunStatus.WAITING and not pending:
        yield "it waits, and for nobody"
    if told.run.status not in TERMINAL_STATUSES:
        return
    if pending:
        yield f"it has ended with open requests: {pending}"
    for key, execution in told.executions.items():
        if execution.status == ToolExecution.Status.STARTED:
            yield f"it has ended with {key} started"
    if told.run.lease_owner or told.run.lease_expires_at:
        yield "it has ended and is still held"


def audit_is_whole(told: Told) -> Iterator[str]:
    if broken := audit.broken_link(told.run.pk):
        yield f"the audit chain breaks at {broken.seq}"
    rows = AuditEntry.objects.filter(chain=f"run:{told.run.pk}")
    counted = Counter(rows.values_list("action", flat=True))
    if counted["decide"] != len(told.decisions):
        yield f"{counted['decide']} decisions audited of {len(told.decisions)}"
    if counted["request"] != len(told.requests):
        yield f"{counted['request']} requests audited of {len(told.requests)}"


# What the agents did


def says_each_call_once(told: Told) -> Iterator[str]:
    for kind in ("tool_call", "tool_output"):
        keys = Counter(_key(event, data) for event, data in told.items(kind))
        for key, count in keys.items():
            if count > 1:
                yield f"{count} times {kind} of {key}"


def does_all_of_its_plan(told: Told) -> Iterator[str]:
    """A completed run has made the calls of its plan, in each of its frames."""
    if told.run.status != RunStatus.COMPLETED or told.is_pruned:
        return
    calls = {_key(event, data): data for event, data in told.items("tool_call")}
    outputs = {_key(event, data) for event, data in told.items("tool_output")}
    outputs |= {_key(event, data) for event, data in told.items("handoff_output")}
    calls |= {_key(event, data): data for event, data in told.items("handoff_call")}
    if missing := calls.keys() - outputs:
        yield f"calls without an output: {sorted(missing)}"
    told_to = [
        plan
        for event, data in told.items("input")
        if not event.frame and (plan := plans.read_plan(data["raw"].get("content")))
    ]
    if told.run.previous_id is None and told.run.parent_id is None:
        wanted = {key for turn in plans.planned(told_to) for key, _ in turn}
        made = {key for key in calls if "/" not in key}
        if wanted != made:
            yield f"its plan is {sorted(wanted)}, its calls are {sorted(made)}"
    for key in {event.frame for event in told.events if event.frame}:
        yield from _does_all_of_its_frame(key, calls)


def _does_all_of_its_frame(key: str, calls: dict[str, Line]) -> Iterator[str]:
    arguments = json.loads(calls[key]["raw"]["arguments"])
    plan = plans.read_plan(arguments["input"])
    planned = plans.planned([plan] if plan else [])
    wanted = {f"{key}/{inner}" for turn in planned for inner, _ in turn}
    made = {made for made in calls if made.startswith(f"{key}/")}
    if wanted != made:
        yield f"the plan of {key} is {sorted(wanted)}, its calls are {sorted(made)}"


def _asked_once(told: Told, paused: frozenset[int]) -> Iterator[str]:
    """An answer that is stored is not asked for again."""
    asks = [line for line in journal.told("asks") if line["pid"] not in paused]
    by_answer = {line["answer"]: line for line in asks}
    for event in told.events:
        if event.kind != EventKind.RESPONSE:
            continue
        ask = by_answer.get(event.data.get("response_id"))
        if ask is None:
            continue
        same = [line for line in asks if line["read"] == ask["read"]]
        again = [line for line in same if line["at"] > event.created_at.timestamp()]
        mine = [line for line in again if line["name"] == ask["name"]]
        if mine:
            yield f"the model was asked {len(mine)} times for a stored answer"


# Effects


def effects_are_claimed(told: Told) -> Iterator[str]:
    """No effect without its claim, save of a tool that may be run at will."""
    for key, effects in _effects_by_call(told).items():
        tool = effects[0]["tool"]
        if key not in told.executions and tool != "look":
            yield f"{tool} {key} had an effect and was never claimed"


def effects_are_approved(told: Told) -> Iterator[str]:
    """No gated effect without a Decision that approves exactly it, made before it."""
    for key, effects in _effects_by_call(told).items():
        if effects[0]["tool"] not in plans.GATED or key not in told.executions:
            continue
        execution = told.executions[key]
        by = {decision.pk: decision for decision in told.decisions}
        permit = by.get(execution.permitted_by) if execution.permitted_by else None
        if permit is None or permit.verdict != Verdict.APPROVE:
            yield f"{key} ran on no approval"
            continue
        if permit.request.call_key != key or permit.digest != execution.digest:
            yield f"{key} ran on an approval of something else"
        approved = json.loads(permit.request.call_data["arguments"])
        for effect in effects:
            if effect["arguments"] != approved:
                yield f"{key} ran as {effect['arguments']}, approved was {approved}"


def effects_happen_once(told: Told) -> Iterator[str]:
    """The n-th effect of a call comes after the n-th permission for it.

    Permissions are the approvals of a gated call, the claim of one that is not, and
    each time a person has said *run it again*. An idempotent tool may repeat itself
    under the same key, once it may run at all.
    """
    for key, effects in _effects_by_call(told).items():
        tool = effects[0]["tool"]
        permits = _permits(told, key, gated=tool in plans.GATED)
        if tool in plans.IDEMPOTENT:
            permits = permits[:1] * len(effects)
        for nth, effect in enumerate(sorted(effects, key=lambda line: line["at"])):
            if nth >= len(permits):
                yield f"{tool} {key} had effect {nth + 1} of {len(permits)} permitted"
            elif effect["at"] < permits[nth]:
                yield f"{tool} {key} had effect {nth + 1} before it was permitted"


def outcomes_are_true(told: Told) -> Iterator[str]:
    """What is recorded as succeeded has happened; what was rejected has not."""
    effects = _effects_by_call(told)
    frames = {event.frame for event in told.events if event.frame}
    for key, execution in told.executions.items():
        succeeded = execution.status == ToolExecution.Status.SUCCEEDED
        is_ours = execution.tool in plans.TOOLS
        if succeeded and is_ours and key not in frames and not effects.get(key):
            by_person = _answered(told, key)
            if not by_person:
                yield f"{key} is recorded as succeeded, and never happened"


def decisions_have_their_effect(told: Told) -> Iterator[str]:
    """In a completed run, what was approved was started, and what was not was not."""
    if told.run.status != RunStatus.COMPLETED or told.is_pruned:
        return
    effects = _effects_by_call(told)
    outputs = {_key(event, data): data for event, data in told.items("tool_output")}
    frames = {event.frame for event in told.events if event.frame}
    latest = {request.call_key: request for request in told.requests}
    for key, request in latest.items():
        if request.kind == ApprovalRequest.Kind.APPROVAL:
            started = key in told.executions or key in frames
            if (request.status == RequestStatus.APPROVED) != started:
                yield f"{key} is {request.status}; started: {started}"
            if request.status in DENIED and effects.get(key):
                yield f"{key} is {request.status} and has happened"
        elif request.status == RequestStatus.ANSWERED:
            said = str(outputs.get(key, {}).get("raw", {}).get("output"))
            if request.decision.output not in said:
                yield f"{key} was answered, and the model is told {said!r}"


def expires_in_time(told: Told) -> Iterator[str]:
    """Nobody's decisions reject, and no sooner than a request's time is over."""
    for decision in told.decisions:
        request = decision.request
        if (request.status == RequestStatus.EXPIRED) != _is_nobodys(decision):
            yield f"{request.call_key} is {request.status}, decided by {decision.actor}"
        if not _is_nobodys(decision):
            continue
        in_time = request.expires_at and decision.created_at >= request.expires_at
        if decision.verdict != Verdict.REJECT or not in_time:
            yield f"nobody has decided {request.call_key}: {decision.verdict}"


def nothing_was_undone_too_late(told: Told) -> Iterator[str]:
    """No call has started under a verdict that was undone, or could still be."""
    permits = {decision.pk: decision for decision in told.decisions}
    for key, execution in told.executions.items():
        permit = permits.get(execution.permitted_by) if execution.permitted_by else None
        if permit is None:
            continue
        if permit.request.status == RequestStatus.UNDONE:
            yield f"{key} ran under a verdict that was undone"
        if execution.started_at < permit.release_at:
            yield f"{key} started before its verdict was released"


def changed_code_was_let_go_on(told: Told) -> Iterator[str]:
    """A run has effects of newer code, after some of older, with a go-ahead alone."""
    newer = [effect["at"] for effect in told.effects if effect["code"] > 1]
    older = [effect["at"] for effect in told.effects if effect["code"] == 1]
    if not newer or not older or min(older) > min(newer):
        return
    approved = [
        decision.created_at.timestamp()
        for decision in told.decisions
        if decision.request.kind == ApprovalRequest.Kind.UPGRADE
        and decision.verdict == Verdict.APPROVE
    ]
    if not approved or min(approved) > min(newer):
        yield "it went on under changed code, and nobody had said so"


def edits_are_kept_apart(told: Told) -> Iterator[str]:
    """What a person changed runs and is told; what the model wrote stays as it is."""
    calls = {_key(event, data): data for event, data in told.items("tool_call")}
    outputs = {_key(event, data): data for event, data in told.items("tool_output")}
    for request in told.requests:
        key = request.call_key
        if not request.is_edited or told.is_pruned:
            continue
        # Under changed code, say, the model's own call is asked about again.
        stands = all(
            other.revision <= request.revision
            for other in told.requests
            if other.call_key == key
        )
        if calls[key]["raw"]["arguments"] != request.written_arguments:
            yield f"{key} was edited, and the log has another call"
        said = str(outputs.get(key, {}).get("raw", {}).get("output", ""))
        ran = told.executions.get(key)
        done = ran is not None and ran.status == ToolExecution.Status.SUCCEEDED
        if stands and done and key in outputs and not _tells_of_a_person(said):
            yield f"{key} was edited, and the model is told {said!r}"


def _tells_of_a_person(said: str) -> bool:
    return said.startswith((wording.EDITED, wording.HAPPENED))


def stop_was_final(told: Told) -> Iterator[str]:
    """Nothing is claimed once somebody was told that the run is stopped."""
    for ack in told.acks:
        if ack["what"] != "stop":
            continue
        if told.run.status != RunStatus.CANCELLED:
            yield f"it was stopped, and is {told.run.status}"
        for key, execution in told.executions.items():
            if execution.started_at.timestamp() > ack["at"]:
                yield f"{key} was started after the stop"


def mails_are_sent_once(told: Told) -> Iterator[str]:
    """A mail that was taken to be sent is never sent by another process as well."""
    sent = Counter(about for line in journal.told("mails") for about in line["about"])
    for request in told.requests:
        taken = request.notices.exclude(sent_at=None).count()
        if sent[str(request.pk)] > taken:
            yield f"{request.call_key} was in {sent[str(request.pk)]} mails of {taken}"


OF_A_RUN = (
    log_has_no_gap,
    ends_once,
    ends_as_it_may,
    leaves_nothing_open,
    audit_is_whole,
    says_each_call_once,
    does_all_of_its_plan,
    effects_are_claimed,
    effects_are_approved,
    effects_happen_once,
    outcomes_are_true,
    decisions_have_their_effect,
    expires_in_time,
    mails_are_sent_once,
    nothing_was_undone_too_late,
    changed_code_was_let_go_on,
    edits_are_kept_apart,
    stop_was_final,
)


def _effects_by_call(told: Told) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = defaultdict(list)
    for effect in told.effects:
        found[effect["key"].removeprefix(f"{told.run.pk}:")].append(effect)
    return found


def _permits(told: Told, key: str, *, gated: bool) -> list[float]:
    """Return when the call was permitted to have an effect, once for each time."""
    approvals = [
        decision.release_at.timestamp()
        for decision in told.decisions
        if decision.request.call_key == key
        and decision.verdict == Verdict.APPROVE
        # Taken back; or its run ended, or its code changed, before it was used.
        and decision.request.status not in WITHDRAWN
    ]
    return approvals if gated else [0.0, *approvals]


def _is_nobodys(decision: Decision) -> bool:
    return decision.actor_id is None and decision.rule_id is None


def _was_ended(told: Told) -> bool:
    """Say whether a person did not let the run go on under changed code."""
    return any(
        decision.request.kind == ApprovalRequest.Kind.UPGRADE
        and decision.verdict == Verdict.REJECT
        for decision in told.decisions
    )


def _answered(told: Told, key: str) -> bool:
    return any(
        decision.verdict == Verdict.ANSWER and decision.request.call_key == key
        for decision in told.decisions
    )


def _key(event: RunEvent, data: Line) -> str:
    call_id = data["raw"]["call_id"]
    return f"{event.frame}/{call_id}" if event.frame else str(call_id)


# What somebody was told


def _is_undone(ack: Line) -> Iterator[str]:
    request = ApprovalRequest.objects.get(pk=ack["request"])
    if request.status != RequestStatus.UNDONE:
        yield f"the verdict on {request.pk} was undone, and it is {request.status}"
    again = ApprovalRequest.objects.filter(pk=ack["after"])
    if not again.filter(call_key=request.call_key).exists():
        yield f"nobody is asked again about {request.pk}, which was undone"


def _is_edited(ack: Line) -> Iterator[str]:
    request = ApprovalRequest.objects.get(pk=ack["request"])
    if request.status != RequestStatus.SUPERSEDED:
        yield f"{request.pk} was edited, and it is {request.status}"
    after = ApprovalRequest.objects.filter(pk=ack["after"], call_key=request.call_key)
    if not after.filter(edited_by__username=ack["by"]).exists():
        yield f"the edit of {request.pk} is lost"


def _acknowledged() -> Iterator[str]:
    """What was acknowledged is stored, and stays."""
    newest: dict[str, Line] = {}
    for ack in journal.told("acks"):
        if ack["what"] == "save":
            newest[ack["key"]] = ack
        elif check := _OF_AN_ACK.get(ack["what"]):
            yield from check(ack)
    for key, ack in newest.items():
        stored = saved_states.load(key)
        # A later one may have been saved by who died before it was told so.
        if stored is None and ack["text"] is not None and ack["text"] != "two":
            yield f"the state of {key} is lost"


def _is_decided(ack: Line) -> Iterator[str]:
    votes = Vote.objects.filter(request=ack["request"], voter__username=ack["by"])
    if list(votes.values_list("verdict", flat=True)) != [ack["verdict"]]:
        yield f"the vote of {ack['by']} on {ack['request']} is lost"
    request = ApprovalRequest.objects.get(pk=ack["request"])
    full = ack["verdict"] != Verdict.APPROVE or request.votes >= request.votes_needed
    decided = Decision.objects.filter(request=request, verdict=ack["verdict"])
    if full and not decided.exists():
        yield f"the decision on {ack['request']} is lost"


def _is_started(ack: Line) -> Iterator[str]:
    run = Run.objects.filter(pk=ack["run"]).first()
    if run is None:
        yield f"run {ack['run']} is lost"
    elif run.state_inactive_at is None and not _says(run, ack["text"]):
        yield f"run {ack['run']} does not have its message"


def _is_delivered(ack: Line) -> Iterator[str]:
    deliveries = WebhookDelivery.objects.filter(webhook_id=ack["delivery"])
    if [str(pk) for pk in deliveries.values_list("run", flat=True)] != [ack["run"]]:
        yield f"delivery {ack['delivery']} does not have its one run"


def _is_said(ack: Line) -> Iterator[str]:
    """A message is in the run it was said to, or in the next one's first words."""
    run = Run.objects.get(pk=ack["run"])
    if run.status in (RunStatus.CANCELLED, RunStatus.FAILED) or run.state_inactive_at:
        return  # a stopped run's messages go with it; a failed run's wait
    said = [one for one in run.conversation.runs.all() if _says(one, ack["text"])]
    if len(said) != 1:
        yield f"a message to run {run.pk} was read by {len(said)} runs"


def _says(run: Run, text: str) -> bool:
    texts = [
        event.data["raw"].get("content")
        for event in run.events.filter(kind=EventKind.ITEM, frame="")
        if event.data["type"] == "input"
    ]
    waiting = [message["text"] for message in codec.loads(run.pending_input)]
    # What came too late for its run begins the next one, perhaps with more.
    return any(text in said for said in [*texts, *waiting])


_OF_AN_ACK = {
    "decide": _is_decided,
    "edit": _is_edited,
    "undo": _is_undone,
    "start": _is_started,
    "say": _is_said,
    "deliver": _is_delivered,
}
