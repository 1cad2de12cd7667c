"""Admin pages that only show: rows nobody changes, text nobody can be fooled by."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from . import inert, registry

TEXT_CHARS = 100_000


def text_box(text: str, label: str) -> SafeString:
    """Return a long text, made inert, in a box that scrolls; "-" for an empty one."""
    if not text:
        return SafeString("-")
    shown = inert.plain(text[:TEXT_CHARS])
    if len(text) > TEXT_CHARS:
        shown += f"\n… and {len(text) - TEXT_CHARS} more characters."
    return format_html(
        '<textarea readonly rows="{}" class="vLargeTextField" aria-label="{}">{}'
        "</textarea>",
        min(30, shown.count("\n") + 2),
        label,
        shown,
    )


def json_box(text: str, label: str) -> SafeString:
    """Return stored JSON, laid out to read; as it stands when it is none."""
    try:
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text_box(text, label)
    return text_box(text, label)


class HistoryAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # generic in stubs only
    """Rows to look at: whoever may view them can, and nobody changes them here."""

    show_full_result_count = False
    id_fields: Sequence[str] = ("pk",)
    """Fields that a search for an id looks in."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        try:
            sought = UUID(search_term.strip())
        except ValueError:
            return super().get_search_results(request, queryset, search_term)
        named = Q()
        for field in self.id_fields:
            named |= Q(**{field: sought})
        return queryset.filter(named), False

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        *args: Any,
        **kwargs: Any,
    ) -> HttpResponse:
        context["subtitle"] = inert.excerpt(str(kwargs.get("obj") or ""), 80)
        return super().render_change_form(request, context, *args, **kwargs)


class AgentFilter(admin.SimpleListFilter):
    """By agent, from the registry: asking the table would read all of it."""

    title = "agent"
    parameter_name = "agent"

    def lookups(
        self, request: HttpRequest, model_admin: Any
    ) -> Iterable[tuple[str, str]]:
        return [(entry.key, entry.title) for entry in registry.all_agents()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(agent_key=self.value()) if self.value() else queryset
