from django.contrib import admin
from django.http import HttpRequest

from .models import Effect


@admin.register(Effect)
class EffectAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # generic in stubs only
    list_display = ("created_at", "tool", "subject", "amount_eur", "detail")
    list_filter = ("tool",)
    search_fields = ("subject", "detail")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(
        self, request: HttpRequest, obj: Effect | None = None
    ) -> bool:
        return False
