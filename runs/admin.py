"""The admin's side of runs: history to read, states to clean up, runs to re-queue.

What happened can be read and searched here and changed nowhere. The admin's own verbs
call the same services as everything else.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.db.models.functions import Length
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from . import inert, services
from .models import Conversation, Run, RunEvent, SavedState, ToolExecution
from .readonly_admin import AgentFilter, HistoryAdmin, json_box, text_box
from .services import prune
from .webhooks import admin as webhooks_admin  # noqa: F401  registers its own

admin.site.site_header = admin.site.site_title = "Placet administration"

LOG_ROWS = 200
PAYLOAD_CHARS = 300


@admin.register(Conversation)
class ConversationAdmin(HistoryAdmin):
    list_display = ("safe_title", "agent_key", "owner", "status", "updated_at")
    list_filter = ("status", AgentFilter)
    list_select_related = ("owner",)
    search_fields = ("title", "owner__username")
    id_fields = ("pk", "runs__pk")
    fields = (
        "id",
        "safe_title",
        "agent_key",
        "owner",
        "status",
        "run_list",
        "metadata_text",
        "created_at",
        "updated_at",
    )
    readonly_fields = fields

    @admin.display(description="title", ordering="title")
    def safe_title(self, conversation: Conversation) -> str:
        return inert.excerpt(conversation.title, 120) or str(conversation.pk)

    @admin.display(description="runs")
    def run_list(self, conversation: Conversation) -> SafeString:
        return format_html_join(
            SafeString("<br>"),
            '<a href="{}">{}</a> {}',
            (
                (link_to(run), run.created_at.isoformat(" ", "seconds"), run.status)
                for run in conversation.runs.order_by("-id")[:LOG_ROWS]
            ),
        )

    @admin.display(description="metadata")
    def metadata_text(self, conversation: Conversation) -> SafeString:
        return json_box(conversation.metadata, "metadata")


@admin.register(Run)
class RunAdmin(HistoryAdmin):
    list_display = ("about", "status", "trigger", "requester", "created_at")
    list_filter = ("status", "trigger", AgentFilter)
    list_select_related = ("conversation", "requester")
    search_fields = ("conversation__title", "requester__username", "error")
    id_fields = ("pk", "conversation")
    actions = ("requeue",)
    change_list_template = "admin/runs/run/change_list.html"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "id",
                    "conversation",
                    "agent_key",
                    "status",
                    "trigger",
                    "requester",
                    "error_text",
                    "output_text",
                )
            },
        ),
        (
            "Execution",
            {
                "fields": (
                    "turn",
                    "max_turns",
                    "usage_text",
                    "lease_owner",
                    "lease_epoch",
                    "lease_expires_at",
                    "wakes",
                    "stop_requested_at",
                    "created_at",
                    "updated_at",
                    "finished_at",
                )
            },
        ),
        (
            "State",
            {
                "fields": (
                    "state_inactive_at",
                    "head_text",
                    "messages_text",
                    "agent_digest",
                    "previous",
                    "log",
                )
            },
        ),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [name for _, part in self.fieldsets for name in part["fields"]]

    @admin.display(description="conversation")
    def about(self, run: Run) -> str:
        return inert.excerpt(f"{run.agent_key}: {run.conversation.title}", 100)

    @admin.display(description="error")
    def error_text(self, run: Run) -> SafeString:
        return text_box(run.error, "error")

    @admin.display(description="final output")
    def output_text(self, run: Run) -> SafeString:
        return text_box(run.final_output, "final output")

    @admin.display(description="usage")
    def usage_text(self, run: Run) -> SafeString:
        return json_box(run.usage, "usage")

    @admin.display(description="head")
    def head_text(self, run: Run) -> SafeString:
        return json_box(run.head, "head")

    @admin.display(description="messages not read yet")
    def messages_text(self, run: Run) -> SafeString:
        return json_box(run.pending_input, "messages not read yet")

    @admin.display(description="log")
    def log(self, run: Run) -> SafeString:
        """Show the newest rows, and where to find all."""
        events = run.events.order_by("-seq")[:LOG_ROWS]
        rows = format_html_join(
            "",
            '<tr><td><a href="{}">{}</a></td><td>{}</td><td>{}</td></tr>',
            (
                (
                    link_to(event),
                    event.seq,
                    event.kind,
                    excerpt(event),
                )
                for event in events
            ),
        )
        return format_html(
            '<p><a href="{}?run={}">All {} rows</a></p><table><thead><tr>'
            "<th>seq</th><th>kind</th><th>payload</th></tr></thead>{}</table>",
            reverse("admin:runs_runevent_changelist"),
            run.pk,
            run.last_seq,
            rows,
        )

    def has_requeue_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("runs.change_run")

    def has_clean_up_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("runs.delete_run")

    @admin.action(description="Re-queue stuck runs", permissions=["requeue"])
    def requeue(self, request: HttpRequest, runs: QuerySet[Run]) -> None:
        done = 0
        for run in runs:
            try:
                services.requeue_run(run.pk, by=_person(request))
            except services.RunError as error:
                self.message_user(request, f"{run.pk}: {error}", messages.WARNING)
            else:
                self.log_change(request, run, "Re-queued.")
                done += 1
        if done:
            self.message_user(request, f"{done} runs re-queued.", messages.SUCCESS)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.clean_up)
        return [path("clean-up/", view, name="runs_run_clean_up"), *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        may = {"may_clean_up": self.has_clean_up_permission(request)}
        return super().changelist_view(request, {**(extra_context or {}), **may})

    def clean_up(self, request: HttpRequest) -> HttpResponse:
        """Ask for an age, show what it would delete, and delete it when posted."""
        if not self.has_clean_up_permission(request):
            raise PermissionDenied
        form = CleanUpForm(request.POST or request.GET or None)
        age = timedelta(days=form.cleaned_data["days"]) if form.is_valid() else None
        if request.method == "POST" and age is not None:
            count = prune.prune_states(age)
            self.message_user(request, f"{count} states deleted.", messages.SUCCESS)
            return redirect("admin:runs_run_changelist")
        context = {
            **self.admin_site.each_context(request),
            "title": "Clean up states",
            "opts": self.model._meta,
            "form": form,
            "count": None if age is None else prune.count_prunable(age),
        }
        return render(request, "admin/runs/run/clean_up.html", context)


class CleanUpForm(forms.Form):
    days = forms.IntegerField(
        label="Older than, in days", min_value=1, max_value=36_500, initial=30
    )


@admin.register(RunEvent)
class RunEventAdmin(HistoryAdmin):
    list_display = ("run_id", "seq", "kind", "safe_key", "short_payload", "created_at")
    list_filter = ("kind",)
    search_fields = ("call_key",)
    id_fields = ("run",)
    ordering = ("-run", "-seq")
    fields = ("run", "seq", "kind", "safe_key", "payload_text", "created_at")
    readonly_fields = fields

    @admin.display(description="call")
    def safe_key(self, event: RunEvent) -> str:
        return inert.excerpt(event.call_key, 100)

    @admin.display(description="payload")
    def short_payload(self, event: RunEvent) -> str:
        return excerpt(event)

    @admin.display(description="payload")
    def payload_text(self, event: RunEvent) -> SafeString:
        return json_box(event.payload, "payload")


@admin.register(ToolExecution)
class ToolExecutionAdmin(HistoryAdmin):
    list_display = ("safe_tool", "run_id", "status", "attempt", "started_at")
    list_filter = ("status",)
    search_fields = ("tool", "call_key")
    id_fields = ("pk", "run", "permitted_by")
    fields = (
        "id",
        "run",
        "safe_key",
        "safe_tool",
        "digest",
        "epoch",
        "attempt",
        "status",
        "permitted_by",
        "outcome_text",
        "evidence_text",
        "started_at",
        "finished_at",
    )
    readonly_fields = fields

    @admin.display(description="tool", ordering="tool")
    def safe_tool(self, execution: ToolExecution) -> str:
        return inert.excerpt(execution.tool, 200)

    @admin.display(description="call")
    def safe_key(self, execution: ToolExecution) -> str:
        return inert.excerpt(execution.call_key, 500)

    @admin.display(description="outcome")
    def outcome_text(self, execution: ToolExecution) -> SafeString:
        return json_box(execution.outcome, "outcome")

    @admin.display(description="evidence")
    def evidence_text(self, execution: ToolExecution) -> SafeString:
        return json_box(execution.evidence, "evidence")


@admin.register(SavedState)
class SavedStateAdmin(HistoryAdmin):
    """That a state is stored, and how old it is; what is in it is its program's."""

    list_display = ("safe_key", "safe_agent", "is_active", "size", "updated_at")
    list_filter = ("is_active",)
    search_fields = ("key", "agent")
    fields = (
        "id",
        "safe_key",
        "safe_agent",
        "is_active",
        "size",
        "created_at",
        "updated_at",
    )
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[SavedState]:
        found: QuerySet[SavedState] = super().get_queryset(request)
        return found.defer("state").annotate(characters=Length("state"))

    @admin.display(description="key", ordering="key")
    def safe_key(self, saved: SavedState) -> str:
        return inert.excerpt(saved.key, 200)

    @admin.display(description="agent", ordering="agent")
    def safe_agent(self, saved: SavedState) -> str:
        return inert.excerpt(saved.agent, 200)

    @admin.display(description="characters")
    def size(self, saved: Any) -> int:
        """Return how long the stored text is; `characters` is get_queryset's."""
        characters: int = saved.characters
        return characters


def excerpt(event: RunEvent) -> str:
    """Return the beginning of an event's payload, with room for line breaks."""
    spaced = event.payload.replace('":', '": ').replace(',"', ', "')
    return inert.excerpt(spaced, PAYLOAD_CHARS)


def link_to(row: Model) -> str:
    """Return the admin page of a row."""
    meta = row._meta
    name = f"admin:{meta.app_label}_{meta.model_name}_change"
    return reverse(name, args=[row.pk])


def _person(request: HttpRequest) -> Any:
    """Return the signed-in person; the admin lets no one else through."""
    return request.user
