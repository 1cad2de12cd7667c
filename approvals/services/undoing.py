"""A verdict taken back while it is held."""

from __future__ import annotations

import logging
from datetime import datetime
from uuid import UUID

from django.contrib.auth.models import User
from django.db import DatabaseError
from django.utils import timezone

from runs.ids import new_id
from runs.transactions import write

from .. import notices, policies
from ..errors import DecisionError, NotAllowed, NotUndoable
from ..models import ApprovalRequest, Decision, RequestStatus, Rule, Verdict
from .rules import end_rule
from .telling import announce, announce_new, locked, record

logger = logging.getLogger(__name__)

WITH_ITS_VERDICT = "The verdict it was made with was undone."


def undo(request_id: UUID, *, by: User) -> ApprovalRequest:
    """Take back the verdict on a request while it is held; return the one that follows.

    The call is asked about anew, under a request of the next revision. A Rule made
    with the verdict goes with it, and so does what that Rule has decided and is still
    held: of this run in the same commit, of each other run in one of its own. A claim
    and an undo both lock the run: whichever comes first stands.

    Raises NotAllowed, NotUndoable; ApprovalRequest.DoesNotExist.
    """
    again = _undo(request_id, by)
    for pk in _decided_elsewhere(request_id):
        try:
            _undo(pk, by, made_by_its_rule=True)
        except DecisionError:
            continue  # it counts already
        except DatabaseError:
            # What was asked for is done and committed; the other call is still held.
            extra = {"request_id": str(pk)}
            logger.exception("What a Rule decided was not undone with it", extra=extra)
    return again


@write
def _undo(
    request_id: UUID, by: User, *, made_by_its_rule: bool = False
) -> ApprovalRequest:
    """Undo one verdict; `by` undoes what a Rule they undo has decided as well.

    Two runs are never locked at once.
    """
    request = locked(request_id)
    now = timezone.now()
    if made_by_its_rule:
        undoable = policies.held(request, now)
    else:
        undoable = policies.undoable_by(by, request, now)
    if not undoable.update(status=RequestStatus.UNDONE, updated_at=now):
        raise _why_not_undone(request, by, now)
    again = _take_back(request, by)
    for rule in request.decision.made_rules.filter(revoked_at=None):
        _revoke(rule, request, by, now)
    return again


def _decided_elsewhere(request_id: UUID) -> list[UUID]:
    """Return what a Rule made with the request's verdict decided in other runs."""
    made = Decision.objects.filter(
        rule__made_with__request=request_id,
        rule__revoke_reason=WITH_ITS_VERDICT,
        release_at__gt=timezone.now(),
    ).exclude(request__run__requests=request_id)
    return list(made.order_by("pk").values_list("request_id", flat=True))


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
    record(request, "undo", by.get_username(), verdict, decision.reason, **ids)
    announce(request, by=by.get_username())
    announce_new(again)
    return again


def _reopened(request: ApprovalRequest) -> ApprovalRequest:
    """Return a new request about the same call, with nothing said about it yet."""
    again = ApprovalRequest.objects.get(pk=request.pk)
    now = timezone.now()
    if again.expires_at is not None:
        again.expires_at = now + (again.expires_at - again.created_at)
    if again.escalate_at is not None:
        again.escalate_at = now + (again.escalate_at - again.created_at)
    again.tell_at = notices.first_moment(now, again.expires_at)
    again.pk = new_id()
    again.revision += 1
    again.status, again.votes, again.decided_at = RequestStatus.PENDING, 0, None
    again.created_at = again.updated_at = now
    again.save(force_insert=True)
    return again


def _revoke(rule: Rule, request: ApprovalRequest, by: User, now: datetime) -> None:
    """End a Rule whose making was undone, and undo what it decided and is held."""
    end_rule(rule, by=by, reason=WITH_ITS_VERDICT)
    name, ids = by.get_username(), {"rule": str(rule.pk)}
    record(request, "revoke", name, Verdict(rule.verdict), rule.reason, **ids)
    made = rule.decisions.filter(request__run=request.run, release_at__gt=now)
    for decision in made.select_related("request"):
        held = policies.held(decision.request, now)
        if held.update(status=RequestStatus.UNDONE, updated_at=now):
            _take_back(decision.request, by)
