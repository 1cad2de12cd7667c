"""Every write about requests and decisions. `decide` is the one door for verdicts.

Page, command, admin, standing Rule and expiry come through it; nothing else writes a
Decision. `undo` takes one back while it is held.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

from django.contrib.auth.models import User
from django.db import DatabaseError
from django.db.models import F, QuerySet
from django.utils import timezone

from runs import codec
from runs.ids import new_id
from runs.live.pokes import poke
from runs.models import EventKind, RunStatus
from runs.services import end, lock, record_event, wake
from runs.transactions import write

from . import audit, policies
from .errors import (
    AlreadyDecided,
    DecisionError,
    InvalidDecision,
    NotAllowed,
    NotUndoable,
    Stale,
)
from .models import (
    STATUS_AFTER,
    ApprovalRequest,
    Decision,
    RequestStatus,
    Rule,
    Verdict,
    Vote,
)
from .topics import QUEUE

__all__ = [
    "AlreadyDecided",
    "DecisionError",
    "InvalidDecision",
    "NotAllowed",
    "NotUndoable",
    "Stale",
    "announce",
    "decide",
    "deny_orphans",
    "expire_due",
    "undo",
]

logger = logging.getLogger(__name__)

MAX_TEXT = 4000
CLEAN_UP = "approvals.change_approvalrequest"
EXPIRED_AT_ONCE = 100
RETURN_GRACE = timedelta(seconds=60)
"""What people have, once Placet is back, for requests that fell due meanwhile."""
ORPHANED = "An administrator closed this request, because nobody decided it."


@write
def decide(
    request_id: UUID,
    *,
    verdict: Verdict | str,
    by: User | Rule | None,
    digest_seen: str,
    reason: str = "",
    output: str = "",
    always: bool = False,
    as_clean_up: bool = False,
) -> ApprovalRequest:
    """Record `by`'s verdict, and let the run go on with it once it is released.

    Returns the request as it then stands. `reason` reaches the model with a rejection;
    `output` stands for the tool's output with an answer. To reject that a run goes on
    under changed code ends it. `always` also makes a Rule
    for this run, agent and tool, which decides their other open requests. Rejecting
    `as_clean_up` is an admin's, not a reviewer's. Nobody, None, does nothing but reject
    a request whose time is over.

    Raises InvalidDecision, AlreadyDecided, Stale when `digest_seen` is not the
    request's digest, NotAllowed; ApprovalRequest.DoesNotExist.
    """
    request = _locked(request_id)
    if not request.is_pending:
        raise _refusal(request, by, digest_seen)
    verdict = _fitting(verdict, request, output=output, always=always)
    reason, output = _storable(reason), _storable(output)
    if not _cast_vote(request, verdict, by, digest_seen, as_clean_up=as_clean_up):
        raise _refusal(request, by, digest_seen)
    request.refresh_from_db()
    if isinstance(by, User):
        _keep_vote(request, verdict, by, digest_seen, reason)
    if verdict != Verdict.APPROVE or request.votes >= request.votes_needed:
        decision = _settle(request, verdict, by, reason, output)
        if always and isinstance(by, User):
            _make_rule(decision, by)
    announce(request, by=_shown_name(by))
    if _ends_its_run(request):  # last: nothing about a request follows that
        _end_run(request, by, reason)
    return request


def deny_orphans(request_ids: Collection[UUID], *, by: User) -> int:
    """Reject those of the open requests `request_ids` nobody decides; return how many.

    Their runs go on with the rejection, so the conversations stay usable. Raises
    NotAllowed without the right to clean up.
    """
    done = 0
    pending = ApprovalRequest.objects.filter(
        pk__in=request_ids, status=RequestStatus.PENDING
    )
    for request in pending:
        try:
            decide(
                request.pk,
                verdict=Verdict.REJECT,
                by=by,
                digest_seen=request.digest,
                reason=ORPHANED,
                as_clean_up=True,
            )
        except AlreadyDecided:
            continue
        done += 1
    return done


def expire_due(now: datetime, *, up_since: datetime) -> int:
    """Reject what nobody has decided in time, some at once; return how many.

    Any process may do so at any time. What fell due before `up_since`, when this
    process began to look, waits for RETURN_GRACE: perhaps nobody could decide it.
    """
    due = ApprovalRequest.objects.filter(
        status=RequestStatus.PENDING, expires_at__lte=now
    )
    if now < up_since + RETURN_GRACE:
        due = due.filter(expires_at__gte=up_since)
    ids = due.order_by("expires_at").values_list("pk", "digest")[:EXPIRED_AT_ONCE]
    return sum(_expire(pk, digest) for pk, digest in list(ids))


def _expire(request_id: UUID, digest: str) -> bool:
    try:
        decide(request_id, verdict=Verdict.REJECT, by=None, digest_seen=digest)
    except DecisionError:
        return False  # someone was first
    except DatabaseError:
        extra = {"request_id": str(request_id)}
        logger.exception("A request was not expired; it is tried again", extra=extra)
        return False
    return True


@write
def undo(request_id: UUID, *, by: User) -> ApprovalRequest:
    """Take back the verdict on a request while it is held; return the one that follows.

    The call is asked about anew, under a request of the next revision. A Rule made
    with the verdict goes with it, and so does what that Rule has decided and is still
    held. A claim and an undo both lock the run: whichever comes first stands.

    Raises NotAllowed, NotUndoable; ApprovalRequest.DoesNotExist.
    """
    request = _locked(request_id)
    now = timezone.now()
    undoable = policies.undoable_by(by, request, now)
    if not undoable.update(status=RequestStatus.UNDONE, updated_at=now):
        raise _why_not_undone(request, by, now)
    again = _take_back(request, by)
    for rule in request.decision.made_rules.filter(revoked_at=None):
        _revoke(rule, request, by, now)
    return again


def announce(request: ApprovalRequest, *, by: str = "") -> None:
    """Tell run and queue that the request changed, inside the caller's transaction."""
    payload = {"request": str(request.pk), "status": request.status, "by": by}
    record_event(request.run_id, EventKind.REQUEST, payload, call_key=request.call_key)
    poke(QUEUE)


def _locked(request_id: UUID) -> ApprovalRequest:
    """Return the request with its run locked: every writer locks the run first."""
    run_id = ApprovalRequest.objects.values_list("run_id", flat=True).get(pk=request_id)
    lock(run_id)
    return ApprovalRequest.objects.select_related("run").get(pk=request_id)


def _fitting(
    verdict: Verdict | str, request: ApprovalRequest, *, output: str, always: bool
) -> Verdict:
    """Return the verdict, if it is one and this request can take it."""
    try:
        known = Verdict(verdict)
    except ValueError:
        raise InvalidDecision(
            f"{verdict!r} is no verdict; choose approve or reject.", request
        ) from None
    reconciling = request.kind == ApprovalRequest.Kind.RECONCILE
    if known == Verdict.ANSWER and not reconciling:
        raise InvalidDecision("Only a call in doubt can be answered.", request)
    if known == Verdict.ANSWER and not output.strip():
        raise InvalidDecision("Write what the call's output was.", request)
    if always and (reason := policies.why_not_always(request)):
        raise InvalidDecision(reason, request)
    return known


def _cast_vote(
    request: ApprovalRequest,
    verdict: Verdict,
    by: User | Rule | None,
    digest_seen: str,
    *,
    as_clean_up: bool,
) -> bool:
    """Count the vote, if at this moment it may be cast. The UPDATE decides races."""
    now = timezone.now()
    if by is None:
        due = policies.expirable(request, now).filter(digest=digest_seen)
        return verdict == Verdict.REJECT and bool(due.update(updated_at=now))
    votable = _votable(request, verdict, by, digest_seen, as_clean_up=as_clean_up)
    return bool(votable.update(votes=F("votes") + 1, updated_at=now))


def _votable(
    request: ApprovalRequest,
    verdict: Verdict,
    by: User | Rule,
    digest_seen: str,
    *,
    as_clean_up: bool,
) -> QuerySet[ApprovalRequest]:
    if isinstance(by, User) and not as_clean_up:
        return policies.votable_by(by, request, digest_seen)
    may_clean_up = (
        isinstance(by, User)
        and verdict == Verdict.REJECT
        and by.is_active
        and by.has_perm(CLEAN_UP)
    )
    if not may_clean_up and policies.covering_rule(request) != by:
        return ApprovalRequest.objects.none()
    return ApprovalRequest.objects.filter(
        pk=request.pk, status=RequestStatus.PENDING, digest=digest_seen
    )


def _refusal(
    request: ApprovalRequest, by: User | Rule | None, digest_seen: str
) -> DecisionError:
    """Return why no vote could be cast, from the request as it stands now."""
    request.refresh_from_db()
    if not request.is_pending:
        return AlreadyDecided(
            f"This request is already {request.get_status_display().lower()}; "
            "nothing was changed.",
            request,
        )
    if request.digest != digest_seen:
        return Stale(
            "This call has changed since you looked at it; look at it again.", request
        )
    reason = policies.why_not_decide(by, request) if isinstance(by, User) else None
    return NotAllowed(reason or "You may not decide this request.", request)


def _keep_vote(
    request: ApprovalRequest,
    verdict: Verdict,
    voter: User,
    digest_seen: str,
    reason: str,
) -> None:
    vote = Vote.objects.create(
        request=request,
        voter=voter,
        verdict=verdict,
        reason=reason,
        digest_seen=digest_seen,
        created_at=timezone.now(),
    )
    _audit(request, "vote", voter.get_username(), verdict, reason, vote=vote.pk)


def _settle(
    request: ApprovalRequest,
    verdict: Verdict,
    by: User | Rule | None,
    reason: str,
    output: str,
) -> Decision:
    """End the request, and have the run look at what was decided once it counts."""
    now = timezone.now()
    hold = timedelta(0) if by is None else request.hold
    request.status = RequestStatus.EXPIRED if by is None else STATUS_AFTER[verdict]
    request.decided_at = request.updated_at = now
    request.save(update_fields=["status", "decided_at", "updated_at"])
    decision = Decision.objects.create(
        request=request,
        verdict=verdict,
        actor=by if isinstance(by, User) else None,
        rule=by if isinstance(by, Rule) else None,
        reason=reason,
        output=output,
        digest=request.digest,
        release_at=now + hold,
        created_at=now,
    )
    if isinstance(by, Rule):
        Rule.objects.filter(pk=by.pk).update(uses=F("uses") + 1)
    if not _ends_its_run(request):
        wake(request.run_id, at=decision.release_at if hold else None)
    _audit(request, "decide", _name(by), verdict, reason, decision=str(decision.pk))
    return decision


def _ends_its_run(request: ApprovalRequest) -> bool:
    """Say whether it was settled that a run does not go on under changed code."""
    is_upgrade = request.kind == ApprovalRequest.Kind.UPGRADE
    return is_upgrade and request.status == RequestStatus.REJECTED


def _end_run(request: ApprovalRequest, by: User | Rule | None, reason: str) -> None:
    """End the run as failed: it may be resumed, and its conversation goes on.

    At once, because it ends whatever the code is by the time it would be looked at.
    """
    run = lock(request.run_id)
    if not run.is_open:
        return
    told = f"{_shown_name(by)} ended the run: it does not go on under changed code."
    error = f"{told} Reason: {reason}" if reason else told
    end(run, RunStatus.FAILED, error=error, by=_shown_name(by))


def _make_rule(decision: Decision, creator: User) -> None:
    """Make *always* true: a Rule for the rest of the run, and for what is open."""
    request, verdict = decision.request, Verdict(decision.verdict)
    rule = Rule.objects.create(
        scope=Rule.Scope.RUN,
        run=request.run,
        agent_path=request.agent_path,
        tool=request.tool,
        schema_hash=request.schema_hash,
        verdict=verdict,
        reason=decision.reason,
        creator=creator,
        made_with=decision,
        created_at=timezone.now(),
    )
    name, ids = creator.get_username(), {"rule": str(rule.pk)}
    _audit(request, "rule", name, verdict, rule.reason, **ids)
    for other in policies.covered_by(rule):
        apply_rules(other)


def apply_rules(request: ApprovalRequest) -> None:
    """Let a standing Rule decide the request, if one covers it."""
    if rule := policies.covering_rule(request):
        decide(
            request.pk,
            verdict=rule.verdict,
            by=rule,
            digest_seen=request.digest,
            reason=rule.reason,
        )
        request.refresh_from_db()


def _why_not_undone(request: ApprovalRequest, by: User, now: datetime) -> DecisionError:
    """Return why a verdict could not be taken back, from the request as it stands."""
    request = ApprovalRequest.objects.select_related("run").get(pk=request.pk)
    if request.is_pending:
        return NotUndoable("Nothing is decided yet; there is nothing to undo.", request)
    if request.status == RequestStatus.UNDONE:
        return NotUndoable("This verdict has been undone already.", request)
    if request.is_held(now) and (reason := policies.why_not_undo(by, request, now)):
        return NotAllowed(reason, request)
    return NotUndoable(
        f"This request is {request.get_status_display().lower()}, and it is too late "
        "to undo that; nothing was changed.",
        request,
    )


def _take_back(request: ApprovalRequest, by: User) -> ApprovalRequest:
    """Record that the request's verdict was undone, and ask about its call anew."""
    request.refresh_from_db()
    decision = request.decision
    again = _reopened(request)
    ids = {"decision": str(decision.pk), "reopened": str(again.pk)}
    verdict = Verdict(decision.verdict)
    _audit(request, "undo", by.get_username(), verdict, decision.reason, **ids)
    announce(request, by=by.get_username())
    asked = {"kind": again.kind, "digest": again.digest, "call": again.call_key}
    audit.append(
        again.run_id, actor="Placet", action="request", about=again.pk, payload=asked
    )
    announce(again)
    return again


def _reopened(request: ApprovalRequest) -> ApprovalRequest:
    """Return a new request about the same call, with nothing said about it yet."""
    again = ApprovalRequest.objects.get(pk=request.pk)
    now = timezone.now()
    if again.expires_at is not None:
        again.expires_at = now + (again.expires_at - again.created_at)
    again.pk = new_id()
    again.revision += 1
    again.status, again.votes, again.decided_at = RequestStatus.PENDING, 0, None
    again.created_at = again.updated_at = now
    again.save(force_insert=True)
    return again


def _revoke(rule: Rule, request: ApprovalRequest, by: User, now: datetime) -> None:
    """End a Rule whose making was undone, and undo what it decided and is held."""
    Rule.objects.filter(pk=rule.pk).update(revoked_at=now)
    name, ids = by.get_username(), {"rule": str(rule.pk)}
    _audit(request, "revoke", name, Verdict(rule.verdict), rule.reason, **ids)
    made = rule.decisions.filter(request__run=request.run, release_at__gt=now)
    for decision in made.select_related("request"):
        held = policies.held(decision.request, now)
        if held.update(status=RequestStatus.UNDONE, updated_at=now):
            _take_back(decision.request, by)


def _audit(
    request: ApprovalRequest,
    action: str,
    actor: str,
    verdict: Verdict,
    reason: str,
    **ids: object,
) -> None:
    payload = {
        "request": str(request.pk),
        "digest": request.digest,
        "verdict": str(verdict),
        "reason": reason,
        **ids,
    }
    audit.append(
        request.run_id, actor=actor, action=action, about=request.pk, payload=payload
    )


def _storable(text: str) -> str:
    return codec.storable(text.strip())[:MAX_TEXT]


def _name(by: User | Rule | None) -> str:
    """Who decided, for the audit trail."""
    if by is None:
        return "Placet"
    return by.get_username() if isinstance(by, User) else f"rule {by.pk}"


def _shown_name(by: User | Rule | None) -> str:
    """Who decided, as a person reads it; empty when nobody did."""
    if by is None:
        return ""
    return by.get_username() if isinstance(by, User) else by.owner_name
