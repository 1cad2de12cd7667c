from django.contrib import admin

from runs.readonly_admin import HistoryAdmin

from .models import Effect


@admin.register(Effect)
class EffectAdmin(HistoryAdmin):
    list_display = ("created_at", "tool", "subject", "amount_eur", "detail")
    list_filter = ("tool",)
    search_fields = ("subject", "detail")
