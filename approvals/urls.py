from django.urls import path

from .views import editing, ops, queue, requests

app_name = "approvals"
urlpatterns = [
    path("", queue.queue, name="queue"),
    path("ops/", ops.ops, name="ops"),
    path("requests/<uuid:pk>/", requests.request, name="request"),
    path("requests/<uuid:pk>/decide/", requests.decide, name="decide"),
    path("requests/<uuid:pk>/edit/", editing.edit, name="edit"),
    path("requests/<uuid:pk>/undo/", requests.undo, name="undo"),
]
