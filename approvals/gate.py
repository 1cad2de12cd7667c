"""The gate of `runs`, on requests and decisions. Called inside its transactions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone

from runs import codec
from runs.engine import Call, CallKind, ClaimRefused
from runs.engine.items import name_called
from runs.gate import Decided
from runs.models import EventKind, Run
from runs.statements import Pairs
from runs.upgrades import UPGRADE_KEY, CodeChange

from . import audit, notices, postman, services, upgrades, wording
from .models import (
    DECIDED_STATUSES,
    STATUS_AFTER,
    ApprovalRequest,
    Decision,
    RequestStatus,
)
from .models import Verdict as Said
from .wording import told

IN_DOUBT = "It started, and nobody saw how it ended."
_TO_ASK_AGAIN = (RequestStatus.CANCELLED, RequestStatus.SUPERSEDED)
_UNUSED = (RequestStatus.PENDING, RequestStatus.APPROVED)
_REQUEST, _DECISION = ApprovalRequest._meta.db_table, Decision._meta.db_table
_REQUESTS = Pairs(
    ApprovalRequest,
    Decision,
    f"LEFT JOIN {_DECISION} ON request_id = {_REQUEST}.id "
    f"WHERE {_REQUEST}.run_id = %s AND call_key IN ({{keys}}) ORDER BY revision",
)
_VERDICT_OF = {status: said for said, status in STATUS_AFTER.items()} | {
    RequestStatus.EXPIRED: Said.REJECT
}
"""What a request's decision must say; one that says another thing is none."""


class DatabaseGate:
    """See `runs.gate.Gate`."""

    def propose(self, run: Run, calls: Sequence[Call]) -> None:
        for call, latest in _unasked(calls, _latest_of(run.pk, calls)):
            services.apply_rules(_open_again(run, call, latest))

    def reconcile(self, run: Run, call: Call, evidence: dict[str, Any]) -> None:
        latest = _latest_of(run.pk, [call]).get(call.key)
        if latest is None or not _asks_whether_it_happened(latest, evidence):
            _open(run, call, latest, ApprovalRequest.Kind.RECONCILE, evidence)

    def verdicts(self, run: Run, calls: Sequence[Call]) -> Decided:
        return _decided(calls, _latest_of(run.pk, calls))

    def take_up(
        self, run_id: UUID, calls: Sequence[Call], *, undecided: Sequence[Call]
    ) -> Decided:
        known = _latest_of(run_id, calls)
        if _unasked(undecided, known):
            self.propose(Run.objects.get(pk=run_id), undecided)
            known = _latest_of(run_id, calls)
        return _decided(calls, known)

    def permit(self, run: Run, call: Call) -> UUID | None:
        latest = _latest_of(run.pk, [call]).get(call.key)
        decision = _permission(latest, call) if latest else None
        if decision is None:
            raise ClaimRefused(
                f"No approval fits the call of {call.tool} that was about to start; "
                "it was not run."
            )
        return decision.pk if decision.release_at <= timezone.now() else None

    def go_ahead(self, run: Run, change: CodeChange) -> bool:
        latest = run.requests.filter(call_key=UPGRADE_KEY).order_by("-revision").first()
        if latest is not None and latest.digest == change.digest:
            if latest.status == RequestStatus.APPROVED:
                return _approval(latest, change.digest) is not None
            if latest.is_pending:
                return False
        if latest is not None and latest.is_pending:
            _supersede(latest)
        upgrades.ask(run, change, revision=latest.revision + 1 if latest else 1)
        return False

    def renew(self, run: Run, calls: Sequence[Call], *, gone: Sequence[str]) -> None:
        changed = {call.key: call for call in calls}
        for request in run.requests.filter(
            call_key__in=[*changed, *gone], status__in=_UNUSED
        ):
            _supersede(request)
        known = _latest_of(run.pk, calls)
        for call in calls:
            latest = known.get(call.key)
            if call.gated:
                services.apply_rules(
                    _open(run, call, latest, ApprovalRequest.Kind.APPROVAL)
                )

    def awaiting_go_ahead(self) -> list[UUID]:
        waiting = ApprovalRequest.objects.filter(
            call_key=UPGRADE_KEY, status=RequestStatus.PENDING
        )
        return list(waiting.values_list("run_id", flat=True).order_by("run_id"))

    def expire_due(self, now: datetime, *, up_since: datetime) -> int:
        return services.expire_due(now, up_since=up_since)

    def look_after(self, now: datetime) -> None:
        services.escalate_due(now)
        if notices.are_mailed():
            services.tell_due(now)
            postman.send_soon(now)

    def note(self, run_id: UUID, *, by: str, action: str, said: dict[str, Any]) -> None:
        audit.append(run_id, actor=by, action=action, about=run_id, payload=said)

    def close(self, run: Run, *, below: str = "") -> None:
        now = timezone.now()
        if not below:
            run.rules.filter(revoked_at=None).update(revoked_at=now)
        requests = _below(run, below) if below else run.requests.all()
        started = run.executions.values("call_key")
        unused = (
            requests.filter(status=RequestStatus.APPROVED)
            .exclude(call_key__in=started)
            # A go-ahead is for exactly one change, which cannot come back by itself.
            .exclude(call_key=UPGRADE_KEY)
        )
        # What was decided and never counted: asked again, should the run go on.
        held = requests.filter(
            status__in=DECIDED_STATUSES, decision__release_at__gt=now
        )
        (unused | held).update(status=RequestStatus.SUPERSEDED, updated_at=now)
        for request in requests.filter(status=RequestStatus.PENDING):
            request.status = RequestStatus.CANCELLED
            request.decided_at = request.updated_at = now
            request.save(update_fields=["status", "decided_at", "updated_at"])
            services.announce(request)


def _supersede(request: ApprovalRequest) -> None:
    request.status = RequestStatus.SUPERSEDED
    request.updated_at = timezone.now()
    request.save(update_fields=["status", "updated_at"])
    services.announce(request)


def _latest_of(run_id: UUID, calls: Sequence[Call]) -> dict[str, ApprovalRequest]:
    """Return the newest request of each call by its key, with its decision."""
    if not calls:
        return {}
    latest = {}
    for request, decision in _REQUESTS(run_id, keys=[call.key for call in calls]):
        if decision is not None:
            request.decision = decision
        latest[request.call_key] = request
    return latest


def _unasked(
    calls: Sequence[Call], known: Mapping[str, ApprovalRequest]
) -> list[tuple[Call, ApprovalRequest | None]]:
    """Return the calls that nobody is asked about, each with its latest request."""
    return [
        (call, latest)
        for call in calls
        if (latest := known.get(call.key)) is None or latest.status in _TO_ASK_AGAIN
    ]


def _decided(calls: Sequence[Call], known: Mapping[str, ApprovalRequest]) -> Decided:
    """Return what `known`, their newest requests, say of these calls by now."""
    decided = {
        call.key: latest.decision
        for call in calls
        if (latest := known.get(call.key))
        and latest.call_digest == call.digest
        and _is_decided(latest)
    }
    now = timezone.now()
    counts = {key: it for key, it in decided.items() if it.release_at <= now}
    later = [it.release_at for it in decided.values() if it.release_at > now]
    said = {key: told(decision) for key, decision in counts.items()}
    return Decided(
        verdicts=said,
        permits={
            call.key: decision.pk
            for call in calls
            if call.key in counts
            and (decision := _permission(known[call.key], call.under(said[call.key])))
        },
        released_at=min(later, default=None),
        was_held=any(it.release_at > it.created_at for it in counts.values()),
    )


def _below(run: Run, key: str) -> QuerySet[ApprovalRequest]:
    """Return the requests of calls inside the call `key`."""
    frame = f"{key}/"
    # Compared here too: SQLite's LIKE does not tell d1 from D1.
    found = run.requests.filter(call_key__startswith=frame)
    rows = found.values_list("pk", "call_key")
    return run.requests.filter(pk__in=[pk for pk, at in rows if at.startswith(frame)])


def _open_again(
    run: Run, call: Call, latest: ApprovalRequest | None
) -> ApprovalRequest:
    """Ask about a call: anew, or what was asked before its run ended for a while."""
    if latest is None or latest.kind == ApprovalRequest.Kind.APPROVAL:
        return _open(run, call, latest, ApprovalRequest.Kind.APPROVAL)
    evidence = codec.loads(latest.evidence)
    return _open(run, call, latest, ApprovalRequest.Kind.RECONCILE, evidence)


def _permission(request: ApprovalRequest, call: Call) -> Decision | None:
    """Return the Decision that approves `call`: as the model wrote it, and as it runs.

    Both digests are computed anew from the texts.
    """
    if request.call_digest != call.current_digest():
        return None
    return _approval(request, call.running_digest())


def _approval(request: ApprovalRequest, digest: str) -> Decision | None:
    """Return the Decision that approves this request as exactly `digest`."""
    if request.status != RequestStatus.APPROVED or request.digest != digest:
        return None
    decision = request.decision
    approves = decision.verdict == Said.APPROVE and decision.digest == digest
    return decision if approves else None


def _is_decided(request: ApprovalRequest) -> bool:
    said = _VERDICT_OF.get(RequestStatus(request.status))
    return said is not None and request.decision.verdict == said


def _asks_whether_it_happened(
    request: ApprovalRequest, evidence: dict[str, Any]
) -> bool:
    """Say whether this attempt of the call has been asked about already."""
    return (
        request.kind == ApprovalRequest.Kind.RECONCILE
        and request.status != RequestStatus.CANCELLED
        and codec.loads(request.evidence)["attempt"] == evidence["attempt"]
    )


def _open(
    run: Run,
    call: Call,
    latest: ApprovalRequest | None,
    kind: ApprovalRequest.Kind,
    evidence: dict[str, Any] | None = None,
) -> ApprovalRequest:
    now = timezone.now()
    review = call.review
    expires = kind == ApprovalRequest.Kind.APPROVAL and review.expires_after
    request = ApprovalRequest(
        run=run,
        kind=kind,
        call_key=call.key,
        revision=latest.revision + 1 if latest else 1,
        tool=codec.storable(call.tool)[:200],
        agent_path=codec.storable(call.agent_path)[:500],
        path=codec.dumps(_path(run, call)),
        call=codec.dumps({"call_id": call.call_id, "arguments": call.arguments}),
        schema_hash=call.schema_hash,
        digest=call.digest,
        parameters=_parameters(call),
        summary_form=codec.storable(review.summary),
        risk=review.risk,
        why=codec.storable(call.why or IN_DOUBT)[:500],
        reviewers=review.reviewers,
        votes_needed=review.approvals,
        evidence=codec.dumps(evidence) if evidence else "",
        expires_at=now + expires if expires else None,
        escalate_to=review.escalate_to,
        escalate_at=now + review.escalate_after if review.escalate_after else None,
        tell_at=notices.first_moment(now, now + expires if expires else None),
        hold=review.hold,
        created_at=now,
        updated_at=now,
    )
    if latest is not None and kind == ApprovalRequest.Kind.RECONCILE:
        request.keep_edit_of(latest)  # the question is about what has started
    wording.describe(request, names=(call.tool, call.agent_path))
    request.save(force_insert=True)
    services.announce_new(request)
    return request


def _parameters(call: Call) -> str:
    """Return the schema by which a person may change the arguments; empty: nobody."""
    if call.kind is not CallKind.FUNCTION or call.parameters is None:
        return ""
    return codec.dumps(call.parameters)


def _path(run: Run, call: Call) -> list[str]:
    """Return agents and tools by turns, down to the tool called, as the log has them.

    An agent path names agents alone: the tools they are used as stand between.
    """
    if "/" not in call.key:
        return [call.agent_path, call.tool]
    ids = call.key.split("/")
    keys = ["/".join(ids[:count]) for count in range(1, len(ids))]
    rows = run.events.filter(kind=EventKind.ITEM, call_key__in=keys).order_by("seq")
    used = {row.call_key: row.data for row in rows.exclude(call_key="")}
    steps = [(used[key]["agent"], name_called(used[key]["raw"])) for key in keys]
    inner = call.agent_path.removeprefix(" / ".join(agent for agent, _ in steps))
    return [*chain(*steps), inner.removeprefix(" / "), call.tool]
