"""Which standing Rule, if any, decides a request. In doubt a person is asked.

The order is fixed. Some calls are always asked about (`why_not_always`, and calls whose
verdict was undone). Then a Rule that rejects goes first; then a call that was denied
earlier in this run is asked about; then the narrowest Rule that approves decides.

A Rule takes part only if it is in force, its tool is what it was, its conditions hold,
and its maker may still decide this very request.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from runs.engine import Risk
from runs.models import Run

from . import conditions
from .models import ApprovalRequest, Decision, RequestStatus, Rule, Verdict
from .policies import holds, why_not_decide
from .terms import GLOBAL_RULE, Terms

_NARROWEST_FIRST = list(Rule.Scope)


def why_not_always(request: ApprovalRequest) -> str | None:
    """Return what of the request itself keeps every Rule from it, or None."""
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


def why_not_make(
    request: ApprovalRequest, verdict: Verdict, terms: Terms, by: User | None
) -> str | None:
    """Return why `by` may not say always to the request on these terms, or None."""
    if reason := why_not_always(request):
        return reason
    if verdict not in (Verdict.APPROVE, Verdict.REJECT):
        return "An answer is for one call; there is no always for it."
    if reason := terms.fault:
        return reason
    return why_not_everywhere(by) if terms.scope == Rule.Scope.EVERYWHERE else None


def why_not_everywhere(by: User | None) -> str | None:
    """Return why `by` may not make Rules for every agent, or None.

    As with the right to decide, being a superuser is not enough.
    """
    if by is not None and holds(by, GLOBAL_RULE):
        return None
    return "You need the permission to make Rules for every agent; ask an admin."


def covering_rule(
    request: ApprovalRequest, rules: Iterable[Rule] | None = None
) -> Rule | None:
    """Return the Rule that decides the request, or None: a person is asked.

    `rules` are those of `rules_for`, if they are known already.
    """
    rules = rules_for(request) if rules is None else rules
    if not (fitting := [rule for rule in rules if _fits(rule, request)]):
        return None
    if why_not_always(request) is not None or _was_undone_before(request):
        return None
    fitting = [rule for rule in fitting if _may_still_say_so(rule, request)]
    for rule in fitting:
        if rule.verdict == Verdict.REJECT:
            return rule
    if not fitting or _was_denied_before(request):
        return None
    return fitting[0]


def rules_for(request: ApprovalRequest) -> list[Rule]:
    """Return the Rules in force for this tool here, whatever its schema is by now.

    Narrowest first. Their conditions and makers are not looked at.
    """
    run = request.run
    # In each branch, so that each can be answered from an index of its own.
    of_tool = Q(tool=request.tool, revoked_at=None)
    here = Q(of_tool, agent_path=request.agent_path)
    found = in_force(Rule.objects.all()).filter(
        Q(here, scope=Rule.Scope.RUN, run=run)
        | Q(here, scope=Rule.Scope.CONVERSATION, conversation=run.conversation_id)
        | Q(here, scope=Rule.Scope.AGENT, agent_key=run.agent_key)
        | Q(of_tool, scope=Rule.Scope.EVERYWHERE)
    )
    rules = list(found.select_related("creator").order_by("id"))
    return sorted(
        rules, key=lambda rule: _NARROWEST_FIRST.index(Rule.Scope(rule.scope))
    )


def in_force(rules: QuerySet[Rule]) -> QuerySet[Rule]:
    """Those of `rules` that are not revoked, suspended, expired, idle or used up."""
    now = timezone.now()
    return rules.filter(
        Q(expires_at=None) | Q(expires_at__gt=now),
        Q(idle_at=None) | Q(idle_at__gt=now),
        Q(use_cap=None) | Q(uses__lt=F("use_cap")),
        revoked_at=None,
        suspended_at=None,
    )


def is_outdated(rule: Rule, request: ApprovalRequest) -> bool:
    """Say whether the request shows that the Rule's own tool has changed."""
    same_tool = rule.tool == request.tool and rule.agent_path == request.agent_path
    same_agent = rule.agent_key == request.run.agent_key
    return same_tool and same_agent and rule.schema_hash != request.schema_hash


def open_in(request: ApprovalRequest, rule: Rule) -> list[ApprovalRequest]:
    """Return the other open requests of this run that a new `rule` would decide."""
    others = ApprovalRequest.objects.filter(
        run=request.run, tool=rule.tool, status=RequestStatus.PENDING
    ).exclude(pk=request.pk)
    others = others.select_related("run").order_by("id")
    decided = [other for other in others if _would_decide(rule, other)]
    return decided[: rule.use_cap]


def means(rule: Rule, arguments: str) -> bool:
    """Say whether the Rule's conditions hold for a call with these arguments."""
    try:
        return conditions.covers(conditions.parse(rule.conditions), arguments)
    except conditions.ConditionsError:
        return False


def _would_decide(rule: Rule, request: ApprovalRequest) -> bool:
    same_agent = rule.agent_path == request.agent_path
    if not (same_agent or rule.scope == Rule.Scope.EVERYWHERE):
        return False
    rules = [*rules_for(request), rule]
    return covering_rule(request, rules) is not None


def _fits(rule: Rule, request: ApprovalRequest) -> bool:
    if rule.schema_hash != request.schema_hash:
        return False
    return means(rule, str(request.call_data.get("arguments", "")))


def _may_still_say_so(rule: Rule, request: ApprovalRequest) -> bool:
    """A Rule says no more than its maker may say by now."""
    if rule.scope == Rule.Scope.EVERYWHERE and why_not_everywhere(rule.creator):
        return False
    return why_not_decide(rule.creator, request) is None


def _was_denied_before(request: ApprovalRequest) -> bool:
    """The digest names agent, tool, schema and arguments: the same intent.

    What was denied in a run is denied in what was forked from it. Who changed a call
    has denied it as it was.
    """
    runs, digest = _with_parents(request.run), request.digest
    rejected = Decision.objects.filter(
        request__run__in=runs, digest=digest, verdict=Verdict.REJECT
    )
    changed = ApprovalRequest.objects.filter(
        run__in=runs, edited_by__isnull=False, written__contains=f'"{digest}"'
    )
    return rejected.exists() or changed.exists()


def _with_parents(run: Run) -> list[UUID]:
    """Return the run, and those it was forked from, as far as they go back."""
    line, parent = [run.pk], run.parent_id
    while parent is not None and parent not in line:
        line.append(parent)
        parent = Run.objects.values_list("parent_id", flat=True).get(pk=parent)
    return line


def _was_undone_before(request: ApprovalRequest) -> bool:
    """A verdict a person took back is not given again by a Rule, nor in a fork."""
    return ApprovalRequest.objects.filter(
        run__in=_with_parents(request.run),
        digest=request.digest,
        status=RequestStatus.UNDONE,
    ).exists()
