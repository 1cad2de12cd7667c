"""Webhook sources in the admin: made here, their secret shown once."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from .. import inert, registry
from ..errors import UnknownAgent
from ..models import WebhookDelivery, WebhookSource
from ..readonly_admin import AgentFilter, HistoryAdmin
from . import mapping, sources


class WebhookSourceForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in stubs only
    agent_key = forms.ChoiceField(label="Agent")

    class Meta:
        model = WebhookSource
        fields = (
            "slug",
            "name",
            "agent_key",
            "template",
            "conversation_template",
            "is_active",
        )
        help_texts = {"slug": "Its address ends with it, as /webhooks/shop/."}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [(entry.key, entry.title) for entry in registry.all_agents()]
        current = self.instance.agent_key
        if current and current not in dict(choices):
            choices.append((current, f"{current} (not registered)"))
        self.fields["agent_key"].choices = choices  # type: ignore[attr-defined]

    def clean_agent_key(self) -> str:
        key: str = self.cleaned_data["agent_key"]
        try:
            registry.get(key)
        except UnknownAgent as error:
            raise forms.ValidationError(str(error)) from error
        return key

    def clean_template(self) -> str:
        return _template(self.cleaned_data["template"])

    def clean_conversation_template(self) -> str:
        return _template(self.cleaned_data["conversation_template"])


def _template(source: str) -> str:
    try:
        mapping.compile_template(source)
    except mapping.MappingError as error:
        raise forms.ValidationError(str(error)) from error
    return source


@admin.register(WebhookSource)
class WebhookSourceAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # see HistoryAdmin
    form = WebhookSourceForm
    list_display = ("name", "address", "agent_key", "is_active", "rotation")
    list_filter = ("is_active", AgentFilter)
    search_fields = ("slug", "name")
    actions = ("rotate_secret", "clear_previous_secret")
    fields = (*WebhookSourceForm.Meta.fields, "address", "rotation", "created_at")

    def get_readonly_fields(
        self, request: HttpRequest, obj: WebhookSource | None = None
    ) -> tuple[str, ...]:
        # Senders know the address, and conversations are named with it.
        fixed = ("slug",) if obj else ()
        return (*fixed, "address", "rotation", "created_at")

    @admin.display(description="address")
    def address(self, source: WebhookSource) -> str:
        return reverse("webhooks:receive", args=[source.slug]) if source.slug else "-"

    @admin.display(description="previous secret")
    def rotation(self, source: WebhookSource) -> str:
        return "still valid" if source.previous_secret else "none"

    def save_model(
        self, request: HttpRequest, obj: WebhookSource, form: Any, change: bool
    ) -> None:
        if not change:
            obj.created_at = timezone.now()
            obj.secret = sources.make_secret()
        super().save_model(request, obj, form, change)
        if not change:
            self._show_secret(request, obj)

    @admin.action(description="Rotate the secret", permissions=["change"])
    def rotate_secret(
        self, request: HttpRequest, chosen: QuerySet[WebhookSource]
    ) -> None:
        for source in chosen:
            sources.rotate(source)
            self.log_change(request, source, "Rotated the secret.")
            self._show_secret(request, source)

    @admin.action(description="Clear the previous secret", permissions=["change"])
    def clear_previous_secret(
        self, request: HttpRequest, chosen: QuerySet[WebhookSource]
    ) -> None:
        for source in chosen:
            sources.clear_previous(source)
            self.log_change(request, source, "Cleared the previous secret.")
        self.message_user(
            request, "Only the newest secret is valid now.", messages.SUCCESS
        )

    def _show_secret(self, request: HttpRequest, source: WebhookSource) -> None:
        self.message_user(
            request,
            f"Copy the secret of {source.name} now, it is never shown again: "
            f"{source.secret}",
            messages.WARNING,
        )


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(HistoryAdmin):
    list_display = ("safe_id", "source", "run_id", "received_at")
    list_filter = ("source",)
    list_select_related = ("source",)
    search_fields = ("webhook_id",)
    id_fields = ("run",)
    fields = ("source", "safe_id", "run", "received_at")
    readonly_fields = fields

    @admin.display(description="webhook id", ordering="webhook_id")
    def safe_id(self, delivery: WebhookDelivery) -> str:
        return inert.excerpt(delivery.webhook_id, 200)
