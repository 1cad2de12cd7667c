"""Standing Rules: made in a dialog that shows what they would do, listed, revoked."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.html import format_html
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)
from django_htmx.http import HttpResponseClientRedirect, retarget

from runs.http import PageRequest, announce, local_path, signed_in

from .. import policies, queries, rule_queries, services, standing
from ..cards import card_context
from ..forms.rules import AlwaysForm, RevokeForm, RulesFilter
from ..models import ApprovalRequest, Rule, RuleState, Verdict
from ..terms import draft

MADE = "Decided, and a Rule is made. You can revoke it on its page."
REVOKED = "Revoked. Calls like these are asked about again."


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def always(request: PageRequest, pk: UUID) -> HttpResponse:
    """Show what *always* would mean, and make it so."""
    card = _visible(request, pk)
    if request.method != "POST":
        return _dialog(request, card, AlwaysForm(card=card))
    form = AlwaysForm(request.POST, card=card)
    if not form.is_valid():
        return _dialog(request, card, form, problem=form.problem, status=422)
    if "check" in request.POST:
        return _dialog(request, card, form)
    try:
        services.decide(
            card.pk,
            verdict=form.cleaned_data["verdict"],
            by=request.user,
            digest_seen=form.cleaned_data["digest"],
            reason=form.cleaned_data["reason"],
            always=form.terms,
        )
    except services.NotAllowed as error:
        return _dialog(request, card, form, problem=str(error), status=403)
    except services.InvalidDecision as error:
        return _dialog(request, card, form, problem=str(error), status=422)
    except services.DecisionError as error:
        return _card(request, pk, str(error), status=409, problem=str(error))
    return _card(request, pk, MADE, just_decided=True)


@require_safe
@signed_in
def rules(request: PageRequest) -> HttpResponse:
    """List the Rules, newest first."""
    if not policies.may_see_queue(request.user):
        raise Http404("This page is for people who may see the queue.")
    chosen = RulesFilter(request.GET)
    chosen.is_valid()
    found = _chosen(rule_queries.visible_rules(request.user), chosen.cleaned_data)
    before = _named(request)
    query = request.GET.copy()
    query.pop("before", None)
    context = {
        "page": rule_queries.rules_page(found, before=before),
        "filter": chosen,
        "query": query.urlencode(),
        "is_first": before is None,
    }
    return render(request, "approvals/rules.html", context)


@require_safe
@signed_in
def rule(request: PageRequest, pk: UUID) -> HttpResponse:
    return _rule_page(request, _visible_rule(request, pk))


@require_POST
@signed_in
def revoke(request: PageRequest, pk: UUID) -> HttpResponse:
    found = _visible_rule(request, pk)
    form = RevokeForm(request.POST)
    if not form.is_valid():
        return _not_revoked(request, pk, str(form.errors["reason"][0]), status=422)
    try:
        services.revoke_rule(
            found.pk, by=request.user, reason=form.cleaned_data["reason"]
        )
    except services.RuleNotYours as error:
        return _not_revoked(request, pk, str(error), status=403)
    except services.RuleEnded as error:
        return _not_revoked(request, pk, str(error), status=409)
    messages.success(request, REVOKED)
    back = local_path(request, found.get_absolute_url())
    return HttpResponseClientRedirect(back) if request.htmx else redirect(back)


def _visible(request: PageRequest, pk: UUID) -> ApprovalRequest:
    return get_object_or_404(queries.visible_requests(request.user), pk=pk)


def _visible_rule(request: PageRequest, pk: UUID) -> Rule:
    return get_object_or_404(rule_queries.visible_rules(request.user), pk=pk)


def _chosen(found: Any, given: dict[str, Any]) -> Any:
    if scope := given.get("scope"):
        found = found.filter(scope=scope)
    if tool := given.get("tool"):
        found = found.filter(tool=tool)
    if state := given.get("state"):
        found = rule_queries.in_state(found, RuleState(state), timezone.now())
    return rule_queries.search(found, given.get("q") or "")


def _named(request: PageRequest) -> UUID | None:
    value = request.GET.get("before")
    try:
        return UUID(value) if value else None
    except ValueError:
        raise Http404("That page does not exist.") from None


def _dialog(
    request: PageRequest,
    card: ApprovalRequest,
    form: AlwaysForm,
    *,
    problem: str = "",
    status: int = 200,
) -> HttpResponse:
    sent = request.POST if request.method == "POST" else request.GET
    context = {
        "card": card,
        "form": form,
        "problem": problem,
        "why_not": standing.why_not_always(card)
        or policies.why_not_decide(request.user, card),
        "why_not_everywhere": standing.why_not_everywhere(request.user),
        "view": "inline" if sent.get("view") == "inline" else "page",
        "next": sent.get("next", ""),
        **_preview(request, card, form),
    }
    part = ""
    if request.htmx:
        part = "#found" if "check" in sent else "#dialog"
    template = f"approvals/rules_always.html{part}"
    response = render(request, template, context, status=status)
    if part == "#dialog" and request.method == "POST":
        # The form would put a card in the place of the card.
        retarget(response, f"#dialog-{card.pk}")
    return response


def _preview(
    request: PageRequest, card: ApprovalRequest, form: AlwaysForm
) -> dict[str, Any]:
    """Return the Rule as it would be, what it would decide now and would have."""
    if not form.is_valid() or form.terms.fault:
        return {}
    rule = draft(
        form.terms,
        card,
        verdict=Verdict(form.cleaned_data["verdict"]),
        creator=request.user,
        now=timezone.now(),
    )
    return {
        "rule": rule,
        "open": standing.open_in(card, rule) if card.is_pending else [],
        "test": rule_queries.back_test(rule, request.user),
    }


def _card(
    request: PageRequest, pk: UUID, said: str, *, status: int = 200, **more: Any
) -> HttpResponse:
    """Answer with the card as it is now, or lead back to it."""
    card = _visible(request, pk)
    if not request.htmx:
        if status == 200:
            messages.success(request, said)
            return redirect(local_path(request, card.get_absolute_url()))
        context = card_context(card, user=request.user, view="page") | more
        return render(request, "approvals/request.html", context, status=status)
    view = "inline" if request.POST.get("view") == "inline" else "page"
    context = card_context(card, user=request.user, view=view) | more
    context["next"] = request.POST.get("next", "")
    response = render(request, "approvals/card.html", context, status=status)
    response["Placet-Pending"] = str(queries.pending_count(request.user))
    return announce(response, said)


def _not_revoked(
    request: PageRequest, pk: UUID, problem: str, *, status: int
) -> HttpResponse:
    """Say why not: on the Rule's page, or below the chip where it was asked for."""
    if request.htmx:
        told = format_html('<p class="problem" role="alert">{}</p>', problem)
        return announce(HttpResponse(told, status=status), problem)
    found = _visible_rule(request, pk)
    return _rule_page(request, found, problem=problem, status=status)


def _rule_page(
    request: PageRequest, found: Rule, *, problem: str = "", status: int = 200
) -> HttpResponse:
    uses = rule_queries.uses_of(found, request.user, before=_named(request))
    context = {
        "rule": found,
        "uses": uses,
        "test": rule_queries.back_test(found, request.user),
        "why_not_revoke": policies.why_not_revoke(request.user, found),
        "problem": problem,
        "typed": request.POST.get("reason", ""),
    }
    return render(request, "approvals/rules_rule.html", context, status=status)
