"""`decide`, the one door for verdicts: nothing else writes a Decision."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import F
from django.utils import timezone

from runs import codec
from runs.models import RunStatus
from runs.services import end, lock, stop_run, wake
from runs.statements import Change, Update, insert
from runs.transactions import write

from .. import policies, standing
from ..errors import AlreadyDecided, DecisionError, InvalidDecision, NotAllowed, Stale
from ..models import (
    STATUS_AFTER,
    ApprovalRequest,
    Decision,
    RequestStatus,
    Rule,
    Verdict,
    Vote,
)
from ..terms import Terms
from .rules import make_rule, suspend_outdated, take_use
from .telling import announce, locked, name_of, record, shown_name

Kind = ApprovalRequest.Kind
MAX_TEXT = 4000
MAX_OUTPUT = 100_000
CLEAN_UP = "approvals.change_approvalrequest"
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
    always: Terms | None = None,
    stop: bool = False,
    as_clean_up: bool = False,
) -> ApprovalRequest:
    """Record `by`'s verdict, and let the run go on with it once it is released.

    Returns the request as it then stands. `reason` reaches the model with a rejection;
    `output` stands for the tool's output with an answer. To reject with `stop` also
    stops the run for good, in the same commit. To reject that a run goes on under
    changed code ends it. `always` also makes a Rule on these terms, which decides the
    other open requests of this run that it covers. Rejecting `as_clean_up` is an
    admin's, not a reviewer's, and makes no Rule. Nobody, None, does nothing but reject
    a request whose time is over.

    Raises InvalidDecision, AlreadyDecided, Stale when `digest_seen` is not the
    request's digest, NotAllowed; ApprovalRequest.DoesNotExist.
    """
    request = locked(request_id)
    # The vote's UPDATE compares the digest too; what is posted need not be one.
    if not request.is_pending or request.digest != digest_seen:
        raise refusal(request, by, digest_seen)
    verdict = _fitting(verdict, request, output=output, stop=stop)
    _check_terms(verdict, request, by, always)
    # Of an answer nothing is cut: the model would take a part for all of it.
    reason, output = storable_text(reason), codec.storable(output.strip())
    if not _cast_vote(request, verdict, by, digest_seen, as_clean_up=as_clean_up):
        raise refusal(request, by, digest_seen)
    if isinstance(by, User):
        _keep_vote(request, verdict, by, digest_seen, reason)
    if verdict != Verdict.APPROVE or request.votes >= request.votes_needed:
        decision = _settle(request, verdict, by, reason, output, stop=stop)
        if always and isinstance(by, User) and not as_clean_up:
            _make_rule(decision, always, by)
    announce(request, by=shown_name(by))
    if _ends_its_run(request):  # last: nothing about a request follows that
        _end_run(request, by, reason)
    elif stop and isinstance(by, User):
        stop_run(request.run_id, by=by)
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


def apply_rules(request: ApprovalRequest) -> None:
    """Let a standing Rule decide the request, if one covers it."""
    rules = standing.rules_for(request)
    if rule := standing.covering_rule(request, rules):
        _apply(rule, request)
    suspend_outdated(rules, request)


def _apply(rule: Rule, request: ApprovalRequest) -> None:
    # Not allowed: another run took its last use, or it was revoked. A person is asked.
    with suppress(NotAllowed):
        decide(
            request.pk,
            verdict=rule.verdict,
            by=rule,
            digest_seen=request.digest,
            reason=rule.reason,
        )
    request.refresh_from_db()


def _fitting(
    verdict: Verdict | str, request: ApprovalRequest, *, output: str, stop: bool
) -> Verdict:
    """Return the verdict, if it is one and this request can take it."""
    try:
        known = Verdict(verdict)
    except ValueError:
        raise InvalidDecision(
            f"{verdict!r} is no verdict; choose approve, reject or answer.", request
        ) from None
    answers = known == Verdict.ANSWER
    if answers and request.kind == Kind.UPGRADE:
        raise InvalidDecision("Only a call can be answered.", request)
    if answers and not output.strip():
        raise InvalidDecision("Write the output that the model shall get.", request)
    if len(output) > MAX_OUTPUT:
        raise InvalidDecision(f"Use at most {MAX_OUTPUT} characters.", request)
    if stop and (known != Verdict.REJECT or request.kind == Kind.UPGRADE):
        raise InvalidDecision("Only to reject a call can stop its run too.", request)
    return known


def _check_terms(
    verdict: Verdict,
    request: ApprovalRequest,
    by: User | Rule | None,
    always: Terms | None,
) -> None:
    """Raise InvalidDecision if no Rule can be made on these terms."""
    if always is None:
        return
    maker = by if isinstance(by, User) else None
    if reason := standing.why_not_make(request, verdict, always, maker):
        raise InvalidDecision(reason, request)


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
    if isinstance(by, User) and not as_clean_up:
        vote = _APPROVING if verdict == Verdict.APPROVE else _REFUSING
        voted = vote(user=by.pk, request=request.pk, digest=digest_seen, now=now)
    elif _may_without_right(request, verdict, by):
        pending = ApprovalRequest.objects.filter(status=RequestStatus.PENDING)
        votable = pending.filter(pk=request.pk, digest=digest_seen)
        voted = votable.update(**_VOTED, updated_at=now)
    else:
        return False
    request.votes += voted
    return bool(voted)


def _vote(
    user: int, request: UUID, digest: str, now: datetime, *, approves: bool
) -> Change:
    votable = policies.votable_by(user, request, digest, approves=approves)
    return votable, {**_VOTED, "updated_at": now}


_VOTED = {"votes": F("votes") + 1}
_APPROVING = Update(partial(_vote, approves=True))
_REFUSING = Update(partial(_vote, approves=False))


def _may_without_right(
    request: ApprovalRequest, verdict: Verdict, by: User | Rule
) -> bool:
    """Say whether an admin may clean the request up, or a Rule may decide it.

    A Rule's use is counted with that.
    """
    if isinstance(by, User):
        cleans_up = by.is_active and by.has_perm(CLEAN_UP)
        return verdict == Verdict.REJECT and cleans_up
    if request.is_edited or standing.covering_rule(request) != by:
        return False
    return take_use(by)


def refusal(
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
    reason = policies.why_not_approve(by, request) if isinstance(by, User) else None
    return NotAllowed(reason or "You may not decide this request.", request)


def _keep_vote(
    request: ApprovalRequest,
    verdict: Verdict,
    voter: User,
    digest_seen: str,
    reason: str,
) -> None:
    vote = Vote(
        request=request,
        voter=voter,
        verdict=verdict,
        reason=reason,
        digest_seen=digest_seen,
        created_at=timezone.now(),
    )
    insert(vote)
    record(request, "vote", voter.get_username(), verdict, reason, vote=vote.pk)


def _settle(
    request: ApprovalRequest,
    verdict: Verdict,
    by: User | Rule | None,
    reason: str,
    output: str,
    *,
    stop: bool,
) -> Decision:
    """End the request, and have the run look at what was decided once it counts."""
    now = timezone.now()
    # A stopped run is no more: there is nothing left to take the verdict back for.
    hold = timedelta(0) if by is None or stop else request.hold
    request.status = RequestStatus.EXPIRED if by is None else STATUS_AFTER[verdict]
    request.decided_at = request.updated_at = now
    _END(request=request.pk, status=request.status.value, now=now)
    decision = Decision(
        request=request,
        verdict=verdict,
        tool=request.tool,
        actor=by if isinstance(by, User) else None,
        rule=by if isinstance(by, Rule) else None,
        reason=reason,
        output=output,
        stops_run=stop,
        digest=request.digest,
        release_at=now + hold,
        created_at=now,
    )
    insert(decision)
    if not stop and not _ends_its_run(request):
        wake(request.run_id, at=decision.release_at if hold else None)
    ids = {"decision": str(decision.pk), **({"stop": True} if stop else {})}
    record(request, "decide", name_of(by), verdict, reason, **ids)
    return decision


def _end(request: UUID, status: str, now: datetime) -> Change:
    ended = {"status": status, "decided_at": now, "updated_at": now}
    return ApprovalRequest.objects.filter(pk=request), ended


_END = Update(_end)


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
    told = f"{shown_name(by)} ended the run: it does not go on under changed code."
    error = f"{told} Reason: {reason}" if reason else told
    end(run, RunStatus.FAILED, error=error, by=shown_name(by))


def _make_rule(decision: Decision, terms: Terms, creator: User) -> None:
    """Make *always* true: a Rule, and its verdict on what is open in this run."""
    rule = make_rule(decision, terms, creator)
    for other in standing.open_in(decision.request, rule):
        apply_rules(other)


def storable_text(text: str) -> str:
    return codec.storable(text.strip())[:MAX_TEXT]
