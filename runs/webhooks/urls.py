from django.urls import path

from .views import receive

app_name = "webhooks"
urlpatterns = [
    path("<slug:slug>/", receive, name="receive"),
    # Without the last slash too: a redirect would lose the body.
    path("<slug:slug>", receive),
]
