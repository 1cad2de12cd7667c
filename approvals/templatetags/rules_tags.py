"""How the pages show standing Rules: in words, and as chips."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import template
from django.contrib.auth.models import AnonymousUser
from django.template import Context
from django.utils import timezone

from runs import inert
from runs.models import Conversation, Run

from .. import conditions, policies, rule_queries, standing
from ..models import ApprovalRequest, Rule, RuleState

register = template.Library()

HERE = {
    Rule.Scope.RUN: "in this run",
    Rule.Scope.CONVERSATION: "in this conversation",
    Rule.Scope.EVERYWHERE: "for every agent",
}
ELSEWHERE = HERE | {
    Rule.Scope.RUN: "in one run",
    Rule.Scope.CONVERSATION: "in one conversation",
}
WHAT_TO_DO = {
    RuleState.SUSPENDED: (
        "The tool has changed since the Rule was made, so its calls are asked about. "
        "Look at the next one; revoke this Rule and make a new one if it still holds."
    ),
    RuleState.EXPIRED: "It has ended; calls like these are asked about again.",
    RuleState.EXHAUSTED: "All its uses are taken; calls like these are asked about.",
    RuleState.REVOKED: "It decides nothing any more.",
}


@register.filter
def reach(rule: Rule, here: str = "") -> str:
    """Return where a Rule holds; with `here` the page is about that place."""
    if rule.scope == Rule.Scope.AGENT:
        return f"for {inert.excerpt(rule.agent_path, 80)}"
    return (HERE if here else ELSEWHERE)[Rule.Scope(rule.scope)]


@register.filter
def covers_words(rule: Rule) -> str:
    """Return what a Rule's conditions say, in one safe line."""
    try:
        told = conditions.parse(rule.conditions)
    except conditions.ConditionsError:
        return "with conditions that cannot be read, so it covers nothing"
    words = " and ".join(told.words)
    return f"where {words}" if told.match == "all" else words


@register.filter
def until(rule: Rule) -> str:
    """Return when a Rule ends, in words."""
    parts = []
    if rule.scope == Rule.Scope.RUN:
        parts.append("the run ends")
    if rule.expires_at is not None:
        parts.append(_day(rule.expires_at))
    if rule.idle is not None and rule.idle_at is not None:
        hours = rule.idle.total_seconds() / 3600
        parts.append(f"{hours:g} h pass without a use ({_day(rule.idle_at)})")
    return f"until {' or '.join(parts)}" if parts else ""


@register.filter
def used(rule: Rule) -> str:
    """Return how often a Rule was used, of how many times it may be."""
    of = f" of {rule.use_cap}" if rule.use_cap else ""
    return f"used {rule.uses}\u00d7{of}"


@register.filter
def state_of(rule: Rule) -> RuleState:
    return rule_queries.state_now(rule)


@register.filter
def state_words(rule: Rule) -> str:
    return str(rule_queries.state_now(rule).label).capitalize()


@register.filter
def what_to_do(rule: Rule) -> str:
    return WHAT_TO_DO.get(rule_queries.state_now(rule), "")


@register.inclusion_tag("approvals/rules_chips.html", takes_context=True)
def rules_in_run(context: Context, run: Run) -> dict[str, Any]:
    """Show the Rules in force in a run."""
    found = rule_queries.rules_here(_reader(context), run.conversation_id, run=run)
    return _chips(context, found)


@register.inclusion_tag("approvals/rules_chips.html", takes_context=True)
def rules_in_conversation(
    context: Context, conversation: Conversation
) -> dict[str, Any]:
    """Show the Rules in force in a conversation."""
    return _chips(context, rule_queries.rules_here(_reader(context), conversation.pk))


@register.inclusion_tag("approvals/rules_chips.html", takes_context=True)
def rule_of_card(context: Context, card: ApprovalRequest, view: str) -> dict[str, Any]:
    """Show the Rule that decided a request, was made with it, or would decide it."""
    user, rule = _reader(context), None
    if card.is_pending:
        # In a list of cards it would be a query each.
        rule = standing.covering_rule(card) if view == "page" else None
    elif decision := getattr(card, "decision", None):
        rule = decision.rule
        if rule is None and view == "page":
            rule = decision.made_rules.first()
    seen = rule and rule_queries.visible_rules(user).filter(pk=rule.pk).first()
    return _chips(context, [seen] if seen else [], is_pending=card.is_pending)


def _chips(context: Context, rules: list[Rule], **more: Any) -> dict[str, Any]:
    user, request = _reader(context), context.get("request")
    offered = rule_queries.may_revoke(user, rules) if rules else set()
    return {
        "rules": [
            {
                "rule": rule,
                "may_revoke": rule.pk in offered and rule.revoked_at is None,
            }
            for rule in rules
        ],
        "reads_queue": bool(rules) and policies.may_see_queue(user),
        "csrf_token": context.get("csrf_token"),
        "next": request.path if request else context.get("next", ""),
        **more,
    }


def _reader(context: Context) -> Any:
    return context.get("user") or AnonymousUser()


def _day(moment: datetime) -> str:
    local = timezone.localtime(moment)
    return f"{local:%a %d %b, %H:%M}"
