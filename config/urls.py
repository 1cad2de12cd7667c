from django.contrib import admin
from django.contrib.auth import views as auth
from django.urls import include, path

from .health import healthz

urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path(
        "sign-in/",
        auth.LoginView.as_view(
            template_name="sign_in.html", redirect_authenticated_user=True
        ),
        name="sign_in",
    ),
    path("sign-out/", auth.LogoutView.as_view(), name="sign_out"),
    path("admin/", admin.site.urls),
    path("webhooks/", include("runs.webhooks.urls")),
    path("", include("runs.urls")),
    path("", include("approvals.urls")),
]
