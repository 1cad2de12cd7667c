"""How the queue shows whose a request is."""

from __future__ import annotations

from datetime import datetime

from django import template
from django.template import Context

from .. import attention, policies
from ..forms.attention import Later
from ..models import ApprovalRequest
from ..queue import COUNT_CAP, attention_of, looks_at

register = template.Library()


@register.simple_tag(takes_context=True)
def attention_of_card(context: Context) -> attention.Bar | None:
    """Return who is at the context's card, for who reads the queue; else None."""
    user, card = context.get("user"), context.get("card")
    if card is None or user is None or not policies.may_see_queue(user):
        return None
    return attention.bar(card, user)


@register.simple_tag(takes_context=True)
def times_to_put_off(context: Context) -> list[Later]:
    """Return how long a reader of the queue may put a request off; else nothing."""
    user = context.get("user")
    if user is None or not policies.may_see_queue(user):
        return []
    return [later for later in Later if later != Later.NOW]


@register.filter
def claimer(card: ApprovalRequest, now: datetime) -> str:
    """Return who has claimed a request, empty when nobody has."""
    found = attention_of(card)
    if found is None or found.claimed_by is None or not found.is_claimed(now):
        return ""
    return found.claimed_by.get_username()


@register.filter
def assignee(card: ApprovalRequest) -> str:
    """Return to whom a request is assigned, empty when to nobody."""
    found = attention_of(card)
    return found.assigned_to.get_username() if found and found.assigned_to else ""


@register.filter
def lookers(card: ApprovalRequest) -> list[str]:
    """Return who has a request of the queue open."""
    return [look.person.get_username() for look in looks_at(card)]


@register.filter
def up_to_cap(count: int) -> str:
    """Return a count of the queue, with a plus where counting stopped."""
    return f"{count}+" if count >= COUNT_CAP else str(count)


@register.filter
def held_at(card: ApprovalRequest, now: datetime) -> bool:
    """Say whether a request's verdict can still be undone."""
    return card.is_held(now)
