"""Standing Rules: made with a verdict, used by the door, suspended, revoked."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import F
from django.utils import timezone

from runs import codec
from runs.transactions import write

from .. import audit, policies, standing
from ..errors import RuleEnded, RuleNotYours
from ..models import ApprovalRequest, Decision, Rule, Verdict
from ..terms import Terms, draft
from .telling import record

MAX_REASON = 4_000


def make_rule(decision: Decision, terms: Terms, creator: User) -> Rule:
    """Store what *always* means, in the caller's transaction, in both audit chains."""
    request, verdict = decision.request, Verdict(decision.verdict)
    now = timezone.now()
    rule = draft(
        terms,
        request,
        verdict=verdict,
        creator=creator,
        now=now,
        reason=decision.reason,
    )
    rule.made_with = decision
    rule.save(force_insert=True)
    name, ids = creator.get_username(), {"rule": str(rule.pk)}
    record(request, "rule", name, verdict, rule.reason, **ids)
    _record(rule, "make", name, _terms_of(rule) | {"decision": str(decision.pk)})
    return rule


def take_use(rule: Rule) -> bool:
    """Count a use of the Rule, if it is in force at this moment; say whether it is.

    The UPDATE decides: of two runs that want its last use one gets it.
    """
    now = timezone.now()
    taken = {"uses": F("uses") + 1, "last_used_at": now}
    if rule.idle is not None:
        taken["idle_at"] = now + rule.idle
    this = Rule.objects.filter(pk=rule.pk)
    return bool(standing.in_force(this).update(**taken))


def suspend_outdated(rules: list[Rule], request: ApprovalRequest) -> None:
    """Suspend those of `rules` whose tool the request shows to have changed."""
    for rule in rules:
        if standing.is_outdated(rule, request):
            this = Rule.objects.filter(pk=rule.pk, suspended_at=None)
            if this.update(suspended_at=timezone.now()):
                seen = {"request": str(request.pk), "schema": request.schema_hash}
                _record(rule, "suspend", "Placet", seen)


@write
def revoke_rule(rule_id: UUID, *, by: User, reason: str) -> Rule:
    """End a Rule for good; what it has decided stays decided. Return it.

    Raises RuleNotYours, RuleEnded; Rule.DoesNotExist.
    """
    rule = Rule.objects.select_related("creator", "made_with__request").get(pk=rule_id)
    if told := policies.why_not_revoke(by, rule):
        raise RuleNotYours(told, rule)
    if not end_rule(rule, by=by, reason=reason):
        raise RuleEnded("This Rule has ended already; nothing was changed.", rule)
    return rule


def end_rule(rule: Rule, *, by: User, reason: str) -> bool:
    """Revoke the Rule in the caller's transaction; False when it had ended before."""
    reason = codec.storable(reason.strip())[:MAX_REASON]
    ended = {"revoked_at": timezone.now(), "revoked_by": by, "revoke_reason": reason}
    # Changing the row locks it: nobody else adds to the Rule's chain meanwhile.
    if not Rule.objects.filter(pk=rule.pk, revoked_at=None).update(**ended):
        return False
    _record(rule, "revoke", by.get_username(), {"reason": reason})
    rule.refresh_from_db()
    return True


def _terms_of(rule: Rule) -> dict[str, object]:
    return {
        "scope": rule.scope,
        "run": str(rule.run_id or ""),
        "conversation": str(rule.conversation_id or ""),
        "agent": rule.agent_key,
        "agent_path": rule.agent_path,
        "tool": rule.tool,
        "schema": rule.schema_hash,
        "conditions": rule.conditions,
        "verdict": str(rule.verdict),
        "use_cap": rule.use_cap,
        "expires_at": rule.expires_at.isoformat() if rule.expires_at else None,
        "idle_s": rule.idle.total_seconds() if rule.idle else None,
        "reason": rule.reason,
    }


def _record(rule: Rule, action: str, actor: str, payload: Mapping[str, object]) -> None:
    audit.append_to(
        f"rule:{rule.pk}",
        actor=actor,
        action=action,
        about=rule.pk,
        payload=dict(payload),
    )
