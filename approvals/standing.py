"""Which standing Rule, if any, decides a request. In doubt a person is asked."""

from __future__ import annotations

from django.db.models import Q, QuerySet
from django.utils import timezone

from runs.engine import Risk

from .models import ApprovalRequest, Decision, RequestStatus, Rule, Verdict
from .policies import why_not_decide


def why_not_always(request: ApprovalRequest) -> str | None:
    """Return why no standing Rule may be made from the request, or None."""
    if request.kind == ApprovalRequest.Kind.UPGRADE:
        return "Each change of the code is asked about."
    if request.kind != ApprovalRequest.Kind.APPROVAL:
        return "Whether a call happened is asked each time."
    if request.risk == Risk.CRITICAL:
        return "This tool is critical: every call is asked about."
    if request.votes_needed > 1:
        return f"This tool needs {request.votes_needed} approvals for every call."
    if request.is_edited:
        return "A person changed this call; what was changed is decided each time."
    if request.warnings:
        return "Its text has display warnings; calls like it are asked about each time."
    return None


def covering_rule(request: ApprovalRequest) -> Rule | None:
    """Return the Rule that decides the request, or None: a person is asked.

    Deny goes before allow. A changed schema, an expired, revoked or used-up Rule, one
    whose maker may not decide any more, a call that was denied in this run before or
    whose verdict was undone, and all that `why_not_always` names: ask.
    """
    if why_not_always(request) is not None or _was_undone_before(request):
        return None
    rules = [rule for rule in _rules_for(request) if _holds_still(rule, request)]
    denying = [rule for rule in rules if rule.verdict == Verdict.REJECT]
    if denying:
        return denying[0]
    if not rules or _was_denied_before(request):
        return None
    return rules[0]


def covered_by(rule: Rule) -> QuerySet[ApprovalRequest]:
    """Open requests of the Rule's own run that may be covered by it."""
    return ApprovalRequest.objects.filter(
        run=rule.run,
        agent_path=rule.agent_path,
        tool=rule.tool,
        schema_hash=rule.schema_hash,
        status=RequestStatus.PENDING,
    ).order_by("id")


def _rules_for(request: ApprovalRequest) -> QuerySet[Rule]:
    return (
        Rule.objects.filter(
            Q(expires_at=None) | Q(expires_at__gt=timezone.now()),
            scope=Rule.Scope.RUN,
            run=request.run,
            agent_path=request.agent_path,
            tool=request.tool,
            schema_hash=request.schema_hash,
            revoked_at=None,
        )
        .select_related("creator")
        .order_by("id")
    )


def _holds_still(rule: Rule, request: ApprovalRequest) -> bool:
    """A Rule says no more than its maker may say by now."""
    used_up = rule.use_cap is not None and rule.uses >= rule.use_cap
    return not used_up and why_not_decide(rule.creator, request) is None


def _was_denied_before(request: ApprovalRequest) -> bool:
    """The digest names agent, tool, schema and arguments: the same intent."""
    return Decision.objects.filter(
        request__run=request.run, digest=request.digest, verdict=Verdict.REJECT
    ).exists()


def _was_undone_before(request: ApprovalRequest) -> bool:
    """A verdict a person took back is not given again by a Rule."""
    return ApprovalRequest.objects.filter(
        run=request.run, digest=request.digest, status=RequestStatus.UNDONE
    ).exists()
