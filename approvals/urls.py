from django.urls import path

from . import views

app_name = "approvals"
urlpatterns = [
    path("", views.queue, name="queue"),
    path("ops/", views.ops, name="ops"),
    path("requests/<uuid:pk>/", views.request, name="request"),
    path("requests/<uuid:pk>/decide/", views.decide, name="decide"),
    path("requests/<uuid:pk>/undo/", views.undo, name="undo"),
]
