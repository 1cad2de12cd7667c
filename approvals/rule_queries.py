"""What is seen of standing Rules, and by whom; and what a Rule would have done."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from runs.models import Conversation, Run
from runs.queries import Viewer

from . import policies, queries, standing
from .models import ApprovalRequest, Decision, RequestStatus, Rule, RuleState, Verdict

PAGE_SIZE = 50
CHIPS_SHOWN = 20
TESTED = 60
"""A Rule is tried on so many of the last decisions that people took on its tool."""
LOOKED_THROUGH = 2_000
"""Those are sought among so many of the newest decided requests."""

_OVER = Q(revoked_by=None, scope=Rule.Scope.RUN)


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesPage:
    rules: list[Rule]
    older: UUID | None
    """Ask for the Rules before this one; None on the last page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsesPage:
    decisions: list[Decision]
    older: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackTest:
    """What a Rule would have done to decisions that people took."""

    looked_at: int
    covered: list[ApprovalRequest]
    contrary: list[ApprovalRequest]
    """Those of `covered` that people decided the other way."""


def visible_rules(user: Viewer) -> QuerySet[Rule]:
    """Return what `user` may see: the queue's readers all, others their own runs'.

    A Rule for more than one conversation names arguments of others' calls.
    """
    found = Rule.objects.select_related(
        "creator",
        "revoked_by",
        "conversation",
        "run__conversation",
        "made_with__request",
    )
    if not isinstance(user, User):
        return found.none()
    if policies.may_see_queue(user):
        return found
    return found.filter(
        Q(creator=user)
        | Q(run__requester=user)
        | Q(run__conversation__owner=user)
        | Q(conversation__owner=user)
    )


def rules_page(rules: QuerySet[Rule], *, before: UUID | None) -> RulesPage:
    """Return a page of `rules`, newest first, in one query."""
    if before is not None:
        rules = rules.filter(pk__lt=before)
    rows = list(rules.order_by("-pk")[: PAGE_SIZE + 1])
    shown = rows[:PAGE_SIZE]
    return RulesPage(rules=shown, older=shown[-1].pk if len(rows) > PAGE_SIZE else None)


def in_state(rules: QuerySet[Rule], state: RuleState, now: datetime) -> QuerySet[Rule]:
    """Return those of `rules` that stand as `Rule.state` says."""
    ended = Q(expires_at__lte=now) | Q(idle_at__lte=now)
    used_up = Q(uses__gte=F("use_cap"))
    if state == RuleState.REVOKED:
        return rules.filter(~_OVER, revoked_at__isnull=False)
    if state == RuleState.EXPIRED:
        by_time = Q(ended, revoked_at=None)
        return rules.filter(by_time | Q(_OVER, revoked_at__isnull=False))
    goes_on = rules.filter(
        Q(expires_at=None) | Q(expires_at__gt=now),
        Q(idle_at=None) | Q(idle_at__gt=now),
        revoked_at=None,
    )
    if state == RuleState.EXHAUSTED:
        return goes_on.filter(used_up)
    has_uses = goes_on.filter(Q(use_cap=None) | Q(uses__lt=F("use_cap")))
    return has_uses.filter(suspended_at__isnull=state == RuleState.ACTIVE)


def search(rules: QuerySet[Rule], words: str) -> QuerySet[Rule]:
    """Return those of `rules` that name each of the words somewhere."""
    for word in words.split()[:5]:
        rules = rules.filter(
            Q(tool__icontains=word)
            | Q(agent_path__icontains=word)
            | Q(conditions__icontains=word)
            | Q(reason__icontains=word)
            | Q(creator__username__icontains=word)
        )
    return rules


def rules_here(
    user: Viewer, conversation_id: UUID, *, run: Run | None = None
) -> list[Rule]:
    """Return the Rules in force in a conversation, or in one run of it.

    Of those that reach further, only the ones for tools that were asked about here.
    """
    of_runs = Q(run=run) if run else Q(run__conversation=conversation_id)
    asked = ApprovalRequest.objects.filter(run__conversation=conversation_id)
    wider = Q(scope=Rule.Scope.EVERYWHERE) | Q(
        scope=Rule.Scope.AGENT,
        agent_key__in=Conversation.objects.filter(pk=conversation_id).values(
            "agent_key"
        ),
    )
    found = standing.in_force(visible_rules(user)).filter(
        of_runs
        | Q(conversation=conversation_id)
        | Q(wider, tool__in=asked.values("tool"))
    )
    return list(found.order_by("pk")[:CHIPS_SHOWN])


def uses_of(rule: Rule, user: Viewer, *, before: UUID | None) -> UsesPage:
    """Return what the Rule decided that `user` may see, newest first, in one query."""
    seen = queries.visible_requests(user).values("pk")
    found = rule.decisions.filter(request__in=seen).select_related("request__run")
    if before is not None:
        found = found.filter(pk__lt=before)
    rows = list(found.order_by("-pk")[: PAGE_SIZE + 1])
    shown = rows[:PAGE_SIZE]
    older = shown[-1].pk if len(rows) > PAGE_SIZE else None
    return UsesPage(decisions=shown, older=older)


def back_test(rule: Rule, user: Viewer) -> BackTest:
    """Try the Rule on the last decisions that people took on its tool."""
    last = _last_decided(rule, user)
    covered = [request for request in last if _would_cover(rule, request)]
    approves = rule.verdict == Verdict.APPROVE
    other = RequestStatus.REJECTED if approves else RequestStatus.APPROVED
    contrary = [request for request in covered if request.status == other]
    return BackTest(looked_at=len(last), covered=covered, contrary=contrary)


def may_revoke(user: User, rules: list[Rule]) -> set[UUID]:
    """Return which of `rules` the person is offered to revoke; the service decides."""
    decides = policies.holds(user, policies.DECIDE)
    if decides or user.has_perm("approvals.change_rule"):
        return {rule.pk for rule in rules}
    return {rule.pk for rule in rules if rule.creator_id == user.pk}


def _last_decided(rule: Rule, user: Viewer) -> list[ApprovalRequest]:
    # Bounded: no index leads to the newest of a tool under all its schemas.
    newest = ApprovalRequest.objects.exclude(status=RequestStatus.PENDING)
    looked_at = newest.order_by("-updated_at", "-id").values_list(
        "pk", "kind", "status", "tool", "agent_path", "decision__actor"
    )
    tested = [
        pk
        for pk, kind, status, tool, path, actor in looked_at[:LOOKED_THROUGH]
        if kind == ApprovalRequest.Kind.APPROVAL
        and status in (RequestStatus.APPROVED, RequestStatus.REJECTED)
        and tool == rule.tool
        and (rule.scope == Rule.Scope.EVERYWHERE or path == rule.agent_path)
        and actor is not None
    ]
    found = queries.visible_requests(user).filter(pk__in=tested[:TESTED])
    return list(found.order_by("-decided_at", "-pk"))


def _would_cover(rule: Rule, request: ApprovalRequest) -> bool:
    if standing.why_not_always(request) is not None:
        return False
    return standing.means(rule, str(request.call_data.get("arguments", "")))


def state_now(rule: Rule) -> RuleState:
    return rule.state(timezone.now())
