"""The admin's side of approvals: all to read, orphans to deny, nothing to edit."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from runs import inert
from runs.readonly_admin import HistoryAdmin, json_box, text_box

from . import display, services
from .models import (
    ApprovalRequest,
    AuditEntry,
    Decision,
    RequestStatus,
    Rule,
    Vote,
)

REVOKED_HERE = "Revoked in the admin."


class WaitingFilter(admin.SimpleListFilter):
    """Requests that have waited for long: the orphans are among them."""

    title = "waiting"
    parameter_name = "waiting"
    ages = {"day": timedelta(days=1), "week": timedelta(weeks=1)}

    def lookups(
        self, request: HttpRequest, model_admin: Any
    ) -> Iterable[tuple[str, str]]:
        return [("day", "for more than a day"), ("week", "for more than a week")]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[ApprovalRequest]
    ) -> QuerySet[ApprovalRequest]:
        age = self.ages.get(self.value() or "")
        if age is None:
            return queryset
        return queryset.filter(
            status=RequestStatus.PENDING, created_at__lt=timezone.now() - age
        )


@admin.register(ApprovalRequest)
class ApprovalRequestAdmin(HistoryAdmin):
    list_display = ("about", "status", "risk", "safe_tool", "requester", "created_at")
    list_filter = ("status", WaitingFilter, "risk", "kind")
    list_select_related = ("run__requester",)
    search_fields = (
        "summary",
        "tool",
        "arguments",
        "digest",
        "run__requester__username",
    )
    id_fields = ("pk", "run", "run__conversation")
    actions = ("deny_orphaned",)
    fields = (
        "id",
        "about",
        "kind",
        "status",
        "risk",
        "why_text",
        "run",
        "safe_key",
        "revision",
        "safe_tool",
        "safe_agent",
        "arguments_text",
        "schema_hash",
        "digest",
        "reviewers",
        "votes_needed",
        "votes_text",
        "decision_text",
        "warnings",
        "evidence_text",
        "expires_at",
        "created_at",
        "updated_at",
        "decided_at",
    )
    readonly_fields = fields

    @admin.display(description="summary", ordering="summary")
    def about(self, request: ApprovalRequest) -> str:
        return inert.excerpt(request.summary, 150)

    @admin.display(description="tool", ordering="tool")
    def safe_tool(self, request: ApprovalRequest) -> str:
        return inert.excerpt(request.tool, 200)

    @admin.display(description="call")
    def safe_key(self, request: ApprovalRequest) -> str:
        return inert.excerpt(request.call_key, 500)

    @admin.display(description="agent")
    def safe_agent(self, request: ApprovalRequest) -> str:
        return inert.excerpt(request.agent_path, 500)

    @admin.display(description="requester")
    def requester(self, request: ApprovalRequest) -> str:
        person = request.run.requester
        return person.get_username() if person else "-"

    @admin.display(description="why")
    def why_text(self, request: ApprovalRequest) -> str:
        return inert.plain(request.why)

    @admin.display(description="arguments")
    def arguments_text(self, request: ApprovalRequest) -> SafeString:
        written = request.call_data.get("arguments", "")
        return text_box(display.full_text(written), "arguments")

    @admin.display(description="votes")
    def votes_text(self, request: ApprovalRequest) -> str:
        votes = request.vote_set.select_related("voter")
        return "; ".join(str(vote) for vote in votes) or "-"

    @admin.display(description="decision")
    def decision_text(self, request: ApprovalRequest) -> SafeString:
        decision = Decision.objects.filter(request=request).first()
        if decision is None:
            return SafeString("-")
        parts = [str(decision), decision.reason, decision.output]
        return text_box("\n".join(part for part in parts if part), "decision")

    @admin.display(description="evidence")
    def evidence_text(self, request: ApprovalRequest) -> SafeString:
        return json_box(request.evidence, "evidence")

    def has_clean_up_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("approvals.change_approvalrequest")

    @admin.action(description="Deny orphaned requests", permissions=["clean_up"])
    def deny_orphaned(
        self, request: HttpRequest, chosen: QuerySet[ApprovalRequest]
    ) -> None:
        person: Any = request.user
        ids = list(chosen.values_list("pk", flat=True))
        try:
            denied = services.deny_orphans(ids, by=person)
        except services.DecisionError as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        self.message_user(
            request,
            f"{denied} of {len(ids)} requests denied; the others were decided already.",
            messages.SUCCESS,
        )


@admin.register(Vote)
class VoteAdmin(HistoryAdmin):
    list_display = ("request", "voter", "verdict", "created_at")
    list_filter = ("verdict",)
    list_select_related = ("request", "voter")
    search_fields = ("voter__username", "reason")
    id_fields = ("request", "request__run")
    fields = ("request", "voter", "verdict", "reason_text", "digest_seen", "created_at")
    readonly_fields = fields

    @admin.display(description="reason")
    def reason_text(self, vote: Vote) -> SafeString:
        return text_box(vote.reason, "reason")


@admin.register(Decision)
class DecisionAdmin(HistoryAdmin):
    list_display = ("about", "verdict", "actor_name", "created_at")
    list_filter = ("verdict",)
    list_select_related = ("request", "actor", "rule__creator")
    search_fields = ("actor__username", "reason", "request__summary", "digest")
    id_fields = ("pk", "request", "request__run", "rule")
    fields = (
        "id",
        "request",
        "verdict",
        "actor",
        "rule",
        "reason_text",
        "output_text",
        "digest",
        "release_at",
        "created_at",
    )
    readonly_fields = fields

    @admin.display(description="request")
    def about(self, decision: Decision) -> str:
        return inert.excerpt(decision.request.summary, 150)

    @admin.display(description="reason")
    def reason_text(self, decision: Decision) -> SafeString:
        return text_box(decision.reason, "reason")

    @admin.display(description="output")
    def output_text(self, decision: Decision) -> SafeString:
        return text_box(decision.output, "output")


@admin.register(Rule)
class RuleAdmin(HistoryAdmin):
    list_display = ("safe_tool", "verdict", "scope", "creator", "uses", "created_at")
    list_filter = ("verdict", "scope")
    list_select_related = ("creator",)
    search_fields = ("tool", "agent_path", "creator__username", "reason")
    id_fields = ("pk", "run", "conversation")
    exclude = ("tool", "agent_path", "reason", "conditions", "revoke_reason")
    readonly_fields = (
        "safe_tool",
        "safe_agent",
        "conditions_text",
        "reason_text",
        "revoke_reason_text",
    )
    actions = ("revoke_rules",)

    @admin.display(description="tool", ordering="tool")
    def safe_tool(self, rule: Rule) -> str:
        return inert.excerpt(rule.tool, 200)

    @admin.display(description="reason")
    def reason_text(self, rule: Rule) -> SafeString:
        return text_box(rule.reason, "reason")

    @admin.display(description="agent")
    def safe_agent(self, rule: Rule) -> str:
        return inert.excerpt(rule.agent_path, 500)

    @admin.display(description="conditions")
    def conditions_text(self, rule: Rule) -> SafeString:
        return json_box(rule.conditions, "conditions")

    @admin.display(description="why revoked")
    def revoke_reason_text(self, rule: Rule) -> SafeString:
        return text_box(rule.revoke_reason, "why revoked")

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("approvals.change_rule")

    @admin.action(description="Revoke", permissions=["revoke"])
    def revoke_rules(self, request: HttpRequest, chosen: QuerySet[Rule]) -> None:
        person: Any = request.user
        revoked = 0
        for pk in chosen.values_list("pk", flat=True):
            with suppress(services.RuleError):
                services.revoke_rule(pk, by=person, reason=REVOKED_HERE)
                revoked += 1
        told = f"{revoked} Rules revoked; the others had ended already."
        self.message_user(request, told, messages.SUCCESS)


@admin.register(AuditEntry)
class AuditEntryAdmin(HistoryAdmin):
    list_display = ("chain", "seq", "actor", "action", "object_id", "created_at")
    search_fields = ("chain", "actor", "action", "object_id")
    fields = (
        "chain",
        "seq",
        "actor",
        "action",
        "object_id",
        "payload_text",
        "previous_hash",
        "hash",
        "created_at",
    )
    readonly_fields = fields
    ordering = ("-created_at",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        # Ids are text here.
        return admin.ModelAdmin.get_search_results(self, request, queryset, search_term)

    @admin.display(description="payload")
    def payload_text(self, entry: AuditEntry) -> SafeString:
        return json_box(entry.payload, "payload")
