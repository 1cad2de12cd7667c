"""A person's own settings, and what waits for them."""

from __future__ import annotations

from typing import Any

from django.conf import settings as site
from django.contrib import messages
from django.contrib.auth import views as auth
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse_lazy
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from runs.http import PageRequest, signed_in

from .. import notices, policies, services
from ..forms.preferences import PreferencesForm

SAVED = "Saved."
CHANGED = "Your password is changed."


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def settings(request: PageRequest) -> HttpResponse:
    kept = request.preferences  # type: ignore[attr-defined]  # by the middleware
    data = request.POST if request.method == "POST" else None
    form = PreferencesForm(data, kept=kept)
    if data is not None and form.is_valid():
        services.save_preferences(request.user, **form.cleaned_data)
        messages.success(request, SAVED)
        return redirect("approvals:settings")
    return _page(request, form, status=422 if form.is_bound else 200)


@require_safe
@signed_in
def waiting(request: PageRequest) -> HttpResponse:
    """Return what waits for the reader, for a page that tells of it; never how."""
    told = notices.waiting(request.user, timezone.now())
    newest = [{"id": pk, "line": line} for pk, line in told.newest]
    answer = JsonResponse({"count": told.count, "newest": newest})
    answer["Cache-Control"] = "no-store"
    return answer


class _Password(auth.PasswordChangeView):
    template_name = "password.html"
    success_url = reverse_lazy("approvals:settings")

    def form_valid(self, form: Any) -> HttpResponse:
        messages.success(self.request, CHANGED)
        return super().form_valid(form)

    def form_invalid(self, form: Any) -> HttpResponse:
        response = super().form_invalid(form)
        response.status_code = 422
        return response


password = _Password.as_view()


def _page(request: PageRequest, form: PreferencesForm, *, status: int) -> HttpResponse:
    context = {
        "form": form,
        "decides": policies.holds(request.user, policies.DECIDE),
        "mail_is_on": notices.are_mailed(),
        "has_address": notices.has_address(request.user),
        "minutes": int(site.PLACET_MAIL_AFTER.total_seconds() // 60),
        "overdue_hours": int(notices.OVERDUE_AFTER.total_seconds() // 3600),
        "has_password": request.user.has_usable_password(),
    }
    return render(request, "approvals/settings.html", context, status=status)
